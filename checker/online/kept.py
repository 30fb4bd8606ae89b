"""Keys that the online monitor is not made for: a value written again while it may be there.

Their operations are kept, and judged by the search each time they have doubled. Where nothing is
in flight and nothing crashed, what can be true is just which value is there: then the values
that the search found possible take the place of all operations before.
"""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..history import NONE
from ..linearizable import check_linearizable
from ..models import Role
from ..operations import INF, NIL, OBJECTS, Operations, Values
from ..result import CheckResult, Verdict
from ..search import Search
from .passing import PassingValues
from .registers import ROW

FIRST_LOOK = 64             # operations on a key
MOST_VALUES = 64            # that may be there in the end
SPACING = 4                 # positions to an event, as registers.pyx hands operations on

Rows = npt.NDArray[Any]


@dataclass(slots=True)
class KeptKey:
    """One key's operations."""

    rows: list[Rows] = field(default_factory=list)
    n: int = 0
    look_at: int = FIRST_LOOK
    undecided: str = ""

    def add(self, rows: Rows) -> None:
        """Add operations."""
        self.rows.append(rows)
        self.n += len(rows)

    def whole(self) -> Rows:
        """Return all of them in one piece."""
        if len(self.rows) != 1:
            self.rows = [np.concatenate(self.rows)] if self.rows else [np.zeros(0, ROW)]
        return self.rows[0]


def operations_from(rows: Rows, name: Any, passing: PassingValues) -> Operations:
    """Return operations that were handed on as the engines know them, of a key of this name."""
    rows = rows[np.argsort(rows["inv"], kind="stable")]
    values = Values(empty_is_nil=passing.empty_is_nil)
    a, b = (_tokens(rows[column], passing, values) for column in ("a", "b"))
    operations = Operations(
        key=np.zeros(len(rows), dtype=np.int32), kind=np.ascontiguousarray(rows["role"]), a=a, b=b,
        inv=np.ascontiguousarray(rows["inv"]), ret=np.ascontiguousarray(rows["ret"]),
        process=rows["process"].astype(np.int64), row=np.ascontiguousarray(rows["row"]),
        done=np.where(rows["ret"] == INF, NONE, rows["done"]), positions=0, keys=[name],
        values=values)
    return operations.compact()


def _tokens(column: Rows, passing: PassingValues, values: Values) -> Rows:
    tokens: Rows = np.ascontiguousarray(column)
    for old in np.unique(tokens[tokens >= OBJECTS]).tolist():
        tokens = np.where(column == old, values.token(passing.value(old)), tokens)
    return tokens


class Kept:
    """All such keys. ``initial``: every key's value at the start."""

    def __init__(self, initial: Any, passing: PassingValues, names: Sequence[Any], *,
                 time_limit_s: float, memory: int) -> None:
        self.initial = initial
        self.passing = passing
        self.names = names
        self.time_limit_s = time_limit_s
        self.memory = memory
        self.keys: dict[int, KeptKey] = {}
        self.broken: dict[int, CheckResult] = {}

    @property
    def operations(self) -> int:
        """How many are kept."""
        return sum(kept.n for kept in self.keys.values())

    def add(self, rows: Rows) -> None:
        """Take operations that were handed on."""
        if not len(rows):
            return
        rows = rows[np.argsort(rows["key"], kind="stable")]
        codes, starts = np.unique(rows["key"], return_index=True)
        for key, part in zip(codes.tolist(), np.split(rows, starts[1:]), strict=True):
            if key not in self.broken:
                self.keys.setdefault(key, KeptKey()).add(part)
        while self.keys and self.operations * ROW.itemsize > self.memory:
            largest = max(self.keys.values(), key=lambda kept: kept.n)
            largest.undecided = f"out of memory after {largest.n} operations"
            largest.rows, largest.n, largest.look_at = [], 0, 1 << 62

    def due(self) -> list[int]:
        """Return the keys that have doubled since they were judged."""
        return [key for key, kept in self.keys.items() if kept.n >= kept.look_at]

    def judge(self, key: int, pending: Rows, *, quiet: bool, events: int) -> CheckResult | None:
        """Judge a key with what is in flight on it; returns a violation.

        quiet: nothing is. events: how many there were in all.
        """
        kept = self.keys[key]
        if kept.undecided:
            return None
        rows = kept.whole()
        kept.look_at = max(2 * kept.n, FIRST_LOOK)
        operations = operations_from(np.concatenate([rows, pending]), self.names[key],
                                     self.passing)
        found = check_linearizable(operations, engine="search", initial=self.initial,
                                   time_limit_s=self.time_limit_s,
                                   memory_limit_bytes=self.memory)
        if found.verdict is Verdict.VIOLATION:
            self.broken[key] = found
            del self.keys[key]
            return found
        if found.verdict is Verdict.INCONCLUSIVE:
            kept.undecided = found.evidence["undecided"][0]["reason"]
        elif quiet and not (rows["ret"] == INF).any():
            self._cut(kept, operations, events)
        return None

    def _cut(self, kept: KeptKey, operations: Operations, events: int) -> None:
        """Replace all operations by writes of the values that may be there now."""
        if (operations.kind == Role.APPEND).any():
            return
        status, _, states = Search(operations).probe(
            0, operations.token(self.initial), look_ahead=False, memory=self.memory,
            deadline_ns=time.monotonic_ns() + int(self.time_limit_s * 1e9), effort=1 << 62)
        if status != "ok" or len(states) > MOST_VALUES:
            return
        rows = np.zeros(len(states), ROW)
        values = operations.values
        rows["a"] = [self.passing.token(values.value(state[0])) if state else NIL
                     for state in states]
        rows["b"], rows["role"], rows["process"] = NIL, Role.WRITE, NONE
        rows["row"] = rows["done"] = events - 1
        rows["inv"], rows["ret"] = SPACING * events - 3, SPACING * events - 1
        kept.rows, kept.n, kept.look_at = [rows], len(rows), len(rows) + FIRST_LOOK

    def tokens(self) -> list[int]:
        """Return the values that are needed."""
        return [token for kept in self.keys.values() for part in kept.rows
                for column in ("a", "b") for token in part[column].tolist()]
