"""What is inside the image beside Debian's packages, and how a machine is told who it is.

Every machine starts as a copy of one template that knows nothing: no name, no address, no keys
(template.py). ``introduction`` is the script that makes a host of it, given to the guest agent
over a serial port before there is any network, the one thing that does not go through SSH. It
leaves the host's identity on its disk, where ``seatrial-identity`` finds it at later boots.

A copy of a running machine holds a copy of its kernel's random state: two copies would draw the
same election timeouts, session numbers and keys. So each gets fresh entropy, and its kernel is
told to use it at once (RNDRESEEDCRNG, random(4)), before sshd reads its new keys.
"""
from __future__ import annotations

import secrets
import time
from pathlib import Path

from ..keys import CLIENT_KEY
from ..network import hosts_file
from ..plan import PREFIX4, PREFIX6, Address, Plan
from ..root import SSHD_CONFIG
from .machine import link_address

LINK = "eth0"
IDENTITY = "/etc/seatrial/identity"
DATA, DATA_NAME = "/data", "data"
PACKAGES = (
    "linux-image-cloud-amd64", "initramfs-tools", "lz4", "systemd-sysv", "udev", "kmod",
    "openssh-server", "python3", "sudo", "iptables", "iproute2", "procps", "dmsetup", "e2fsprogs",
    "qemu-guest-agent",
)
# What would start by itself, move the clock or take the processor at odd times.
MASKED = (
    "systemd-timesyncd.service", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "dpkg-db-backup.timer", "systemd-tmpfiles-clean.timer",
    "getty.target", "getty@.service", "serial-getty@.service", "systemd-logind.service",
    # and what makes a boot without KVM half as long again:
    "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
    "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "systemd-pstore.service",
    "modprobe@.service", "kmod-static-nodes.service", "systemd-fsck-root.service",
    "systemd-remount-fs.service", "systemd-journal-flush.service",
    "systemd-journal-catalog-update.service", "systemd-update-utmp.service",
    "systemd-update-utmp-runlevel.service", "systemd-user-sessions.service",
    "systemd-binfmt.service", "systemd-firstboot.service", "systemd-hwdb-update.service",
    "systemd-machine-id-commit.service", "ldconfig.service",
)

FILES = {
    "etc/hostname": "template\n",
    "etc/fstab": "",
    "etc/resolv.conf": "",
    "etc/ssh/sshd_config": SSHD_CONFIG,
    "etc/sysctl.d/seatrial.conf": "net.ipv6.conf.all.accept_dad=0\n"
                                  "net.ipv6.conf.default.accept_dad=0\n"
                                  "net.ipv6.conf.all.accept_ra=0\n"
                                  "net.ipv6.conf.default.accept_ra=0\n"
                                  "kernel.panic=1\n",
    # dm-linear, so that a fault can put another target under the mounted file system.
    "usr/local/sbin/seatrial-data": """\
#!/bin/sh
set -e
[ -e /dev/mapper/data ] ||
    dmsetup create data --table "0 $(blockdev --getsz /dev/vdb) linear /dev/vdb 0"
dmsetup mknodes
mkdir -p /data
mountpoint -q /data || mount -o noatime /dev/mapper/data /data
""",
    "etc/systemd/system/seatrial-data.service": """\
[Unit]
Description=The data disk, behind a device mapper
DefaultDependencies=no
After=local-fs.target
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/seatrial-data
[Install]
WantedBy=multi-user.target
""",
    "etc/systemd/system/seatrial-identity.service": f"""\
[Unit]
Description=Who this host is
ConditionPathExists={IDENTITY}
DefaultDependencies=no
After=local-fs.target systemd-sysctl.service
Before=ssh.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {IDENTITY}
[Install]
WantedBy=multi-user.target
""",
}
EXECUTABLE = ("usr/local/sbin/seatrial-data",)
ENABLED = ("seatrial-data.service", "seatrial-identity.service")


def identity(plan: Plan, host: Address) -> str:
    """Return the script that gives a booted machine its name and addresses."""
    number = plan.hosts.index(host) + 1
    lines = [
        "i=0",                                          # the driver may not be there yet
        f"until [ -e /sys/class/net/{LINK} ] || [ $i -ge 100 ]; do sleep 0.1; i=$((i+1)); done",
        f"hostname {host.name}",
        "ip link set lo up",
        f"ip link set {LINK} down",
        f"ip address flush dev {LINK}",
        f"ip link set {LINK} address {link_address(number)}",
        f"ip link set {LINK} up",
        f"ip address replace {host.ipv4}/{PREFIX4} dev {LINK}",
    ]
    if host.ipv6:
        lines.append(f"ip address replace {host.ipv6}/{PREFIX6} dev {LINK} nodad")
    return "\n".join(lines) + "\n"


def introduction(plan: Plan, host: Address, keys: Path) -> str:
    """Return the shell script that makes this host of a copy of the template.

    keys: the folder keys.py wrote to.
    """
    files = {
        IDENTITY: (identity(plan, host), 0o755),
        "/etc/hostname": (host.name + "\n", 0o644),
        "/etc/hosts": (hosts_file(plan, host), 0o644),
        "/etc/machine-id": (secrets.token_hex(16) + "\n", 0o444),
        "/etc/ssh/authorized_keys": ((keys / f"{CLIENT_KEY}.pub").read_text("ascii"), 0o644),
        "/etc/ssh/host_key": ((keys / f"{host.name}.key").read_text("ascii"), 0o600),
    }
    lines = ["set -eu", "umask 077", clock_setting(), "mkdir -p -m 755 /etc/seatrial"]
    for path, (text, mode) in files.items():
        lines += [f"cat >{path}.new <<'SEATRIAL-END'", text.rstrip("\n"), "SEATRIAL-END",
                  f"chmod {mode:o} {path}.new", f"mv {path}.new {path}"]
    return "\n".join([*lines, RESEED % secrets.token_hex(64), f"sh {IDENTITY}",
                      "kill -HUP $(cat /run/sshd.pid)", "sync", ""])


# What a machine that was a host forgets before it becomes a template: two hosts must never have
# one address, not even for the moment until each is told its own.
FORGETTING = f"""\
ip link set {LINK} down
ip address flush dev {LINK}
rm -f {IDENTITY}
sync
"""


def clock_setting() -> str:
    """Return the command that sets the guest's wall clock to this machine's."""
    return f"date -u -s @{time.time():.3f} >/dev/null"


# perl, which every Debian has, starts in a tenth of Python's time.
RESEED = """perl -e 'open(R, ">", "/dev/random") or die; print R "%s"; close R; \
open(R, ">", "/dev/random") or die; ioctl(R, 0x5207, 0) or die'"""
