"""A machine that was stopped as it ran: what all machines of a lab are copies of.

A boot takes long without KVM. So one machine boots from the image, its memory is written to a file
and its disks become the ground of the copies' disks; a copy then goes on where the template
stopped. The copies differ in nothing until each is told who it is (guest.py).

    /var/cache/seatrial/vm/template-<digest>/    root.qcow2  data.qcow2  memory  slowness

The digest covers the image, the machine's size and QEMU's version, on which the file of memory
depends; and, where a system was installed before the machine was stopped (prepared.py), which one.
"""
from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from ...errors import HarnessFailure
from ..cgroup import Cgroup
from ..keeper import ENVIRONMENT
from . import guest, image, qemu
from .image import CACHE, Say, building
from .machine import Machine
from .monitor import Talk, monitor, run_inside_guest

BOOT_TIMEOUT_S = 600.0
COPY_TIMEOUT_S = 600.0
POLL_S = 0.1


def folder(machine: Machine, installed: str = "") -> Path:
    """Return where the template of such machines lies, made or not. installed: what else than the
    image is on it."""
    version = subprocess.run([qemu.PROGRAM, "--version"], env=ENVIRONMENT, check=False,
                             capture_output=True, text=True).stdout
    key = hashlib.sha256(msgspec.json.encode(
        [machine, version, installed, guest.FORGETTING if installed else ""])).hexdigest()[:16]
    return CACHE / f"template-{key}"


def ensure(machine: Machine, group: Cgroup, say: Say) -> Path:
    """Return the template's folder; boot it first where it isn't there.

    group: where QEMU runs meanwhile, so that it ends with whoever wanted the template.
    """
    found = folder(machine)
    if found.is_dir():
        return found
    image.ensure(say)
    with building(found) as young:
        if young is not None:
            say(f"booting the template of virtual machines ({machine.accelerator}, "
                f"{machine.memory_mb} MB), once")
            boot(machine, group, young)
    return found


def boot(machine: Machine, group: Cgroup, young: Path) -> None:
    """Boot a machine in this folder and stop it when it has settled."""
    ground = image.folder(machine.image)
    disks = {"root": young / "root.qcow2", "data": young / "data.qcow2"}
    qemu.make_disk(disks["root"], backing=ground / "root.img", kind="raw")
    make_data_disk(young, machine)
    group.make()
    place = qemu.Place(young, str(group.path / "cgroup.procs"))
    try:
        qemu.start(place, qemu.command(machine, place, ground, disks))
        await_booted(place, BOOT_TIMEOUT_S)
        run_inside_guest(place.agent, SETTLE, BOOT_TIMEOUT_S)
        (young / "slowness").write_text(f"{measured_slowness(place):.1f}\n")
        write_memory(place, young / "memory")
    finally:
        qemu.kill(place)
        group.kill()
        group.remove()
    for name in ("pid", "qmp.sock", "agent.sock"):
        (young / name).unlink(missing_ok=True)


SETTLE = """
systemctl is-system-running --wait >/dev/null
test -s /run/sshd.pid
mountpoint -q /data
sync
echo 3 >/proc/sys/vm/drop_caches
"""


LOOP = """
import time
best = 1e9
for _ in range(3):
    began = time.perf_counter()
    for i in range(100_000):
        i * i
    best = min(best, time.perf_counter() - began)
print(best)
"""


def measured_slowness(place: qemu.Place) -> float:
    """Return how many times longer a loop of Python takes in there than out here."""
    line = ["/usr/bin/python3", "-I", "-S", "-c", LOOP]
    inside = float(run_inside_guest(place.agent, shlex.join(line), BOOT_TIMEOUT_S))
    outside = float(subprocess.run([sys.executable, *line[1:]], check=True, capture_output=True,
                                   text=True).stdout)
    return max(1.0, inside / outside)


def slowness(template: Path) -> float:
    """Return what was measured when the template was made."""
    return float((template / "slowness").read_text())


def make_data_disk(young: Path, machine: Machine) -> None:
    """Make the second disk with an empty file system, at this machine's speed."""
    raw = young / "data.raw"
    for line in (["mke2fs", "-q", "-t", "ext4", "-L", "data", str(raw), f"{machine.data_mb}M"],
                 ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw),
                  str(young / "data.qcow2")]):
        done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HarnessFailure(f"{line[0]}: {done.stderr.strip().splitlines()[-1]}")
    raw.unlink()


def await_booted(place: qemu.Place, limit_s: float) -> None:
    """Return when the agent inside answers."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            run_inside_guest(place.agent, "true", 5.0)
            return
        except HarnessFailure as failure:
            if qemu.running(place) is None:
                raise HarnessFailure(f"{place.folder.name}: {last_words(place)}") from failure
            if time.monotonic() > deadline:
                raise HarnessFailure(f"{place.folder.name}: not booted within {limit_s:g} s: "
                                     f"{last_words(place)}") from failure
        time.sleep(POLL_S)


def last_words(place: qemu.Place) -> str:
    """Return the last line on the machine's serial console."""
    try:
        lines = place.serial.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "its console is empty"


def write_memory(place: qemu.Place, target: Path) -> None:
    """Stop the machine and write what it holds in memory to a file."""
    with monitor(place.monitor) as talk:
        talk.call("stop")
        talk.call("migrate", uri=f"exec:cat >{target}")
        _await_migrated(talk, place)


def read_memory(place: qemu.Place, source: Path) -> None:
    """Fill a waiting machine with what was written, and let it go on."""
    try:
        with monitor(place.monitor) as talk:
            talk.call("migrate-incoming", uri=f"exec:cat {source}")
            _await_migrated(talk, place)
            talk.call("cont")
    except HarnessFailure as failure:
        if qemu.running(place) is not None:
            raise
        raise HarnessFailure(f"{place.folder.name}: QEMU ended: {qemu.complaint(place)}") \
            from failure


def _await_migrated(talk: Talk, place: qemu.Place) -> None:
    deadline = time.monotonic() + COPY_TIMEOUT_S
    while True:
        state = talk.call("query-migrate")
        if state.get("status") == "completed":
            return
        if state.get("status") in ("failed", "cancelled") or time.monotonic() > deadline:
            raise HarnessFailure(f"{place.folder.name}: its memory could not be copied: "
                                 f"{state.get('error-desc', state.get('status'))}")
        time.sleep(POLL_S)


def copy_disks(template: Path, disk: Path) -> dict[str, Path]:
    """Make a machine's own disks on the template's."""
    disks = {name: disk / f"{name}.qcow2" for name in qemu.DISKS}
    for path in disks.values():
        qemu.make_disk(path, backing=template / path.name)
    return disks
