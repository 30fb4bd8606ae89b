"""``seatrial run``: one test file, one run or many simulated ones, one verdict."""
from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from ..errors import BadInput
from ..hosts.inventory import is_inventory
from ..launch import SIM, WORLDS, Request, launch
from .world import World


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--on", "world", type=World(*WORLDS), default="local", show_default=True,
              help="Where the hosts come from: local, vm, sim, or the file of an inventory.")
@click.option("--seed", type=int, help="Seed of all random draws; by default a new one.")
@click.option("--seeds", metavar="N",
              help="With --on sim: run the seeds 1..N, or FIRST..LAST, on all cores.")
@click.option("--jobs", type=click.IntRange(1, 1024), metavar="N",
              help="With --seeds: how many run at a time; by default as many as there are cores.")
@click.option("--resume", is_flag=True, help="With --seeds: go on with the newest unfinished "
              "batch of these seeds of this file at this commit.")
@click.option("--time-limit", type=float, metavar="SECONDS",
              help="How long clients and faults work.")
@click.option("--lab", metavar="NAME", help="Use the hosts of a lab that 'seatrial up' made.")
@click.option("--keep", is_flag=True, help="Leave the hosts up after a violation.")
@click.option("--store", type=click.Path(path_type=Path), default=Path("store"),
              show_default=True, help="Folder that keeps all runs.")
@click.option("--fail-fast", is_flag=True,
              help="End the run at the first violation (not with --on sim).")
@click.option("--mutant", metavar="NAME", help="Plant this bug in the node.")
def command(file: Path, world: str, seed: int | None, seeds: str | None, jobs: int | None,
            resume: bool, time_limit: float | None, lab: str | None, keep: bool, store: Path,
            fail_fast: bool, mutant: str | None) -> int:
    """Run the test in FILE and judge it: once, or in simulation with many seeds.

    Exit code: 0 pass, 1 violation, 2 inconclusive, 3 no coverage, 254 bad arguments,
    255 the run itself broke. ^C once heals the faults and judges what there is; twice stops
    at once and leaves the faults' journal to 'seatrial heal'. With --seeds it is the worst
    verdict of all; ^C ends it, and --resume goes on from there.
    """
    refuse_together(world, {"--seed": seed is not None, "--seeds": seeds is not None,
                            "--jobs": jobs is not None, "--resume": resume,
                            "--lab": lab is not None, "--keep": keep,
                            "--fail-fast": fail_fast})
    overrides = {
        "--seed": (("seed",), seed),
        "--time-limit": (("time_limit",), time_limit),
        "--fail-fast": (("checks", "stop"), fail_fast or None),
        "--mutant": (("system", "options", "mutant"), mutant),
    }
    request = Request(
        file=file, world=world, lab=lab, keep=keep, store=store.absolute(),
        overrides={name: given for name, given in overrides.items() if given[1] is not None},
    )
    if seeds is not None:
        return many(request, seeds, jobs, resume)
    done = launch(request)
    click.echo(f"verdict: {done.verdict}" + (f" ({done.summary})" if done.summary else ""))
    for heading, line in done.details.items():
        click.echo(f"{heading + ':':<9}{line}")
    click.echo(f"report:  {done.folder / 'report.html'}")
    click.echo(f"again:   {shlex.join(done.command)}")
    return done.exit_code


def many(request: Request, seeds: str, jobs: int | None, resume: bool) -> int:
    """Run a batch of seeds."""
    from ..sim.batch import run_batch, seeds_of

    cores = len(os.sched_getaffinity(0))
    done = run_batch(request, seeds_of(seeds), jobs=jobs or cores, resume=resume)
    for line in done.lines:
        click.echo(line)
    return done.exit_code


def refuse_together(world: str, given: dict[str, bool]) -> None:
    """Refuse options that make no sense beside the others."""
    if given["--seeds"] and given["--seed"]:
        raise BadInput("--seeds: expected without --seed: it names the seeds itself")
    if given["--seeds"] and world != SIM:
        raise BadInput(f"--seeds: only with --on {SIM}, where runs need no hosts of their own")
    for option in ("--jobs", "--resume"):
        if given[option] and not given["--seeds"]:
            raise BadInput(f"{option}: only with --seeds")
    for option in ("--lab", "--keep"):
        if given[option] and (world == SIM or is_inventory(world)):
            raise BadInput(f"{option}: not with --on {world}, which has no hosts to keep")
    if given["--fail-fast"] and world == SIM:
        raise BadInput(f"--fail-fast: not with --on {SIM}, where a run is judged when it is over")
