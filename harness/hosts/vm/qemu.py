"""One QEMU process: its command line, its start, its end.

    <folder>/<host>/    pid  qmp.sock  agent.sock  serial.log  qemu.log
                        root.qcow2  data.qcow2    the disks

QEMU starts in the lab's control group and network namespace, in a session of its own, so that a
machine outlives the command that made it and dies with its lab. Its disks are cached by this
machine's page cache, and a flush of the guest is one of the file: what the guest had flushed
survives QEMU's being killed, what it held in its own memory does not, as with a power loss.
"""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ...errors import HarnessFailure
from ..keeper import ENVIRONMENT
from ..state import Process
from .machine import KVM, Machine, link_address

PROGRAM = "qemu-system-x86_64"
TOOLS = {PROGRAM: "qemu-system-x86", "qemu-img": "qemu-utils", "nsenter": "util-linux"}
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0
TCG_CACHE_MB = 64
DISKS = ("root", "data")
# $1 control group's list of processes, $2 log, then the command
START = """
echo $$ >"$1" || exit
log=$2
shift 2
setsid "$@" </dev/null >>"$log" 2>&1 &
echo $!
"""


class Place(msgspec.Struct, frozen=True):
    """Where a machine lives. cgroup: its list of processes; network: the namespace that its tap
    is in; None: one of its own, with nobody else there."""

    folder: Path
    cgroup: str
    network: str | None = None
    tap: str = "tap"

    @property
    def monitor(self) -> Path:
        """QEMU's own socket."""
        return self.folder / "qmp.sock"

    @property
    def agent(self) -> Path:
        """The socket of the agent inside."""
        return self.folder / "agent.sock"

    @property
    def serial(self) -> Path:
        """What the guest's kernel says."""
        return self.folder / "serial.log"


def command(machine: Machine, place: Place, image: Path, disks: dict[str, Path], *,
            number: int = 0, incoming: bool = False) -> list[str]:
    """Return QEMU's command line. number: the host's, from 1.

    incoming: wait for the memory of a running machine instead of booting.
    """
    accelerator = KVM if machine.accelerator == KVM else f"tcg,tb-size={TCG_CACHE_MB}"
    cpu = "host" if machine.accelerator == KVM else "max"
    line = [PROGRAM, "-name", place.folder.name, "-nodefaults", "-no-user-config",
            "-display", "none", "-machine", "q35", "-accel", accelerator, "-cpu", cpu,
            "-smp", str(machine.cpus), "-m", str(machine.memory_mb),
            "-rtc", "base=utc,clock=host", "-pidfile", str(place.folder / "pid"),
            "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"),
            "-append", "root=/dev/vda rw rootflags=noatime console=ttyS0 quiet net.ifnames=0 "
                       "panic=1 mitigations=off systemd.show_status=0",
            "-qmp", f"unix:{place.monitor},server=on,wait=off",
            "-chardev", f"file,id=serial,path={place.serial},append=on",
            "-serial", "chardev:serial",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={place.agent},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
            "-device", "virtio-rng-pci"]
    for name in DISKS:
        line += ["-drive", f"if=none,id={name},file={disks[name]},format=qcow2,cache=writeback",
                 "-device", f"virtio-blk-pci,drive={name}"]
    line += ["-netdev", f"tap,id=net,ifname={place.tap},script=no,downscript=no",
             "-device", f"virtio-net-pci,netdev=net,mac={link_address(number)}"]
    return line + (["-incoming", "defer"] if incoming else [])


def start(place: Place, line: list[str]) -> None:
    """Start QEMU; return once it answers."""
    for name in ("pid", "qmp.sock", "agent.sock"):
        (place.folder / name).unlink(missing_ok=True)
    log = place.folder / "qemu.log"
    network = ["unshare", "--net"] if place.network is None else \
        ["nsenter", f"--net={place.network}"]
    done = subprocess.run(["sh", "-c", START, "sh", place.cgroup, str(log), *network, "--", *line],
                          env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise HarnessFailure(f"{place.folder.name}: {done.stderr.strip()}")
    process = Process.of(int(done.stdout))
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_listening(place.monitor):
        if not process.alive:
            raise HarnessFailure(f"{place.folder.name}: QEMU ended: {complaint(place)}")
        if time.monotonic() > deadline:
            raise HarnessFailure(f"{place.folder.name}: QEMU did not start within "
                                 f"{START_TIMEOUT_S:g} s")
        time.sleep(0.01)


def is_listening(path: Path) -> bool:
    """Return whether somebody answers on a UNIX socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        return sock.connect_ex(str(path)) == 0


def complaint(place: Place) -> str:
    """Return the last thing that QEMU itself said."""
    try:
        lines = (place.folder / "qemu.log").read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "without a word"


def running(place: Place) -> Process | None:
    """Return the QEMU process of a machine, or None while it has no power."""
    with suppress(OSError, ValueError):
        pid = int((place.folder / "pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if str(place.folder / "pid").encode() in words:      # else the pid was given to another
            found = Process.of(pid)
            return found if found.alive else None
    return None


def kill(place: Place) -> None:
    """Take its power away; return when it is gone."""
    found = running(place)
    if found is None:
        return
    with suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGKILL)
    deadline = time.monotonic() + END_TIMEOUT_S
    while found.alive:
        if time.monotonic() > deadline:
            raise HarnessFailure(f"{place.folder.name}: QEMU survives SIGKILL")
        time.sleep(0.002)


def make_disk(path: Path, *, backing: Path | None = None, kind: str = "qcow2",
              size_mb: int | None = None) -> None:
    """Make a disk of the machine: a copy on write of ``backing``, or an empty one."""
    line = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if backing is not None:
        line += ["-b", str(backing), "-F", kind]
    line += [str(path)] + ([f"{size_mb}M"] if size_mb else [])
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HarnessFailure(f"{path}: {done.stderr.strip().splitlines()[-1]}")
