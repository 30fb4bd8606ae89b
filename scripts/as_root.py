"""Run a command as root: directly when we are root, else through sudo.

As a command (``as_root.py COMMAND...``) it also gives what the command left in this checkout
back to the user who called it, so that ``git clean`` and ``make clean`` work without sudo.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# sudo clears the environment; these are handed through by name
KEPT = ("PIP_", "SEATRIAL_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
        "https_proxy", "no_proxy", "GOPROXY", "GOFLAGS", "HYPOTHESIS_")


def as_root(argv: list[str]) -> list[str]:
    """Return the command that runs ``argv`` as root; exit with one line when there is no way."""
    if os.geteuid() == 0:
        return argv
    if shutil.which("sudo") is None:
        sys.exit("seatrial: this needs root (hosts are network namespaces, system packages are "
                 "installed): call make as root, or install sudo")
    kept = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(KEPT)]
    return ["sudo", "env", *kept, *argv]


def give_back() -> None:
    """Give everything in the checkout that belongs to root to the owner of the checkout."""
    owner = ROOT.stat()
    if os.geteuid() == 0 or owner.st_uid == 0:
        return
    subprocess.run(["sudo", "find", str(ROOT), "-xdev", "-user", "root", "-exec",
                    "chown", "-h", f"{owner.st_uid}:{owner.st_gid}", "{}", "+"], check=False)


def main() -> int:
    """Run the command line given, as root."""
    if len(sys.argv) < 2:
        sys.exit("usage: as_root.py COMMAND [ARGUMENT...]")
    try:
        # su without a login leaves root without the folders that ip and iptables are in
        path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
        return subprocess.run(as_root(sys.argv[1:]), env={**os.environ, "PATH": path},
                              check=False).returncode
    finally:
        give_back()


if __name__ == "__main__":
    sys.exit(main())
