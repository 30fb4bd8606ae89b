"""``seatrial provision``: Ansible makes an inventory's hosts ready; ansible/ has the playbook.

It is ansible-playbook as a user would call it, with our playbook, from the network that the
inventory is reached from. Whatever Ansible prints is for the user.
"""
from __future__ import annotations

from pathlib import Path

import click

from ..errors import HarnessFailure
from ..hosts import playbook
from ..hosts.inventory import InventoryWorld, read


@click.command("provision")
@click.argument("inventory", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing: tell what would be changed.")
@click.option("--set", "variables", multiple=True, metavar="NAME=VALUE",
              help="A variable of the playbook, may be repeated: seatrial_wheels=FOLDER.")
def command(inventory: Path, check: bool, variables: tuple[str, ...]) -> int:
    """Make the hosts of INVENTORY ready for a node and for faults, with Ansible."""
    read(inventory)
    program = playbook.program()
    if program is None:
        raise HarnessFailure(f"{playbook.PROGRAM} is not installed: "
                             "pip install 'seatrial[ansible]'")
    InventoryWorld.enter(inventory)
    done = playbook.play(program, inventory, *(["--check"] if check else []),
                         *(word for variable in variables for word in ("-e", variable)))
    if done.returncode != 0:
        raise HarnessFailure(f"{inventory}: not all hosts are ready (Ansible ended with "
                             f"{done.returncode}; it says above why)")
    return 0

