"""The process that makes a lab's hosts and then keeps its network: ``python -m`` this module.

It starts as a child of the harness, reads a ``Job`` on stdin, joins the lab's control group
before it does anything else, takes a mount and a network namespace of its own (so the machine
never sees one of the lab's mounts or links), makes the hosts in parallel, answers on stdout
and becomes tini: parent of all hosts' inits, holder of the control namespace. When it and the
hosts are killed the kernel takes every mount, link and namespace away by itself.

Where hosts are virtual machines it makes the network alone, with a tap for each: QEMU is started
later, into the lab's control group and the keeper's network namespace (vm/qemu.py).

A namespace host is made by a child H in new namespaces, whose child I is pid 1 in there:

    keeper          fork H1..Hn      wait for "ready"       make links        "go"
    H                 unshare, mounts, "ready"                                 eth0 up, fork I
    I                                                                         /proc, pivot_root,
                                                                              exec setpriv tini sshd

Errors: H and I write one line to their status pipe. The pipe closes on exec, so its end
without a line means that the host runs. Half-made labs are left to the control group.
"""
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from . import kernel, network, root
from .cgroup import Cgroup
from .plan import Address, Plan

NEW_OF_HOST = (kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
       | kernel.CLONE_NEWCGROUP)
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "LANG": "C.UTF-8"}


class Job(msgspec.Struct, frozen=True):
    """What the keeper is to make. disk, keys: folders; masked: paths hidden from hosts."""

    plan: Plan
    cgroup: str
    cgroup_version: int
    disk: str
    keys: str
    masked: tuple[str, ...]


class Made(msgspec.Struct, frozen=True):
    """The keeper's answer: each host's init as the machine sees it, or what went wrong."""

    inits: dict[str, int] = {}
    error: str = ""


class Maker:
    """The keeper's end of one host in the making."""

    def __init__(self, job: Job, host: Address) -> None:
        self.host = host
        self.status, status_end = os.pipe()
        go_end, self.go = os.pipe()
        self.pid = _fork(lambda: make_host(job, host, status_end, go_end), status_end)
        os.close(status_end)
        os.close(go_end)

    def wait_ready(self) -> None:
        """Return when the host has its network namespace and its file tree."""
        line = os.read(self.status, 4096).decode().strip()
        if line != "ready":
            raise OSError(f"{self.host.name}: {line or 'ended while it was made'}")

    def proceed(self) -> None:
        """Tell the host that its link is there."""
        os.write(self.go, b".")  # not just closed: later children hold copies of this end
        os.close(self.go)

    def wait_running(self) -> int:
        """Return the pid of the host's init once it runs sshd."""
        with os.fdopen(self.status, "rb") as status:
            pid, _, error = status.read().decode().partition(" ")
        if error or not pid:
            raise OSError(f"{self.host.name}: {error or 'ended while it was made'}")
        return int(pid)


def main() -> None:
    """Make the lab, answer, stay."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        lab = Cgroup(Path(job.cgroup), job.cgroup_version)
        lab.child("keeper").join()
        answer = Made(make_lab(job))
    except OSError as error:
        answer = Made(error=str(error))
    os.write(1, msgspec.json.encode(answer))
    if answer.error:
        sys.exit(1)
    _hang_up()
    os.execvpe("tini", ["tini", "-s", "--", "sleep", "infinity"], ENVIRONMENT)


def make_lab(job: Job) -> dict[str, int]:
    """Make everything; return host name -> pid of its init."""
    os.chdir("/")
    os.umask(0o022)
    kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWNS)
    kernel.private_mounts()
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if job.plan.machine is not None:
        network.make_bridge(job.plan, {}, taps=[host.name for host in job.plan.hosts])
        return {}
    makers = [Maker(job, host) for host in job.plan.hosts]
    for maker in makers:
        maker.wait_ready()
    network.make_bridge(job.plan, {maker.host.name: maker.pid for maker in makers})
    for maker in makers:
        maker.proceed()
    return {maker.host.name: maker.wait_running() for maker in makers}


def make_host(job: Job, host: Address, status: int, go: int) -> None:
    """H: namespaces and file tree, then the host's init as a child."""
    Cgroup(Path(job.cgroup), job.cgroup_version).child("hosts", host.name).join()
    kernel.unshare(NEW_OF_HOST)
    disk = Path(job.disk, host.name)
    tree = root.mount_root(disk, Path(job.keys), job.plan, host, job.masked)
    kernel.sethostname(host.name)
    os.write(status, b"ready")
    os.read(go, 1)
    network.set_up_host(host)
    kernel.unshare(kernel.CLONE_NEWPID)  # only now: the next child is pid 1
    pid = _fork(lambda: become_init(disk, tree), status)
    os.write(status, str(pid).encode())


def become_init(disk: Path, tree: Path) -> None:
    """I: pid 1 of the host."""
    os.setsid()
    log = os.open(disk / "sshd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    root.enter_root(tree)
    for fd in (1, 2):
        os.dup2(log, fd)
    command = root.init_command()
    os.execvpe(command[0], command, ENVIRONMENT)


def _fork(body: Callable[[], None], status: int) -> int:
    """Run ``body`` in a child that writes its error to ``status``; return the child's pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _hang_up()
        body()
        code = 0
    except BaseException as error:
        os.write(status, f" {error}".encode())
    finally:
        os._exit(code)


def _hang_up() -> None:
    """Let go of the harness's pipes: it reads the answer to its end."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1):
        os.dup2(null, fd)


if __name__ == "__main__":
    main()
