"""``seatrial run``: one test file, one run, one verdict."""
from __future__ import annotations

import shlex
from pathlib import Path

import click

from ..launch import WORLDS, Request, launch


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--on", "world", type=click.Choice(WORLDS), default="local", show_default=True,
              help="Where the hosts come from.")
@click.option("--seed", type=int, help="Seed of all random draws; by default a new one.")
@click.option("--time-limit", type=float, metavar="SECONDS",
              help="How long clients and faults work.")
@click.option("--lab", metavar="NAME", help="Use the hosts of a lab that 'seatrial up' made.")
@click.option("--keep", is_flag=True, help="Leave the hosts up after a violation.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("store"),
              show_default=True, help="Folder that keeps all runs.")
@click.option("--mutant", metavar="NAME", help="Plant this bug in the node.")
def command(file: Path, world: str, seed: int | None, time_limit: float | None,
            lab: str | None, keep: bool, store: Path, mutant: str | None) -> int:
    """Run the test in FILE and judge it.

    Exit code: 0 pass, 1 violation, 2 inconclusive, 3 no coverage, 254 bad arguments,
    255 the run itself broke. ^C once heals the faults and judges what there is; twice stops
    at once and leaves the faults' journal to 'seatrial heal'.
    """
    overrides = {
        "--seed": (("seed",), seed),
        "--time-limit": (("time_limit",), time_limit),
        "--mutant": (("system", "options", "mutant"), mutant),
    }
    request = Request(
        file=file, world=world, lab=lab, keep=keep, store=store.absolute(),
        overrides={name: given for name, given in overrides.items() if given[1] is not None},
    )
    done = launch(request)
    click.echo(f"verdict: {done.verdict}" + (f" ({done.summary})" if done.summary else ""))
    click.echo(f"report:  {done.folder / 'report.html'}")
    click.echo(f"again:   {shlex.join(done.command)}")
    return done.exit_code
