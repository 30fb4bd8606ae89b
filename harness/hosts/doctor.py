"""What this machine can do for a world, found out by trying, in namespaces that end with the try.

Each check answers in a few words; one that fails says which feature is lost and what to do.
Nothing is installed or changed.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import HarnessFailure
from . import kernel
from .cgroup import hierarchy
from .keeper import ENVIRONMENT, NEW_OF_HOST
from .lab import NEEDED
from .root import REAL_DISK

PROBE_TIMEOUT_S = 20.0
MIN_FREE_BYTES = 2 << 30
MIN_PYTHON = (3, 11)
FAULT_TOOLS = {"iptables": "iptables", "ip6tables": "iptables"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table. ok: False only where ``feature`` is lost; remedy: what to do."""

    what: str
    ok: bool
    found: str
    feature: str
    remedy: str = ""


class Missing(Exception):
    """What a probe found missing, and how to get it."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


def examine_local() -> Iterator[Finding]:
    """Try everything that ``--on local`` needs."""
    yield finding("root", "hosts", check_root)
    yield finding("namespaces", "hosts", check_namespaces)
    yield finding("control groups", "hosts, teardown", check_cgroups)
    yield finding("overlay", "hosts' file trees", _overlay)
    yield finding("disk", "hosts' disks", _disk)
    for tool, package in NEEDED.items():
        yield finding(tool, "hosts", partial(check_tool, tool, package))
    yield finding("ssh", "seatrial ssh", partial(check_tool, "ssh", "openssh-client"))
    for tool, package in FAULT_TOOLS.items():
        yield finding(tool, "partitions", partial(_packet_filter, tool, package))
    yield finding("IPv6", "IPv6 between hosts", _ipv6)
    yield finding("python3 of hosts", "our own node on hosts", _python)


def finding(what: str, feature: str, probe: Callable[[], str]) -> Finding:
    """Try one thing."""
    try:
        return Finding(what, True, probe(), feature)
    except Missing as missing:
        return Finding(what, False, missing.found, feature, missing.remedy)


def check_root() -> str:
    """Whether this is root."""
    if os.geteuid() != 0:
        raise Missing(f"user {os.geteuid()}", "run as root or with sudo")
    return "yes"


def check_namespaces() -> str:
    """Whether hosts can have namespaces."""
    _in_child(lambda: _enter_new(NEW_OF_HOST | kernel.CLONE_NEWPID),
              "root, and a kernel whose namespaces this container may use")
    return "net, mnt, pid, uts, ipc, cgroup"


def check_cgroups() -> str:
    """Whether there are control groups to be written."""
    try:
        where = hierarchy()
    except HarnessFailure as error:
        raise Missing("none", "mount cgroup2 at /sys/fs/cgroup") from error
    if not os.access(where.mount, os.W_OK):
        raise Missing(f"{where.mount} is read-only", "a machine or container that may write it")
    return f"version {where.version} at {where.mount}"


def _overlay() -> str:
    if os.path.ismount("/usr"):
        raise Missing("/usr is a mount of its own", "a machine with /usr on its root file system")
    try:
        folder = tempfile.mkdtemp(prefix="seatrial-doctor-", dir=REAL_DISK)
    except OSError as error:
        raise Missing(f"{REAL_DISK}: {error.strerror}", "run as root or with sudo") from error
    def mount() -> None:
        _enter_new(kernel.CLONE_NEWNS)
        kernel.mount("overlay", f"{folder}/root", "overlay", 0,
                     f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work")

    try:
        for name in ("upper", "work", "root"):
            Path(folder, name).mkdir()
        _in_child(mount, f"a kernel with overlayfs, and {REAL_DISK} on ext4, xfs or btrfs")
    finally:
        shutil.rmtree(folder)
    return f"on {REAL_DISK}"


def _disk() -> str:
    free = shutil.disk_usage(REAL_DISK).free
    text = f"{free / 2**30:.1f} GiB free on {REAL_DISK}"
    if free < MIN_FREE_BYTES:
        raise Missing(text, f"at least {MIN_FREE_BYTES >> 30} GiB")
    return text


def check_tool(name: str, package: str) -> str:
    """Whether a program is there; return its path."""
    path = shutil.which(name, path=ENVIRONMENT["PATH"])
    if path is None:
        raise Missing("not found", f"apt-get install {package}")
    return path


def _packet_filter(name: str, package: str) -> str:
    check_tool(name, package)
    attempt("unshare", "--net", name, "-w", "-A", "INPUT", "-p", "tcp", "-j", "DROP",
         remedy="root, and a kernel with netfilter (modules ip_tables, nf_tables)")
    return attempt(name, "--version", remedy="").strip()


def _ipv6() -> str:
    if not Path("/proc/sys/net/ipv6").exists():
        raise Missing("off in this kernel", "boot without ipv6.disable=1")
    return "yes"


def _python() -> str:
    check_tool("python3", "python3")
    text = attempt("/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:3], sep='.')",
                remedy="apt-get install python3").strip()
    if tuple(map(int, text.split(".")[:2])) < MIN_PYTHON:
        raise Missing(text, f"python {'.'.join(map(str, MIN_PYTHON))} or newer")
    return text


def _enter_new(namespaces: int) -> None:
    """Move this (child) process to new namespaces, as a lab's keeper and hosts do."""
    kernel.unshare(namespaces)
    kernel.private_mounts()


def _in_child(body: Callable[[], None], remedy: str) -> None:
    """Try something in a child process, which its end undoes."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except OSError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        failure = pipe.read()
    os.waitpid(pid, 0)
    if failure:
        raise Missing(failure, remedy)


def attempt(*argv: str, remedy: str) -> str:
    """Run a probe; return its output."""
    try:
        done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True,
                              check=False, timeout=PROBE_TIMEOUT_S)
    except FileNotFoundError as error:
        raise Missing(f"{argv[0]}: not found", remedy) from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{argv[0]}: no answer in {PROBE_TIMEOUT_S:g} s", remedy) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Missing(lines[0], remedy)
    return done.stdout
