"""Whether this machine's KVM really runs a guest; if not, QEMU's software emulation does.

/dev/kvm may be there and guests may hang at their first instruction all the same (nested
virtualisation that is half supported). So the image's own kernel is started with KVM for a moment,
without a disk: it counts only if the kernel gets as far as to complain of the disk, in time.
What was found is kept beside the images, for this boot of this machine.
"""
from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...errors import HarnessFailure
from ..keeper import ENVIRONMENT
from . import image, qemu
from .machine import KVM, TCG

DEVICE = Path("/dev/kvm")
PROBE_S = 10.0
END_OF_BOOT = "Unable to mount root fs"
SETTING = "SEATRIAL_ACCELERATOR"


def chosen(say: Callable[[str], None]) -> str:
    """Return ``kvm`` or ``tcg``: what the setting says, or what works here."""
    given = os.environ.get(SETTING)
    if given in (KVM, TCG):
        return given
    if given:
        raise HarnessFailure(f"{SETTING}={given}: expected {KVM} or {TCG}")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return TCG
    kernel = image.ensure(say) / "vmlinuz"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    note = image.CACHE / "kvm"
    known = note.read_text().split() if note.exists() else []
    if len(known) != 2 or known[0] != boot:
        known = [boot, KVM if boots(kernel, KVM) else TCG]
        note.write_text(" ".join(known) + "\n")
        if known[1] == TCG:
            say(f"{DEVICE} is there but runs no guest within {PROBE_S:g} s: software emulation")
    return known[1]


def boots(kernel: Path, accelerator: str, limit_s: float = PROBE_S) -> bool:
    """Return whether a kernel starts with this accelerator and comes to look for its disk."""
    with tempfile.TemporaryFile() as console:
        line = [qemu.PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "q35", "-accel", accelerator, "-m", "256", "-kernel", str(kernel),
                "-append", "console=ttyS0 panic=-1", "-serial", "stdio"]
        with suppress(subprocess.TimeoutExpired, OSError):
            subprocess.run(line, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=console,
                           stderr=subprocess.DEVNULL, check=False, timeout=limit_s)
        console.seek(0)
        return END_OF_BOOT.encode() in console.read()
