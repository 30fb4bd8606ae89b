"""``seatrial doctor``: what this machine can do, what it lacks, and how to get that."""
from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from seatrial.checker import porcupine_engine

from ..errors import HarnessFailure
from ..hosts.doctor import examine_local


@click.command("doctor")
@click.option("--on", "world", type=click.Choice(["local"]), default="local", show_default=True,
              help="The world to look at.")
def command(world: str) -> None:
    """Show what this machine can do; nothing is installed or changed."""
    findings = list(examine_local())
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
