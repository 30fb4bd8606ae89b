"""How soon the simulated world finds each planted bug, and by what: ``seatrial mutants``.

The test that each bug names, or one for all of them; the same consecutive seeds with each bug in
turn, and many more of each test with none: a control that finds something means that the findings
prove nothing. All seeds are run, so that a row says
how often a bug is found, not only that it once was; or only those up to the first that finds it,
which is the same one however many work at it. A bug that kills the process which runs it has been
found, too.
"""
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .launch import Request, plan
from .mutants import PROPERTIES, SWARM, Mutant
from .sim.answer import Answer
from .sim.crew import PROCESS, crew

MUTANT_KEY = ("system", "options", "mutant")
CRASH = "crash"
OTHERS_SHARE = 10       # other tests get one seed where the swarm's gets so many: they are long
VIOLATION, PASS, FAILURE = "violation", "pass", "harness-failure"


@dataclass(slots=True)
class Row:
    """What was found with one bug planted; with None, in the control.

    found: seed -> what was broken there. uncovered: how many seeds were no test of anything.
    broke: at how many the harness failed; reason: the first of them.
    """

    mutant: Mutant | None
    file: Path = Path(SWARM)
    seeds: int = 0
    found: dict[int, str] = field(default_factory=dict)
    cpu_ns: dict[int, int] = field(default_factory=dict)
    uncovered: int = 0
    broke: int = 0
    reason: str = ""

    @property
    def name(self) -> str:
        """The bug's name."""
        if self.mutant is not None:
            return self.mutant.name
        return "control" if self.file == Path(SWARM) else f"control of {self.file.name}"

    def add(self, answer: Answer) -> None:
        """Count a seed."""
        self.seeds += 1
        self.cpu_ns[answer.seed] = answer.cpu_ns
        by = broken(answer)
        if by is not None:
            self.found[answer.seed] = by
        elif answer.verdict == FAILURE:
            self.broke += 1
            self.reason = self.reason or f"seed {answer.seed}: {answer.summary}"
        elif answer.verdict != PASS:
            self.uncovered += 1

    def first(self) -> int | None:
        """Return the first seed that found the bug."""
        return min(self.found, default=None)

    def is_first_known(self) -> bool:
        """Return whether all seeds before the first that found the bug are over."""
        first = self.first()
        return first is not None and all(seed in self.cpu_ns for seed in range(1, first))

    def first_s(self) -> float | None:
        """Return how long one core works at the seeds up to that one."""
        first = self.first()
        if first is None:
            return None
        return sum(ns for seed, ns in self.cpu_ns.items() if seed <= first) / 1e9

    def by(self) -> list[tuple[str, int]]:
        """Return what was broken in how many seeds, the most frequent first."""
        return Counter(self.found.values()).most_common()

    def as_expected(self) -> bool:
        """Return whether a property was broken that the bug is known to break."""
        return self.mutant is not None and bool(set(self.mutant.breaks) & set(self.found.values()))


@dataclass(slots=True)
class Matrix:
    """All rows. controls: one for each test, none when none were asked for."""

    rows: list[Row]
    controls: list[Row]
    wall_ns: int = 0

    def good(self) -> bool:
        """Return whether every bug was found, and nothing where there is none."""
        clean = not any(row.found or row.broke for row in self.controls)
        return clean and all(row.found for row in self.rows)


def broken(answer: Answer) -> str | None:
    """Return the property that a seed found broken, in the words of ``PROPERTIES``."""
    if PROCESS in answer.checks:
        return CRASH
    for check, verdict in answer.checks.items():
        if verdict == VIOLATION:
            if check != "invariants":
                return check
            said = answer.summary.removeprefix("invariants: ").partition(":")[0]
            return said if said in PROPERTIES else "assertion"
    return None


def share(file: Path, seeds: int) -> int:
    """Return how many seeds a test gets where the swarm's gets so many."""
    return seeds if file == Path(SWARM) else -(-seeds // OTHERS_SHARE)


def tests_of(request: Request, mutants: Sequence[Mutant], *, own: bool) -> dict[Path, Request]:
    """Return the tests that are to be run, by their files. own: each bug's own."""
    files = [Path(mutant.file) for mutant in mutants] if own else [request.file]
    return {file: replace(request, file=file) for file in files}


def detect(
    request: Request, mutants: Sequence[Mutant], seeds: int, control: int, jobs: int,
    tell: Callable[[Row], None], *, first: bool = False, own: bool = False,
) -> Matrix:
    """Measure everything. ``tell`` is called after every seed with its row.

    first: run no more seeds with a bug once it is known which is the first that finds it.
    own: each bug is given the test that it names, not that of the request.
    """
    began = time.monotonic_ns()
    matrix = Matrix([], [])
    tests = tests_of(request, mutants, own=own)
    many = {file: share(file, seeds) if own else seeds for file in tests}
    if control:
        matrix.controls += [
            measure(test, None, share(file, control) if own else control, jobs, tell)
            for file, test in tests.items()]
    for mutant in mutants:
        file = Path(mutant.file) if own else request.file
        matrix.rows.append(measure(tests[file], mutant, many[file], jobs, tell, first=first))
    matrix.wall_ns = time.monotonic_ns() - began
    return matrix


def measure(
    request: Request, mutant: Mutant | None, seeds: int, jobs: int, tell: Callable[[Row], None],
    *, first: bool = False,
) -> Row:
    """Run seeds with one bug, or with none."""
    row = Row(mutant, request.file)
    if mutant is not None:
        request = planted(request, mutant.name)
    system: Any = plan(request.seeded(1)).system
    system.prepare()
    answers = crew(request, range(1, seeds + 1), jobs=jobs, python_path=system.python_path())
    with closing(answers):
        for answer in answers:
            row.add(answer)
            tell(row)
            if first and row.is_first_known():
                break
    return row


def planted(request: Request, mutant: str | None) -> Request:
    """Return the request with a bug planted, or with none."""
    return replace(request, overrides={**request.overrides, "--mutant": (MUTANT_KEY, mutant)})
