"""The project's Ansible playbook (ansible/site.yml), played as a user would play it."""
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PLAYBOOKS = Path(__file__).resolve().parents[2] / "ansible"
PROGRAM = "ansible-playbook"


def program() -> str | None:
    """Return where ansible-playbook is: beside this Python, or in the path; None: nowhere."""
    beside = Path(sys.executable).parent
    return shutil.which(PROGRAM, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")


def digest() -> str:
    """Return what changes when the playbook does."""
    files = sorted(path for path in PLAYBOOKS.rglob("*") if path.suffix in (".yml", ".j2", ".cfg"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def play(
    program: str, inventory: Path, *arguments: str, network: str | None = None,
    settings: dict[str, str] | None = None, **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Play it for the hosts of an inventory.

    network: the network namespace to do so from, if not this one; settings: Ansible's, in its
    environment; options: subprocess.run's.
    """
    line = [program, "-i", str(inventory.absolute()), str(PLAYBOOKS / "site.yml"), *arguments]
    if network is not None:
        line = ["nsenter", f"--net={network}", *line]
    return subprocess.run(
        line, check=False, cwd=PLAYBOOKS, stdin=subprocess.DEVNULL, text=True,
        env=os.environ | {"ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg")} | (settings or {}),
        **options)
