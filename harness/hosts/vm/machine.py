"""What one virtual machine is: its size, its image, how it computes."""
from __future__ import annotations

import msgspec

from ...errors import BadInput

MIN_MEMORY_MB, MAX_MEMORY_MB = 256, 1 << 16
MIN_DATA_MB, MAX_DATA_MB = 64, 1 << 20
MAX_CPUS = 16
KVM, TCG = "kvm", "tcg"
ADDRESS_TAG = "52:54:00:73:74"          # locally administered; the last byte is the host's number


class Machine(msgspec.Struct, frozen=True):
    """All machines of a lab are alike. accelerator: ``kvm`` or ``tcg`` (software emulation).

    data_mb: size of the second disk, which is mounted at /data. image: the image's digest.
    """

    memory_mb: int = 320
    cpus: int = 1
    data_mb: int = 512
    accelerator: str = TCG
    image: str = ""

    def checked(self) -> Machine:
        """Return it, or raise BadInput when no such machine can be."""
        for name, value, low, high in (
                ("memory", self.memory_mb, MIN_MEMORY_MB, MAX_MEMORY_MB),
                ("cpus", self.cpus, 1, MAX_CPUS),
                ("data disk", self.data_mb, MIN_DATA_MB, MAX_DATA_MB)):
            if not low <= value <= high:
                unit = "" if name == "cpus" else " MB"
                raise BadInput(f"{name}: {value}{unit}: a virtual machine has {low} to {high}"
                               f"{unit}")
        return self


def link_address(number: int) -> str:
    """Return the MAC address of the host with this number, from 1."""
    return f"{ADDRESS_TAG}:{number:02x}"
