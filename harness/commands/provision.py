"""``seatrial provision``: Ansible makes an inventory's hosts ready; ansible/ has the playbook.

It is ansible-playbook as a user would call it, with our playbook, from the network that the
inventory is reached from. Whatever Ansible prints is for the user.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from ..errors import HarnessFailure
from ..hosts.inventory import InventoryWorld, read

PLAYBOOKS = Path(__file__).resolve().parents[2] / "ansible"
PROGRAM = "ansible-playbook"


@click.command("provision")
@click.argument("inventory", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing: tell what would be changed.")
@click.option("--set", "variables", multiple=True, metavar="NAME=VALUE",
              help="A variable of the playbook, may be repeated: seatrial_wheels=FOLDER.")
def command(inventory: Path, check: bool, variables: tuple[str, ...]) -> int:
    """Make the hosts of INVENTORY ready for a node and for faults, with Ansible."""
    read(inventory)
    line = [program(), "-i", str(inventory.absolute()), str(PLAYBOOKS / "site.yml"),
            *(["--check"] if check else []),
            *(word for variable in variables for word in ("-e", variable))]
    InventoryWorld.enter(inventory)
    done = subprocess.run(line, check=False, cwd=PLAYBOOKS, stdin=subprocess.DEVNULL,
                          env=os.environ | {"ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg")})
    if done.returncode != 0:
        raise HarnessFailure(f"{inventory}: not all hosts are ready (Ansible ended with "
                             f"{done.returncode}; it says above why)")
    return 0


def program() -> str:
    """Return where ansible-playbook is: beside this Python, or in the path."""
    beside = Path(sys.executable).parent
    found = shutil.which(PROGRAM, path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise HarnessFailure(f"{PROGRAM} is not installed: pip install 'seatrial[ansible]'")
    return found
