"""``seatrial mutants``: run a test with every bug that can be planted, and tell which are found."""
from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..detection import Matrix, Row, detect, tests_of
from ..errors import BadInput
from ..launch import SIM, Request, plan
from ..mutants import MUTANTS, SWARM, Mutant
from ..report import matrix as report
from ..results import commit
from ..yamlfile import suggestion

LINE_S = 10.0


@click.command("mutants")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--only", "names", multiple=True, metavar="NAME",
              help="Plant only this bug; may be given more than once.")
@click.option("--seeds", type=click.IntRange(min=1), default=150, show_default=True,
              help="How many seeds each bug gets: 1, 2, ...; a tenth in tests of domains.")
@click.option("--control", type=click.IntRange(min=0), default=2000, show_default=True,
              help="How many seeds run with no bug planted; a tenth in tests of domains.")
@click.option("--jobs", type=click.IntRange(min=1), default=os.cpu_count() or 1,
              show_default="all cores", help="How many processes work at once.")
@click.option("--write", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              metavar="FILE", help="Put the matrix into this document, between its marks.")
@click.option("--first", is_flag=True, help="Stop at the first seed that finds a bug.")
@click.option("--found", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the first seed that found each bug, and by what, into this table.")
def command(
    file: Path | None, names: tuple[str, ...], seeds: int, control: int, jobs: int,
    write: Path | None, first: bool, found: Path | None,
) -> int:
    """Run the test in FILE with every bug that can be planted in the node, in simulation.

    Without FILE each bug is planted into the test that it names: examples/swarm.yml, or one of
    domains. The same seeds for each bug, and more with none.
    Exit code: 0 when all bugs were found and nothing without one, else 1.
    """
    chosen = [known(name) for name in dict.fromkeys(names)] or list(MUTANTS)
    request = Request(file or Path(SWARM), Path("store").absolute(), world=SIM)
    for path, test in tests_of(request, chosen, own=file is None).items():
        system: Any = plan(test.seeded(1)).system
        if system.mutant is not None:
            raise BadInput(f"{path}: plants a bug itself (system.options.mutant); remove that")
    if write is not None and first:
        raise BadInput("--write: not with --first: the document says how often a bug is found")
    if found is not None and names:
        raise BadInput("--found: not with --only: the table holds all bugs")
    with Progress(None if first or file is None else seeds * len(chosen) + control) as progress:
        matrix = detect(request, chosen, seeds, control, jobs, progress.tell, first=first,
                        own=file is None)
    click.echo(report.text(matrix))
    if write is not None:
        report.insert(write, report.markdown(matrix, how(file, seeds, jobs, matrix)))
    if found is not None:
        found.write_text(report.found(matrix), encoding="utf-8")
    return 0 if matrix.good() else 1


def known(name: str) -> Mutant:
    """Return the bug of this name."""
    for mutant in MUTANTS:
        if mutant.name == name:
            return mutant
    expected = suggestion(name, [mutant.name for mutant in MUTANTS])
    raise BadInput(f"--only: no planted bug is called {name!r}; {expected}")


def how(file: Path | None, seeds: int, jobs: int, matrix: Matrix) -> str:
    """Return the sentence that says where a matrix comes from."""
    words = "seatrial mutants" if file is None else f"seatrial mutants {file}"
    return (f"`{words} --seeds {seeds} --jobs {jobs}` at commit "
            f"`{commit()[:12]}`, Python {platform.python_version()}: {len(matrix.rows)} bugs, "
            f"{sum(bool(row.found) for row in matrix.rows)} of them found, in "
            f"{matrix.wall_ns / 60e9:.0f} minutes.")


class Progress:
    """A line every now and then, on a terminal the same line. total: how many seeds, if known."""

    def __init__(self, total: int | None) -> None:
        self.total = total
        self.done = 0
        self.found: dict[str, int] = {}
        self.began = self.told = time.monotonic()
        self.console = Console(stderr=True)
        self.status = self.console.status("starting")

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.status.stop()

    def tell(self, row: Row) -> None:
        """A seed of this row is over."""
        self.done += 1
        self.found[row.name] = len(row.found)
        now = time.monotonic()
        if self.console.is_terminal:
            self.status.update(self.line(row, now))
        elif now - self.told >= LINE_S:
            self.told = now
            self.console.print(self.line(row, now), highlight=False)

    def line(self, row: Row, now: float) -> str:
        """Return how far it is."""
        found = sum(bool(count) for name, count in self.found.items()
                    if not name.startswith("control"))
        if self.total is None:
            return f"{self.done:,} seeds, {found} bugs found, {row.name}: {row.seeds} seeds"
        left_s = (now - self.began) / self.done * (self.total - self.done)
        return (f"{self.done:,} of {self.total:,} seeds, {found} bugs found, {row.name}: "
                f"{len(row.found)} of {row.seeds}; about {left_s:.0f} s left")
