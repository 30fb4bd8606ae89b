"""Verdicts: what a check says, and how the verdicts of several checks combine."""
from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


class Verdict(enum.IntEnum):
    """What was found, ordered from best to worst: the worst of several wins.

    Only VIOLATION says that a guarantee was broken. HARNESS_FAILURE: the run itself broke.
    INCONCLUSIVE: a checker ran out of its time or memory budget. NO_COVERAGE: faults or
    load did not happen as the test requires, so that a pass would mean nothing.
    """

    PASS = 0
    NO_COVERAGE = 1
    INCONCLUSIVE = 2
    HARNESS_FAILURE = 3
    VIOLATION = 4

    @property
    def label(self) -> str:
        """The name used in results.json, reports and on the terminal: ``no-coverage``."""
        return self.name.lower().replace("_", "-")

    @property
    def exit_code(self) -> int:
        """The process's exit code for this verdict."""
        return {"PASS": 0, "VIOLATION": 1, "INCONCLUSIVE": 2, "NO_COVERAGE": 3}.get(self.name, 255)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; PASS when there are none."""
    return max(verdicts, default=Verdict.PASS)


@dataclass(slots=True)
class CheckResult:
    """One check's answer.

    ``evidence`` is JSON-able and stable (it goes to results.json): for a violation it names
    the operations, the key and why; ``summary`` is one line for a person; ``text`` is the
    readable counterexample (several lines), empty when there is none. ``also`` holds other
    results that came up on the way, such as two engines that disagree.
    """

    name: str
    verdict: Verdict
    summary: str = ""
    text: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    also: list[CheckResult] = field(default_factory=list)

    def all(self) -> Iterator[CheckResult]:
        """Yield this result and those that came with it."""
        yield self
        for other in self.also:
            yield from other.all()
