"""The few system calls that Python 3.11 lacks: namespaces, mounts, prctl.

Thin on purpose: names are the kernel's, a failure is an OSError that names the call and its
target. ``setns`` moves only the calling *thread* to a network namespace, which
``entered`` uses to dial a socket inside a lab from a process that stays outside.
"""
from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, target: str, *args: object) -> None:
    """Call one libc function that returns 0 or sets errno."""
    if getattr(_libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", target)


def unshare(flags: int) -> None:
    """Give this process new namespaces (CLONE_NEWPID: its next child)."""
    _call("unshare", hex(flags), ctypes.c_int(flags))


def setns(path: str, kind: int) -> None:
    """Move the calling thread into the namespace that ``path`` stands for."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", path, ctypes.c_int(fd), ctypes.c_int(kind))
    finally:
        os.close(fd)


@contextmanager
def entered(path: str) -> Iterator[None]:
    """The calling thread is in the network namespace ``path`` inside the with block.

    Sockets belong for life to the namespace they were made in, so they go on working after.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(path, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(f"/proc/self/fd/{home}", CLONE_NEWNET)
    finally:
        os.close(home)


def mount(source: str, target: str | Path, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _call("mount", str(target), source.encode(), os.fsencode(target), kind.encode(),
          ctypes.c_ulong(flags), data.encode())


def bind(source: str | Path, target: str | Path) -> None:
    """Show ``source`` at ``target`` too."""
    mount(str(source), target, "", MS_BIND)


def bind_readonly(path: str | Path) -> None:
    """Make the tree at ``path`` read-only where it is."""
    bind(path, path)
    mount("", path, "", MS_BIND | MS_REMOUNT | MS_RDONLY)


def private_mounts() -> None:
    """Cut this mount namespace off from the one it was copied from: nothing gets back.

    In a chroot ``/`` is no mount point and has no propagation of its own to change; a bind
    of it on itself is one, reached as ``/..``.
    """
    try:
        mount("", "/", "", MS_REC | MS_PRIVATE)
    except OSError:
        mount("/", "/", "", MS_BIND | MS_REC)
        os.chroot("/..")
        os.chdir("/")
        mount("", "/", "", MS_REC | MS_PRIVATE)


def change_root(root: Path) -> None:
    """Make ``root``, a mount point, the root of this mount namespace; forget the old one."""
    os.chdir(root)
    # pivot_root(".", "."): the old root ends up mounted over the new one, from where it is
    # detached (pivot_root(2), NOTES). glibc has no wrapper, so by number.
    _call("syscall", str(root), ctypes.c_long(_PIVOT_ROOT[os.uname().machine]), b".", b".")
    _call("umount2", ".", b".", ctypes.c_int(MNT_DETACH))
    os.chdir("/")


_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}


def sethostname(name: str) -> None:
    """sethostname(2), for the UTS namespace of this process."""
    _call("sethostname", name, name.encode(), ctypes.c_size_t(len(name.encode())))


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    _call("prctl", str(option), ctypes.c_int(option), ctypes.c_ulong(value), ctypes.c_ulong(0),
          ctypes.c_ulong(0), ctypes.c_ulong(0))


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with the pid it names a process
    for good. None when there is no such process or it is a zombie: one whose threads have all
    ended, since the first may be one while others still hold files open."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        ended = fields[0] == "Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) < 2
    except OSError:
        return None
    return None if ended else int(fields[19])
