"""``seatrial generate``: a large history whose verdict is known, to size one's checks with."""
from __future__ import annotations

import sys
from pathlib import Path

import click

from seatrial.checker.errors import CheckerError
from seatrial.checker.generate import KINDS, VIOLATIONS, Recipe, write

from ..errors import BadInput

SHARE = click.FloatRange(0.0, 1.0)
MOST_CLIENTS = 1 << 20


@click.command("generate")
@click.option("--model", type=click.Choice(list(KINDS)), default="kv", show_default=True)
@click.option("--ops", "operations", type=click.IntRange(1), default=100_000, show_default=True,
              help="How many operations.")
@click.option("--clients", type=click.IntRange(1, MOST_CLIENTS), default=10, show_default=True,
              help="How many work at the same time.")
@click.option("--keys", type=click.IntRange(1, 1 << 24), default=1, show_default=True,
              help="How many keys (of kv).")
@click.option("--pending", type=click.IntRange(0, 1 << 24), default=0, show_default=True,
              help="How many changes nobody knows the end of.")
@click.option("--violation", type=click.Choice(VIOLATIONS), help="Without it there is none.")
@click.option("--at", type=SHARE, default=0.9, show_default=True,
              help="How far into the history the violation is.")
@click.option("--reads", type=SHARE, default=0.5, show_default=True,
              help="Share of operations that observe (read, dequeue, pop).")
@click.option("--cas", type=SHARE, default=0.0, show_default=True,
              help="Share of compare-and-sets (of kv and cas-register).")
@click.option("--values", type=click.IntRange(0, 1 << 40), default=0, show_default=True,
              help="How many different values; 0: none is written twice.")
@click.option("--seed", type=click.IntRange(0, (1 << 63) - 1), default=1, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: standard output.")
def command(
    model: str, operations: int, clients: int, keys: int, pending: int, violation: str | None,
    at: float, reads: float, cas: float, values: int, seed: int, output: Path | None,
) -> None:
    """Write a history (an Arrow stream) that is linearizable, or has one violation."""
    try:
        recipe = Recipe(model, operations, clients, keys, pending, violation, at, reads, cas,
                        values, seed)
    except CheckerError as error:
        raise BadInput(str(error)) from error
    if output is None and sys.stdout.isatty():
        raise BadInput("a history is no text for a terminal; expected --output FILE, or a pipe "
                       "such as: seatrial generate | seatrial check -")
    try:
        if output is None:
            write(recipe, sys.stdout.buffer)
        else:
            with output.open("wb") as file:
                write(recipe, file)
    except BrokenPipeError:
        sys.stderr.close()                  # who read it has seen enough
    except OSError as error:
        raise BadInput(f"{output or 'standard output'}: can't write it: {error.strerror}"
                       ) from error
