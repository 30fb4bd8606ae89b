"""Install Debian packages as root without starting or enabling any service.

openssh-server would start a daemon on this machine and at every boot; the hosts of a trial
run their own sshd in their own namespaces and need only the program. Debian's maintainer
scripts ask /usr/sbin/policy-rc.d before they start anything: for as long as apt-get runs it
is one that forbids (exit 101). A policy that was there before is put back, also after a call
that was killed in between.

usage: apt_install.py PACKAGE...
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

POLICY = Path("/usr/sbin/policy-rc.d")
ASIDE = Path("/usr/sbin/policy-rc.d.before-seatrial")
MARK = "# seatrial: no service is started while its packages are installed"


def forbid() -> None:
    """Put our policy in place, keeping the machine's own."""
    allow()
    if POLICY.exists():
        POLICY.rename(ASIDE)
    POLICY.write_text(f"#!/bin/sh\n{MARK}\nexit 101\n", encoding="ascii")
    POLICY.chmod(0o755)


def allow() -> None:
    """Take our policy away, and put the machine's own back."""
    if POLICY.is_file() and MARK in POLICY.read_text(encoding="utf-8", errors="replace"):
        POLICY.unlink()
    if ASIDE.exists():
        ASIDE.rename(POLICY)


def apt_get(*arguments: str) -> int:
    """Run apt-get without questions and return its exit code."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    return subprocess.run(["apt-get", "--yes", "--quiet", *arguments], env=environment,
                          stdin=subprocess.DEVNULL, check=False).returncode


def stop(number: int, _frame: FrameType | None) -> None:
    """Turn a signal into an exit that passes through ``finally``."""
    sys.exit(128 + number)


def main(packages: list[str]) -> int:
    """Install ``packages``; return apt-get's exit code."""
    if not packages:
        sys.exit("usage: apt_install.py PACKAGE...")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    install = ("install", "--no-install-recommends", *packages)
    forbid()
    try:
        # the lists of a bare system are empty, those of an old one name files that are gone
        code = apt_get("update") or apt_get(*install)
    finally:
        allow()
    if code == 0 and "openssh-server" in packages and shutil.which("update-rc.d"):
        # otherwise it would start at the next boot; `update-rc.d ssh defaults` undoes this
        subprocess.run(["update-rc.d", "ssh", "disable"], check=False)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
