"""Run a command on a fresh clone of this checkout in a bare Debian, to prove what make promises.

mmdebstrap makes a root folder with git, make, python3 and nothing else; the committed state of
this checkout is cloned into it; the command runs there as root with a mount, pid and ipc
namespace of its own, so that whatever it leaves behind dies with it. apt and pip are
configured as on this machine (their files are copied, PIP_* is handed through).

    bare_root.py make trial              in a throw-away root
    bare_root.py --root DIR make test    DIR and what was built in it are kept
    bare_root.py --user make test        as a plain user who may use sudo
"""
from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
SUITE = "bookworm"
BASE = "git,make,python3,ca-certificates"
# what says where packages come from and whom to trust, never what is installed
CONFIGURATION = ("etc/apt/sources.list", "etc/apt/sources.list.d/debian.sources",
                 "etc/pip.conf", "etc/resolv.conf", "etc/hosts",
                 "etc/ssl/certs/ca-certificates.crt")
KEPT = ("PIP_", "SEATRIAL_", "SSL_CERT_", "GOPROXY", "GOFLAGS", "http_proxy", "https_proxy",
        "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# $1 root, $2 folders to show inside at the same place, $3 name of a control group, the rest:
# command. Labs in there see a control group hierarchy that begins empty, not this machine's.
ENTER = """
set -eu
root=$1; shown=$2; group=$3; shift 3
mount --make-rprivate /
cgroups=$(awk '$3 == "cgroup2" || $3 == "cgroup" && $4 ~ /freezer/ { print $2 }' /proc/self/mounts)
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
for at in $cgroups; do
    mkdir "$at/$group"; mount --bind "$at/$group" "$root$at"
done
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom tty fuse net loop-control; do
    [ -e /dev/$node ] || continue
    if [ -d /dev/$node ]; then mkdir "$root/dev/$node"; else : > "$root/dev/$node"; fi
    mount --rbind /dev/$node "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"; ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
for folder in $shown; do
    mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"
done
mkdir -p "$root/.outside"
cd "$root"; pivot_root . .outside; umount -l /.outside; rmdir /.outside
exec "$@"
"""


def make_root(root: Path, *, sudo: bool) -> None:
    """Make the bare system, configured for apt and pip as this machine is."""
    if not (root / "etc/debian_version").exists():
        sources = [name for name in CONFIGURATION[:2] if Path("/", name).exists()]
        include = BASE + (",sudo" if sudo else "")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={include}",
                        SUITE, str(root), *(f"/{name}" for name in sources)], check=True)
    for name in CONFIGURATION:
        if Path("/", name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/", name), root / name)


def add_user(root: Path) -> None:
    """Make the user ``plain``, who may become root without a password."""
    inside = ["chroot", str(root)]
    if subprocess.run([*inside, "id", "plain"], check=False, capture_output=True).returncode:
        subprocess.run([*inside, "useradd", "--create-home", "plain"], check=True)
    (root / "etc/sudoers.d/plain").write_text("plain ALL=(ALL) NOPASSWD: ALL\n")


def clone_into(folder: Path) -> None:
    """Clone this checkout, or bring an earlier clone to its state, keeping what was built."""
    git = ["git", "-c", "safe.directory=*"]
    if not folder.exists():
        subprocess.run([*git, "clone", "--quiet", "--no-hardlinks", str(SOURCE), str(folder)],
                       check=True)
    git += ["-C", str(folder)]
    subprocess.run([*git, "fetch", "--quiet", str(SOURCE), "HEAD"], check=True)
    subprocess.run([*git, "reset", "--quiet", "--hard", "FETCH_HEAD"], check=True)


def remove_group(name: str) -> None:
    """Remove the control groups; their processes died with the pid namespace."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, at, kind, *_ = line.split()
        if kind.startswith("cgroup") and Path(at, name).is_dir():
            for folder, _, _ in os.walk(Path(at, name), topdown=False):
                Path(folder).rmdir()


def main() -> int:
    """Make the root, clone into it, run the command, and return its exit code."""
    parser = argparse.ArgumentParser(description="Run a command in a bare Debian.")
    parser.add_argument("--root", type=Path, help="keep the root in this folder")
    parser.add_argument("--user", action="store_true", help="as a plain user with sudo")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="for example: make trial")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bare_root.py needs root")
    if shutil.which("mmdebstrap") is None:
        sys.exit("bare_root.py needs mmdebstrap: apt-get install mmdebstrap")
    root = (args.root or Path(tempfile.mkdtemp(prefix="seatrial-bare-"))).resolve()
    try:
        make_root(root, sudo=args.user)
        home = "/home/plain" if args.user else "/root"
        if args.user:
            add_user(root)
        clone = root / home[1:] / "seatrial"
        clone_into(clone)
        if args.user:
            subprocess.run(["chroot", str(root), "chown", "-R", "plain:plain",
                            f"{home}/seatrial"], check=True)
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "HOME": home, "LANG": "C.UTF-8"}
        environment |= {k: v for k, v in os.environ.items() if k.startswith(KEPT)}
        group = f"seatrial-bare-{os.getpid()}"
        shown = os.environ.get("PIP_FIND_LINKS", "")
        become = ["setpriv", "--reuid=plain", "--regid=plain", "--init-groups"]
        inside = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child",
                  "sh", "-c", ENTER, "sh", str(root), shown if Path(shown).is_dir() else "", group,
                  *(become if args.user else []),
                  "sh", "-c", f'cd {home}/seatrial && exec "$@"', "sh", *args.command]
        try:
            return subprocess.run(inside, env=environment, check=False).returncode
        finally:
            remove_group(group)
    finally:
        if args.root is None:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
