"""``seatrial up``: make a lab and leave it running."""
from __future__ import annotations

import asyncio
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ..hosts import LabWorld, LocalWorld, VirtualWorld, inventory
from ..hosts.plan import LOCAL, VM
from ..hosts.state import DEFAULT
from ..hosts.vm.machine import Machine


@click.command("up")
@click.option("--on", "world", type=click.Choice([LOCAL, VM]), default=LOCAL, show_default=True,
              help="Where the hosts come from.")
@click.option("-n", "--nodes", default=5, show_default=True, metavar="COUNT",
              help="How many hosts.")
@click.option("--pool", "pools", multiple=True, default=("clients",), metavar="NAME",
              help="A client pool with addresses of its own; may be repeated. [default: clients]")
@click.option("--memory", default=Machine().memory_mb, show_default=True, metavar="MB",
              help="With --on vm: of each machine.")
@click.option("--cpus", default=Machine().cpus, show_default=True, metavar="COUNT",
              help="With --on vm: of each machine.")
@click.option("--disk", default=Machine().data_mb, show_default=True, metavar="MB",
              help="With --on vm: of each machine's second disk, at /data.")
@click.option("--lab", default=DEFAULT, show_default=True, metavar="NAME",
              help="What to call it.")
def command(world: str, nodes: int, pools: tuple[str, ...], memory: int, cpus: int, disk: int,
            lab: str) -> None:
    """Make hosts and leave them running until 'seatrial down'."""
    began = time.monotonic()
    made: LabWorld
    if world == VM:
        made = VirtualWorld.create(nodes, pools, lab=lab, machine=Machine(memory, cpus, disk))
    else:
        made = LocalWorld.create(nodes, pools, lab=lab, masked=[Path.cwd() / "store"])
    try:
        asyncio.run(made.up())
    except BaseException:
        made.destroy()
        raise
    seconds = time.monotonic() - began
    written = inventory.write_lab(made)
    made.keep()
    table = Table(title=f"lab {lab}: {nodes} hosts up in {seconds:.2f} s", title_justify="left")
    for heading in ("host", "IPv4", "IPv6"):
        table.add_column(heading)
    suffix = "" if lab == DEFAULT else f" --lab {lab}"
    for host in made.hosts:
        table.add_row(host.name, host.ipv4, host.ipv6 or "-")
    for name, (ipv4, ipv6) in made.pools.items():
        table.add_row(f"pool:{name}", ipv4, ipv6 or "-")
    Console(highlight=False).print(table)
    click.echo(f"log in:    seatrial ssh {made.hosts[0].name}{suffix}")
    click.echo(f"inventory: {written}")
    click.echo(f"take down: seatrial down{suffix}")
