"""What shrinking wants to know of one run: does it fail in the same way, when, and over what."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np

from seatrial.checker.history import INVOKE, NEMESIS, NONE, History

from ..results import Check
from ..testfile import Spec

VIOLATION = "violation"


class Kind(msgspec.Struct, frozen=True, order=True):
    """What makes two failures the same: the check, and of an invariant which property of it."""

    check: str
    property: str = ""

    def __str__(self) -> str:
        return f"{self.check} ({self.property})" if self.property else self.check


class Failure(msgspec.Struct, frozen=True):
    """One violated check.

    at_ns: when the violation was certain, since clients began; None: nobody can tell.
    keys: those it is about; core: the operations that contradict each other, as positions in
    the schedule's operations. Empty where the check tells of none.
    """

    kind: Kind
    summary: str = ""
    at_ns: int | None = None
    keys: tuple[str, ...] = ()
    core: tuple[int, ...] = ()


class Trial(msgspec.Struct, frozen=True):
    """One run of a schedule."""

    seed: int
    verdict: str
    digest: str
    failures: tuple[Failure, ...] = ()
    events: int = 0

    def failure(self, kind: Kind) -> Failure | None:
        """Return the failure of this kind, if the run had one."""
        return next((failure for failure in self.failures if failure.kind == kind), None)


class Runner(Protocol):
    """Whatever can run a test in the simulated world."""

    def __call__(self, spec: Spec, seed: int) -> Trial:
        """Run it with this seed. BadInput: nobody could run such a test."""


def failures(checks: Mapping[str, Check], spec: Spec, history: History | None,
             began_ns: int, ended_ns: int) -> tuple[Failure, ...]:
    """Return what the checks of a run found."""
    return tuple(_failure(name, check, spec, history, began_ns, ended_ns)
                 for name, check in checks.items() if check.verdict == VIOLATION)


def _failure(name: str, check: Check, spec: Spec, history: History | None,
             began_ns: int, ended_ns: int) -> Failure:
    evidence = check.evidence
    kind = Kind(name, str(evidence.get("property", "")))
    counterexamples = [one for one in _list(evidence.get("counterexamples"))
                       if isinstance(one, dict)]
    if history is None or not counterexamples:
        at_ns = evidence.get("time_ns", ended_ns)
        return Failure(kind, check.summary, max(int(at_ns) - began_ns, 0))
    first = min(counterexamples, key=lambda one: _row(one, "completed_row") or 0)
    row = _row(first, "completed_row")
    rows = {int(op["invoked_row"]) for op in [*_list(first.get("core")), first["operation"]]}
    positions = positions_of(history, spec)
    return Failure(
        kind, check.summary,
        max(int(history.time[row]) - began_ns, 0) if row is not None else None,
        tuple(dict.fromkeys(str(one["key"]) for one in counterexamples if "key" in one)),
        tuple(sorted(positions[row] for row in rows if row in positions)))


def positions_of(history: History, spec: Spec) -> dict[int, int]:
    """Return, for the rows of invocations, the operations of the schedule that they are."""
    if spec.schedule is None:
        return {}
    queues: dict[int, Iterator[int]] = {}
    by_client: dict[int, list[int]] = defaultdict(list)
    operations = spec.schedule.operations
    for position in sorted(range(len(operations)), key=lambda i: operations[i].at):
        by_client[operations[position].client].append(position)
    queues = {client: iter(positions) for client, positions in by_client.items()}
    rows = np.flatnonzero((history.type == INVOKE) & (history.process != NEMESIS)).tolist()
    return {row: next(queues[int(history.process[row]) % spec.clients]) for row in rows}


def _row(counterexample: Mapping[str, Any], name: str) -> int | None:
    operation = counterexample.get("operation")
    row = operation.get(name) if isinstance(operation, dict) else None
    return row if isinstance(row, int) and row != NONE else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
