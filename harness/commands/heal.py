"""``seatrial heal``: undo the faults that are in force on labs' hosts, whoever started them.

| command          | heals                                                       |
|------------------|-------------------------------------------------------------|
| ``heal``         | all labs that no living process uses                        |
| ``heal --lab X`` | lab X, also while it is in use (its run will tell of it)    |
| ``heal --on F``  | the hosts of inventory F, also while they are in use            |
| ``heal --all``   | all labs, also those in use                                 |

It needs nothing of the run that broke things: the hosts' own journals say what is to be undone.
Hosts that can't be reached are named, and make the exit code 255. A node that was killed stays
down: only its run knows how to start it. What an administrator had begun is taken back by the
cluster's own tools; where the cluster does not let that be done, it is told and left.
"""
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..fault_windows import KILLS
from ..hosts import state
from ..hosts.state import Condition
from ..nemesis.heal import Healed, heal, mend
from .world import World

if TYPE_CHECKING:
    from ..hosts import LabWorld


@click.command("heal")
@click.option("--lab", metavar="NAME", help="Heal this lab.")
@click.option("--on", "world", type=World(), metavar="INVENTORY",
              help="Heal the hosts of this inventory.")
@click.option("--all", "everything", is_flag=True, help="Heal all labs, also those in use.")
def command(lab: str | None, world: str | None, everything: bool) -> int:
    """Undo all faults on labs' or an inventory's hosts, also after the harness was killed."""
    if world is not None:
        if lab is not None or everything:
            raise click.UsageError("--on: expected without --lab and --all")
        return _heal_inventory(Path(world))
    if lab is not None and everything:
        raise click.UsageError("--lab and --all: expected one of them")
    state.require_root()
    if lab is not None:
        state.check_name(lab)
        return _heal_lab(lab)
    names = state.names()
    if not names:
        click.echo("no labs")
    return max((_heal_unless_in_use(name, everything) for name in names), default=0)


def _heal_unless_in_use(name: str, everything: bool) -> int:
    if not everything and state.condition(name) is Condition.IN_USE \
            and not state.owner_died(name):
        click.echo(f"lab {name}: in use, left alone (seatrial heal --lab {name})")
        return 0
    known = state.read(name)
    if known is None or not known.alive:
        click.echo(f"lab {name}: its hosts don't run, so nothing is broken there")
        return 0
    return _heal_lab(name)


def _heal_inventory(path: Path) -> int:
    """Heal an inventory's hosts; 255 if one of them could not be reached."""
    from ..hosts.inventory import InventoryWorld

    InventoryWorld.enter(path)
    hosts = InventoryWorld(path)
    try:
        healed = asyncio.run(heal(hosts.hosts))
    finally:
        hosts.close()
    for host in healed:
        click.echo(told(host), err=host.error is not None)
    return 255 if any(host.error for host in healed) else 0


def _heal_lab(name: str) -> int:
    """Heal one lab's hosts; 255 if one of them could not be reached."""
    from ..hosts.labs import view  # loads the SSH libraries, which take their time

    async def all_of(world: LabWorld) -> list[Healed]:
        for host in await mend(world):
            click.echo(f"lab {name}: {host}: has power again, and runs")
        return await heal(world.hosts)

    world = view(name)
    try:
        healed = asyncio.run(all_of(world))
    finally:
        world.close()
    for host in healed:
        click.echo(f"lab {name}: {told(host)}", err=host.error is not None)
    return 255 if any(host.error for host in healed) else 0


def told(host: Healed) -> str:
    """Return what became of one host, for a person."""
    if host.error is not None:
        return f"{host.host}: could not be healed: {host.error}"
    done = ["undid " + ", ".join(
        f"{fault} (the node stays down)" if fault in KILLS else fault for fault in host.undone)
    ] if host.undone else []
    done += [f"{fault} stays as it is: {why}" for fault, why in host.left.items()]
    return f"{host.host}: " + ("; ".join(done) or "nothing to undo")
