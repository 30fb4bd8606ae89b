"""``seatrial plan``: what a run would do where; nothing is done."""
from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ..errors import BadInput, HarnessFailure
from ..launch import SIM, WORLDS, Request, plan
from ..planned import Planned, planned
from .world import World


@click.command("plan")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--on", "world", type=World(*WORLDS), default="local", show_default=True,
              help="Where the hosts would come from: local, vm, or the file of an inventory.")
def command(file: Path, world: str) -> None:
    """Show what a run of the test in FILE would do on which hosts; nothing is installed or changed.

    An inventory's hosts are asked what they can do. Exit code: 255 when one of them can't be used.
    """
    if world == SIM:
        raise BadInput(f"--on {SIM}: there are no hosts to plan for")
    chosen = plan(Request(file=file, world=world, store=Path("store").absolute(),
                          overrides={"--seed": (("seed",), 0)}))
    found = planned(chosen)
    spec = chosen.spec
    show(found)
    home = getattr(getattr(chosen.system, "options", None), "home", None)
    click.echo(f"system:   {spec.system.name}" + (
        f", installed and run in {home}; stopped and removed at the end" if home else ""))
    speed = "as fast as they are answered" if spec.rate is None else f"{spec.rate:g} operations/s"
    click.echo(f"workload: {spec.workload.name}: {spec.clients} clients, {speed}, for "
               f"{spec.time_limit:g} s")
    click.echo("undone:   every fault is journalled on its host before it begins (/var/lib/"
               "seatrial-agent), and undone there\n          when the harness is silent; rules "
               "and qdiscs of others are never touched")
    if broken := [host.name for host in found.hosts if host.trouble]:
        raise HarnessFailure(f"--on {world}: can't be used: {', '.join(broken)}")


def show(found: Planned) -> None:
    """Print hosts and faults as two tables."""
    console = Console(markup=False, highlight=False)
    hosts = Table(title="hosts", title_justify="left")
    for heading in ("host", "address", "part", "found"):
        hosts.add_column(heading, overflow="fold")
    for host in found.hosts:
        hosts.add_row(host.name, host.address, host.part, host.trouble or host.about)
    console.print(hosts)
    if not found.faults:
        return
    faults = Table(title="faults", title_justify="left")
    for heading in ("fault", "class", "there"):
        faults.add_column(heading, overflow="fold")
    for fault in found.faults:
        faults.add_row(fault.name, fault.cls, f"impossible: {fault.impossible}"
                       if fault.impossible else "possible")
    console.print(faults)
