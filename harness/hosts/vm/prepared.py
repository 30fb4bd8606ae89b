"""Templates on which the system under test is installed already.

Without KVM an installation takes a minute, the same on every host and before every run. So it is
done once, on one machine in a lab of its own, over SSH like any other; then that machine is stopped
and becomes the template of all that need just this (template.py). Before that Ansible sees to it
that it has all that nodes and faults need, as it does on hosts that exist already.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import HarnessFailure
from .. import inventory, playbook
from . import template
from .image import Say, building
from .machine import Machine

# No connection stays behind: it would be in the machine's memory, and so in that of all copies.
ANSIBLE = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no", "ANSIBLE_TIMEOUT": "120"}

if TYPE_CHECKING:
    from ...protocols import Host
    from .world import VirtualWorld

@dataclass(frozen=True, slots=True)
class Ready:
    """What is to be on a machine. key: changes when it does; install: puts it there."""

    key: str
    install: Callable[[Host], Awaitable[None]]


def ensure(machine: Machine, ready: Ready, say: Say) -> Path:
    """Return the folder of a template with that installed; make it where there is none."""
    program = playbook.program()
    found = template.folder(machine, f"{ready.key} {playbook.digest() if program else ''}")
    if found.is_dir():
        return found
    from .world import VirtualWorld

    say("installing on a template of virtual machines, once for this build")
    world = VirtualWorld.create(1, machine=machine, say=say)
    try:
        world.make()
        if program is None:
            say("Ansible is not installed: the template is what its image makes it")
        else:
            provision(world, program)
        asyncio.run(install(world, ready))
        with building(found) as young:
            if young is not None:
                world.stop_as_template(young)
    finally:
        world.destroy()
    return found


def provision(world: VirtualWorld, program: str) -> None:
    """Play the playbook, as far as it is for all hosts, for the only host of a lab."""
    asyncio.run(world.up())
    done = playbook.play(program, inventory.write_lab(world), network=world.lab.control,
                         settings=ANSIBLE, capture_output=True)
    if done.returncode != 0:
        raise HarnessFailure("the template of virtual machines could not be provisioned:\n"
                             + "\n".join((done.stdout + done.stderr).splitlines()[-20:]))


async def install(world: VirtualWorld, ready: Ready) -> None:
    """Install on the only host of a lab, and hang up."""
    await world.up()
    host = world.hosts[0]
    await ready.install(host)
    host.hang_up()
