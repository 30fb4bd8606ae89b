"""The data disk made slow, stalled, failing, lying or full, by device-mapper targets.

Only where ``install`` was told that the disk is the host's own. It is put right by the table that
was journalled.
"""
from __future__ import annotations

import contextlib
import errno
import mmap
import os
import shutil
import time
from pathlib import Path

from . import paths
from .errors import AgentError
from .files import Json, locked, read_json
from .journal import begin, boot_id, journal
from .tools import command

BUSY_S = 10.0
FILLER, PROBE = ".seatrial-full", ".seatrial-probe"


def disk(request: Json) -> Json:
    """Make the data disk slow, stall, fail, lie or full."""
    run = read_json(paths.RUN)
    if no_disk(run):
        raise AgentError("the data disk of this host may not be touched")
    name, where = run["disk"]
    how, ms = request["how"], request.get("ms", 0)
    with locked():
        if any(entry["kind"] == "disk" for entry in journal()):
            raise AgentError(f"{where}: another fault has the disk already")
        table = command(["dmsetup", "table", name]).strip()
        start, size, _, device, offset = table.split()
        begin(request, "disk", how=how, name_of=name, where=where, table=table)
        if how == "full":
            fill(Path(where, FILLER))
        elif how == "stall":
            command(["dmsetup", "suspend", "--noflush", "--nolockfs", name])
        else:
            target = f"delay {device} {offset} 0 {device} {offset} {ms}" if how == "slow" else \
                f"flakey {device} {offset} 0 86400 1 " \
                f"{'drop' if how == 'lost' else 'error'}_writes"
            change_table(name, f"{start} {size} {target}")
    return {}


def change_table(name: str, table: str) -> None:
    """Put another target under a mounted file system."""
    command(["dmsetup", "load", name, "--table", table])
    command(["dmsetup", "suspend", "--nolockfs", "--noflush", name])
    command(["dmsetup", "resume", name])


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb") as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    os.write(file.fileno(), bytes(size))


def restore_disk(entry: Json) -> None:
    """Give the data disk back its own target, and its file system a way to go on."""
    name, where = entry["name_of"], entry["where"]
    Path(where, FILLER).unlink(missing_ok=True) if entry["how"] == "full" else None
    if entry["boot"] != boot_id() or entry["how"] in ("full", "lost"):
        return
    if entry["how"] != "stall":
        command(["dmsetup", "load", name, "--table", entry["table"]])
        command(["dmsetup", "suspend", "--nolockfs", "--noflush", name])
    command(["dmsetup", "resume", name])
    if entry["how"] == "error":             # ext4 gave up its journal: only a new mount helps
        mount_anew(f"/dev/mapper/{name}", where)


def mount_anew(device: str, where: str) -> None:
    """Repair a file system; begins where an earlier try ended. A process that is being killed may
    still be in it for a moment."""
    deadline = time.monotonic() + BUSY_S
    while os.path.ismount(where):
        try:
            command(["umount", where])
        except AgentError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    try:
        command(["e2fsck", "-p", device], good=(0, 1))
    except AgentError:                      # more than it dares to repair without being asked
        command(["e2fsck", "-f", "-y", device], good=(0, 1))
    command(["mount", "-o", "noatime", device, where])


def lose_power() -> None:
    """Boot anew, at once: what the data disk lost can't be told to its file system otherwise."""
    with open("/proc/sys/kernel/sysrq", "w") as file:   # noqa: PTH123
        file.write("1")
    with open("/proc/sysrq-trigger", "w") as file:      # noqa: PTH123
        file.write("b")


def disked(_request: Json) -> Json:
    """Try a synced write; return how long it took, or what went wrong, and whether it is there."""
    path = Path(read_json(paths.RUN)["disk"][1], PROBE)
    written = os.urandom(1 << 16)
    began = time.monotonic_ns()
    try:
        with path.open("wb") as file:
            os.write(file.fileno(), written)
            os.fsync(file.fileno())
        return {"took_ns": time.monotonic_ns() - began, "error": None,
                "kept": on_disk(path, len(written)) == written}
    except OSError as error:
        return {"took_ns": time.monotonic_ns() - began, "error": errno.errorcode[error.errno or 0],
                "kept": False}
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def on_disk(path: Path, size: int) -> bytes:
    """Return what the disk itself says is in a file, whatever the kernel remembers of it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, size) as page:               # aligned, as O_DIRECT wants it
            os.preadv(fd, [page], 0)
            return page[:]
    finally:
        os.close(fd)


def no_disk(request: Json) -> str | None:
    """Return why the data disk can't be made to fail."""
    if not request.get("disk"):
        return "it has no data disk of its own"
    name, where = request["disk"]
    if shutil.which("dmsetup") is None:
        return "dmsetup isn't installed"
    if not os.path.ismount(where) or not Path("/dev/mapper", name).exists():
        return f"{where} is not on /dev/mapper/{name}"
    return None
