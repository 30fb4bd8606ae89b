"""What a namespace host sees: an overlay of the machine's root, with everything that is not
the host's business masked, and everything that would reach beyond the host read-only.

The upper layer and ``/data`` are folders on the machine's real disk, so that fsync means what
it says. The lower layer is ``/`` without what is mounted on it. Fresh and empty: /root, /home,
/run, /tmp, /dev, /etc/ssh, the folders of all labs, and the paths given as ``masked`` (the
checkout, the store).

A host is root on the machine's own kernel, in the machine's own user namespace (overlay,
iptables and FUSE need it). Not to hurt the machine it loses capabilities from its bounding set
before anything of it runs; ``/sys``, ``/proc/sys`` (but ``net``), ``/proc/sysrq-trigger`` and
their like are read-only; no block device has a node, and ``nodev`` makes one useless.
"""
from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from . import kernel
from .network import hosts_file
from .plan import Address, Plan

DATA = Path("/data")
REAL_DISK = Path("/var/lib")  # where the folders of all labs are made
FRESH = ("/run", "/tmp", "/root", "/home", "/etc/ssh", "/var/lib/seatrial")
NEVER_MASKED = ("/", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/var", "/opt", "/tmp")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
READONLY_PROC = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi")
DROPPED = ("sys_time", "sys_boot", "sys_module", "sys_rawio", "mknod", "audit_control",
           "audit_read", "audit_write", "syslog", "block_suspend", "wake_alarm")
SSHD_CONFIG = """\
Port 22
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 200
MaxSessions 20
LoginGraceTime 20
Subsystem sftp internal-sftp
"""


def mount_root(disk: Path, keys: Path, plan: Plan, host: Address, masked: Iterable[str]) -> Path:
    """In the host's mount and network namespace: build its file tree, return where it is.

    disk: the host's folder on the real disk; keys: the folder keys.py wrote to.
    """
    root = disk / "root"
    for name in ("root", "upper", "work", "data"):
        (disk / name).mkdir()
    kernel.mount("overlay", root, "overlay", kernel.MS_NODEV,
                 f"lowerdir=/,upperdir={disk}/upper,workdir={disk}/work")
    for path in FRESH:
        _fresh(root, path)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    for path in _worth_masking(masked):
        _fresh(root, path)
    data = root / DATA.relative_to("/")
    data.mkdir(exist_ok=True)
    kernel.bind(disk / "data", data)
    kernel.mount("", data, "", kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_NODEV)
    _devices(root)
    kernel.mount("sysfs", root / "sys", "sysfs",
                 kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    _identity(root, plan, host)
    _sshd(root, keys, host)
    return root


def enter_root(root: Path) -> None:
    """In the host's first process: mount its own /proc and leave the machine's tree behind."""
    proc = root / "proc"
    kernel.mount("proc", proc, "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    for name in READONLY_PROC:
        if (proc / name).exists():
            kernel.bind_readonly(proc / name)
    net = proc / "sys/net"
    kernel.bind(net, net)
    kernel.mount("", net, "", kernel.MS_BIND | kernel.MS_REMOUNT)
    kernel.change_root(root)


def init_command() -> list[str]:
    """What becomes the host's init: tini, with sshd, without the dangerous capabilities."""
    return ["setpriv", "--bounding-set=" + ",".join(f"-{name}" for name in DROPPED),
            "--inh-caps=-all", "tini", "--", "/usr/sbin/sshd", "-D", "-e"]


def _worth_masking(masked: Iterable[str]) -> list[str]:
    """The paths that are not below another one that is empty anyway."""
    found: list[str] = []
    for path in sorted(set(masked) - set(NEVER_MASKED)):
        if not any(Path(path).is_relative_to(above) for above in (*FRESH, *found)):
            found.append(path)
    return found


def _fresh(root: Path, path: str) -> None:
    """Cover ``path`` with an empty file system in memory."""
    target = root / path.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    kernel.mount("tmpfs", target, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")


def _devices(root: Path) -> None:
    dev = root / "dev"
    kernel.mount("tmpfs", dev, "tmpfs", kernel.MS_NOSUID | kernel.MS_NOEXEC, "mode=755")
    for name in DEVICES:
        (dev / name).touch()
        kernel.bind(f"/dev/{name}", dev / name)
    for name, to in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"),
                     ("stderr", "fd/2"), ("ptmx", "pts/ptmx")):
        (dev / name).symlink_to(to)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    flags = kernel.MS_NOSUID | kernel.MS_NOEXEC
    kernel.mount("devpts", dev / "pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=620")
    kernel.mount("tmpfs", dev / "shm", "tmpfs", flags | kernel.MS_NODEV, "mode=1777")


def _identity(root: Path, plan: Plan, host: Address) -> None:
    etc = root / "etc"
    _replace(etc / "hostname", host.name + "\n")
    _replace(etc / "hosts", hosts_file(plan, host))
    _replace(etc / "machine-id", secrets.token_hex(16) + "\n")
    _replace(etc / "resolv.conf", "")  # there is nobody to ask: fail at once
    # A root account locked with "!" may not log in even by key; "*" only means no password.
    shadow = etc / "shadow"
    shadow.write_text(re.sub(r"^root:[^:]*", "root:*", shadow.read_text(), flags=re.M))


def _replace(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # it may be a link out of /etc
    path.write_text(text)


def _sshd(root: Path, keys: Path, host: Address) -> None:
    folder = root / "etc/ssh"
    (folder / "sshd_config").write_text(SSHD_CONFIG)
    shutil.copy(keys / "id_ed25519.pub", folder / "authorized_keys")
    shutil.copy(keys / f"{host.name}.key", folder / "host_key")
    (folder / "host_key").chmod(0o600)
    (root / "run/sshd").mkdir(mode=0o755)
