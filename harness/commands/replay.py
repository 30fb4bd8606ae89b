"""``seatrial replay``: a recorded run once more, or a schedule on real hosts."""
from __future__ import annotations

from pathlib import Path

import click

from ..errors import BadInput, HarnessFailure
from ..launch import LOCAL, SIM, WORLDS, plan_of
from ..recorded import Recorded, recorded


@click.command("replay")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--seed", type=int, help="With a test file: the seed; by default the file's own.")
@click.option("--mutant", metavar="NAME", help="With a test file: plant this bug in the node.")
@click.option("--time-limit", type=float, metavar="SECONDS",
              help="With a test file: how long clients and faults work.")
@click.option("--digest", metavar="HEX", help="With a test file: the digest it gave.")
@click.option("--commit", metavar="ID", help="With a test file: the commit it gave that on.")
@click.option("--on", "world", type=click.Choice(WORLDS), default=SIM, show_default=True,
              help="sim: once, and compare. local: a schedule, on real hosts.")
@click.option("--tries", type=click.IntRange(1, 10_000), metavar="N",
              help="With --on local: how often; 10.")
@click.option("--stretch", type=click.FloatRange(0.01, 1000), metavar="FACTOR",
              help="With --on local: let everything take so many times as long; 3.")
@click.option("--check", metavar="NAME", help="With --on local: the check that must be violated "
              "again; by default the one that is in simulation.")
@click.option("--lab", metavar="NAME",
              help="With --on local: the hosts of a lab that 'seatrial up' made.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("store"),
              show_default=True, help="Folder that keeps all runs.")
def command(run: Path, seed: int | None, mutant: str | None, time_limit: float | None,
            digest: str | None, commit: str | None, world: str, tries: int | None,
            stretch: float | None, check: str | None, lab: str | None, store: Path) -> int:
    """Run a simulated run again and compare: RUN is its folder in the store, or a test file.

    Exit code: 0 it was the same, 255 it was not. With --on local a schedule is tried on real
    hosts, and 0 means that it was, however often it failed there.
    """
    overrides = {name: value for name, value in {
        "--seed": (("seed",), seed), "--time-limit": (("time_limit",), time_limit),
        "--mutant": (("system", "options", "mutant"), mutant)}.items() if value[1] is not None}
    wanted = recorded(run, overrides, digest=digest, commit=commit)
    if world == LOCAL:
        return on_hosts(wanted, store, tries or 10, stretch or 3.0, check, lab)
    for option, value in {"--tries": tries, "--stretch": stretch, "--check": check,
                          "--lab": lab}.items():
        if value is not None:
            raise BadInput(f"{option}: only with --on {LOCAL}")
    return in_simulation(wanted, store)


def in_simulation(wanted: Recorded, store: Path) -> int:
    """Run it again and compare."""
    from ..replay import replay
    from ..sim.build import other_build
    from .again import again_with

    if wanted.results is not None and wanted.results.world != SIM:
        raise BadInput(f"{wanted.path}: a run on {wanted.results.world} can't be repeated; "
                       f"'seatrial shrink {wanted.path}' looks for it in simulation")
    chosen = plan_of(wanted.document, wanted.request(store))
    if (folder := other_build(chosen)) is not None:
        return again_with(folder)
    found = replay(wanted, chosen)
    for line in found.lines:
        click.echo(line)
    if found.problem is not None:
        raise HarnessFailure(found.problem)
    return 0


def on_hosts(wanted: Recorded, store: Path, tries: int, stretch: float, check: str | None,
             lab: str | None) -> int:
    """Try it on real hosts."""
    from ..replay import TRIES, check_to_see, try_locally

    if check is None:
        check = check_to_see(verdicts(wanted, store))
    result, folder = try_locally(wanted, store.absolute(), tries=tries, stretch=stretch, lab=lab,
                                 check=check, say=click.echo)
    click.echo(f"reproduced in {result.reproduced} of {result.tries} tries"
               + (f" ({check} violated)" if check else ""))
    click.echo(f"told in: {folder.path / TRIES}")
    return 0


def verdicts(wanted: Recorded, store: Path) -> dict[str, str]:
    """Return what each check says of the run in simulation, those at least that don't pass."""
    from ..sim.answer import answer
    from ..sim.build import other_build
    from ..sim.simulation import Simulation
    from ..sim.worker import run_in_child

    if wanted.results is not None:
        return {name: check.verdict for name, check in wanted.results.checks.items()}
    chosen = plan_of(wanted.document, wanted.request(store))
    if (folder := other_build(chosen)) is not None:
        return run_in_child(chosen.request, wanted.seed, folder, keep=False).checks
    return answer(Simulation(chosen).run()).checks
