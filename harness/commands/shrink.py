"""``seatrial shrink``: from a failing run to the few operations and faults that it takes."""
from __future__ import annotations

from pathlib import Path

import click

from ..launch import plan_of
from ..recorded import recorded

MOST_LINES = 60              # of the sequence, on the terminal


@click.command("shrink")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="With a test file: the seed that fails.")
@click.option("--mutant", metavar="NAME", help="With a test file: plant this bug in the node.")
@click.option("--time-limit", type=float, metavar="SECONDS",
              help="With a test file: how long clients and faults work.")
@click.option("--check", metavar="NAME", help="Which violated check to go for; by default the "
              "first.")
@click.option("--budget", type=click.FloatRange(min=0), default=120.0, show_default=True,
              metavar="SECONDS", help="How long to search.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="The small test; by default NAME-shrunk.yml here.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("store"),
              show_default=True, help="Folder that keeps all runs.")
def command(run: Path, seed: int | None, mutant: str | None, time_limit: float | None,
            check: str | None, budget: float, output: Path | None, store: Path) -> int:
    """Make a failing run small: RUN is its folder in the store, or a test file with a seed.

    The result is a test file that fails in the same way, and its run in the store, with a
    drawing of who said what to whom. ^C ends the search and saves what it has found.
    """
    from ..report.sequence import text
    from ..shrink.work import given, not_on_local, save, shrink
    from ..sim.build import other_build
    from .again import again_with

    overrides = {name: value for name, value in {
        "--seed": (("seed",), seed), "--time-limit": (("time_limit",), time_limit),
        "--mutant": (("system", "options", "mutant"), mutant)}.items() if value[1] is not None}
    wanted = recorded(run, overrides)
    request = wanted.request(store)
    chosen = plan_of(wanted.document, request)
    if (folder := other_build(chosen)) is not None:
        return again_with(folder)
    failing = given(wanted, chosen, check)
    click.echo(f"{failing.name} violates {failing.failure.kind}: {failing.failure.summary}")
    shrunk = shrink(failing, request, budget_s=budget, say=click.echo)
    saved = save(failing, shrunk, output, store)
    click.echo(f"{shrunk.trials:,} trials in {shrunk.seconds:.0f} s; {shrunk.end}")
    click.echo("")
    click.echo(text(saved.told.story, most=MOST_LINES) + "\n")
    click.echo(f"shrunk:  {saved.file}")
    click.echo(f"report:  {saved.told.folder.report}")
    click.echo(f"again:   seatrial run {saved.file} --on sim")
    if not not_on_local(shrunk.spec):
        click.echo(f"local:   seatrial replay {saved.file} --on local --tries 10")
    return 0
