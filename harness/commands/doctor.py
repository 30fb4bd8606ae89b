"""``seatrial doctor``: what this machine can do, what it lacks, and how to get that."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from seatrial.checker import porcupine_engine

from ..errors import HarnessFailure
from ..hosts.doctor import examine_local
from ..hosts.inventory import is_inventory
from ..hosts.plan import LOCAL, VM
from ..hosts.survey import ABILITIES, Surveyed, survey
from ..hosts.vm.doctor import examine_vm
from .world import World


@click.command("doctor")
@click.option("--on", "world", type=World(LOCAL, VM), default=LOCAL, show_default=True,
              help="The world to look at: local, vm, or the file of an inventory.")
def command(world: str) -> None:
    """Show what this machine, or an inventory's hosts can do; nothing is installed or changed."""
    if is_inventory(world):
        if not survey(Path(world), show_hosts):
            raise HarnessFailure(f"--on {world}: not every host can be used")
        return
    findings = list(examine_vm() if world == VM else examine_local())
    table = Table(title=f"--on {world}", title_justify="left")
    for heading in ("", "what", "found", "needed for", "to do"):
        table.add_column(heading, overflow="fold")
    for row in findings:
        table.add_row("[green]ok[/]" if row.ok else "[red]no[/]", row.what, row.found,
                      row.feature, row.remedy)
    Console(markup=True, highlight=False).print(table)
    click.echo("second engine: porcupine is built in" if porcupine_engine.available() else
               f"second engine: {porcupine_engine.ABSENT} (install golang-go, install again)")
    if missing := [row.what for row in findings if not row.ok]:
        raise HarnessFailure(f"--on {world}: not everything works here: {', '.join(missing)}")


def show_hosts(hosts: Sequence[Surveyed]) -> None:
    """Print what each host of an inventory can do, and what it lacks for which faults."""
    table = Table(title="hosts", title_justify="left")
    for heading in ("", "host", "found", *ABILITIES.values()):
        table.add_column(heading, overflow="fold")
    for host in hosts:
        if host.error is not None:
            table.add_row("no", host.host, host.error)
            continue
        table.add_row("ok", host.host, host.about,
                      *(host.cannot.get(ability, "ok") for ability in ABILITIES))
    Console(markup=False, highlight=False).print(table)
