"""A history as the checks of domains see it: operations with where, when, and at which coordinates.

All columns are by operation, in the order of invocations; NONE where nothing is known. Reads come
in three kinds: ``read`` is linearizable, ``read-bounded`` is not older than the bound that is its
invocation's value or is refused, ``read-prefix`` is some committed state. A bound is a number of
ms, or a mapping of ``ms``, ``entries`` or both; none: its domain's, in time. An invocation's
coordinates are the session token that it was sent with; a completion's are those that the answer
reflects.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CheckerError
from ..history import NONE, OK, History, Ints
from ..models import Model, Role
from ..operations import INF, Operations, operations_of, show
from . import versions
from .guarantee import Guarantees

LINEARIZABLE, BOUNDED, PREFIX = 0, 1, 2
READS = {"read": LINEARIZABLE, "get": LINEARIZABLE, "read-bounded": BOUNDED, "read-prefix": PREFIX}
MODEL = Model("domains", dict.fromkeys(READS, Role.READ) | {
    "write": Role.WRITE, "put": Role.WRITE, "delete": Role.WRITE, "cas": Role.CAS})
Bools = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Versions:
    """All versions of all keys (versions.pyx), as columns."""

    value: Ints
    key: Ints
    writer: Ints                # operation; negative: nobody, the start, or several
    first: Ints                 # position at which it was certainly there
    first_op: Ints              # who returned then
    most: Ints                  # rindex at which it stands at most, and at least
    least: Ints
    lo: Ints
    hi: Ints
    lo_op: Ints
    hi_op: Ints
    successor: Ints             # version, or NONE
    by_rindex: Ints


class View:
    """One history with its guarantees; what several checks need is computed once."""

    def __init__(self, history: History, guarantees: Guarantees, initial: Any = None) -> None:
        self.history, self.guarantees = history, guarantees
        self.operations: Operations = operations_of(history, MODEL)
        self.initial = self.operations.token(initial)
        ops = self.operations
        self.is_read: Bools = ops.kind == Role.READ
        self.row: Ints = ops.row
        self.ended: Bools = ops.ret != INF
        self.done: Ints = np.where(self.ended, ops.ret, NONE)      # positions are rows
        kinds = np.array([READS.get(f, LINEARIZABLE) for f in history.fs] or [0], dtype=np.int8)
        self.level: Ints = np.where(self.is_read, kinds[history.f[ops.row]], LINEARIZABLE)
        self.weak: Bools = self.level != LINEARIZABLE
        # (a compare-and-set that failed; like a write it stands where its answer says, or before)
        self.declined: Bools = self.is_read & np.isin(history.f[ops.row], [
            code for code, f in enumerate(history.fs) if f not in READS])
        self.domain: Ints = self._answered(history.domain)
        self._see_domains()

    def _see_domains(self) -> None:
        wrong = (self.domain < 0) | (self.domain >= len(self.guarantees))
        if wrong.any():
            row = int(self.row[np.flatnonzero(wrong)[0]])
            raise self.history.bad(f"domain {self.history.domain[row]}, but "
                                   f"{len(self.guarantees)} domains are known", row)

    def __len__(self) -> int:
        return len(self.operations)

    def _answered(self, column: Ints) -> Ints:
        """A column of completions, or where there is none of invocations."""
        return column[np.where(self.ended, self.done, self.row)].astype(np.int64)

    def _of_answers(self, name: str) -> Ints:
        column = _filled(self.history, name)
        return np.where(self.ended, column[self.done], NONE)

    @cached_property
    def rindex(self) -> Ints:
        """Where in the root's log the answer stands."""
        return self._of_answers("rindex")

    @cached_property
    def epoch(self) -> Ints:
        """The epoch of these coordinates."""
        return self._of_answers("epoch")

    @cached_property
    def term(self) -> Ints:
        """The root's term of these coordinates."""
        return self._of_answers("term")

    @cached_property
    def token(self) -> Ints:
        """The rindex of the session token that it was sent with."""
        return _filled(self.history, "rindex")[self.row]

    @cached_property
    def bound_ns(self) -> Ints:
        """By operation: how old a bounded read may be, by slow clocks; NONE where nobody says."""
        bounds = np.full(len(self), NONE, dtype=np.int64)
        for number, domain in enumerate(self.guarantees.domains):
            if domain.max_lag_ns is not None:
                bounds[self.domain == number] = domain.max_lag_ns
        bounds[self.level != BOUNDED] = NONE
        ints, is_int, _ = self.history.values
        own = (self.level == BOUNDED) & is_int[self.row]
        bounds[own] = ints[self.row[own]] * 1_000_000
        for i, bound in self._bounds.items():
            bounds[i] = bound["ms"] * 1_000_000 if "ms" in bound else NONE
        slow = np.array([1 / (1 - domain.drift) for domain in self.guarantees.domains])
        return np.where(bounds == NONE, NONE, (bounds * slow[self.domain]).astype(np.int64))

    @cached_property
    def bound_entries(self) -> Ints:
        """By operation: how many entries behind a bounded read may be; NONE where nobody says."""
        bounds = np.full(len(self), NONE, dtype=np.int64)
        for i, bound in self._bounds.items():
            bounds[i] = bound.get("entries", NONE)
        return bounds

    @cached_property
    def _bounds(self) -> dict[int, dict[str, int]]:
        """The bounds of bounded reads that are more than a number of ms, by operation."""
        given = self.history.values[2]
        mine = [i for i in np.flatnonzero(self.level == BOUNDED).tolist() if self.row[i] in given]
        for i in mine:
            bound = given[self.row[i]]
            if not (isinstance(bound, dict) and bound and bound.keys() <= {"ms", "entries"}
                    and all(type(most) is int and 0 <= most < 1 << 40 for most in bound.values())):
                raise self.history.bad(f"read-bounded {show(bound)}: expected a bound: ms, or a "
                                       "mapping of ms, entries or both", int(self.row[i]))
        return {i: given[self.row[i]] for i in mine}

    @cached_property
    def begin_ns(self) -> Ints:
        """When it was due, and so not later than it began."""
        return self.history.time[self.row].astype(np.int64)

    @cached_property
    def end_ns(self) -> Ints:
        """When it ended."""
        return np.where(self.ended, self.history.time[self.done], NONE).astype(np.int64)

    @cached_property
    def confirmed(self) -> Ints:
        """The domains that confirmed it: codes into the history's texts."""
        return np.where(self.ended, self.history.confirmed[0][self.done], NONE)

    def confirmed_by(self, i: int) -> list[str]:
        """Return the names of the domains that confirmed an operation, where it says so."""
        code = int(self.confirmed[i])
        return [] if code == NONE else str(self.history.confirmed[1][code]).split()

    @cached_property
    def _versions(self) -> tuple[Versions, list[tuple[int, int]], Ints, Ints]:
        columns, conflicts, seen, behind = versions.find(
            self.operations, np.where(self.declined, NONE, self.rindex),
            self.committed_before(self.operations.inv), self.initial)
        return Versions(**columns), conflicts, seen, behind

    @property
    def versions(self) -> Versions:
        """All versions."""
        return self._versions[0]

    @property
    def conflicts(self) -> list[tuple[int, int]]:
        """Pairs of versions of one key that can't both be where they were seen in the log."""
        return self._versions[1]

    @property
    def seen(self) -> Ints:
        """By operation: the version that it saw; NONE for a write."""
        return self._versions[2]

    @property
    def behind(self) -> Ints:
        """By operation: at least so many versions, newer than what it saw, were there."""
        return self._versions[3]

    @cached_property
    def successor(self) -> Ints:
        """By operation: the version that came after what it saw and was there first; or NONE."""
        of = np.append(self.versions.successor, NONE)
        return of[np.where(self.seen < 0, len(of) - 1, self.seen)]

    @cached_property
    def shown_late_at(self) -> Ints:
        """By operation: position from which on what it saw was old; INF: it never certainly was."""
        first = np.append(self.versions.first, INF)
        return first[self.successor]

    @cached_property
    def time(self) -> Ints:
        """Time by position, and so by row."""
        return self.history.time.astype(np.int64)

    @cached_property
    def committed_by(self) -> tuple[Ints, Ints]:
        """Rows of answers in order, and the highest rindex that any had shown up to there."""
        with_rindex = np.flatnonzero(self.rindex != NONE)
        order = with_rindex[np.argsort(self.done[with_rindex], kind="stable")]
        return self.done[order], np.maximum.accumulate(self.rindex[order])

    def committed_before(self, position: Ints) -> Ints:
        """Return the highest rindex that had been shown to anybody before a position."""
        rows, highest = self.committed_by
        at = np.searchsorted(rows, position, side="left")
        return np.append(highest, NONE)[at - 1]

    def domain_name(self, i: int) -> str:
        """Return the name of the domain of an operation."""
        return self.guarantees.domains[int(self.domain[i])].name

    def key_name(self, i: int) -> Any:
        """Return the key of an operation."""
        return self.operations.keys[int(self.operations.key[i])]


def _filled(history: History, name: str) -> Ints:
    column = history.optional(name).fill_null(NONE)
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)


def only_ours(history: History) -> None:
    """Raise what the checks of domains can't judge."""
    rows = history.pairs[0]
    unknown = sorted({history.fs[code] for code in np.unique(history.f[rows]).tolist()}
                     - MODEL.roles.keys())
    if unknown:
        raise CheckerError(f"{history.where}: domains: unknown operation {unknown[0]!r}; expected "
                           f"{', '.join(sorted(MODEL.roles))}")


def refusals(history: History) -> list[tuple[int, int]]:
    """Return the rows of the invocations and completions that did not end ok."""
    invoked, completed = history.pairs
    rows = (completed != NONE)
    rows[rows] = history.type[completed[rows]] != OK
    return list(zip(invoked[rows].tolist(), completed[rows].tolist(), strict=True))
