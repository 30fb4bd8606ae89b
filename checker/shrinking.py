"""From a history that can't be explained to a handful of operations that can't be explained.

1. Cut: later events than the return at which the contradiction is certain are dropped, and what
   was then in flight counts as pending.
2. Window: the latest point from which the rest can't be explained *whatever* value was there.
   What had ended is dropped, and what was then in flight counts as pending: it may have taken
   effect before.
3. Core: operations are taken out, or set free (allowed to take effect at any time or never), as
   long as what remains can't be explained.

Each step only forgets facts: an explainable history stays explainable when an answer is
forgotten, when a change is set free, or when a change that no remaining answer shows is taken
out. So a core that can't be explained proves that the whole can't.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .history import Ints
from .models import OBSERVATIONS, Family, Role
from .operations import INF, NIL, PLAIN, UNKNOWN_ELEMENT, Operations
from .search import Search

LOOKS = tuple(OBSERVATIONS)
LEAST_WINDOW = 16           # operations in the first window that is tried
FREE = -2                   # in the column ``done``: an operation that was set free
ELEMENTS = (Family.FIFO, Family.BAG, Family.STACK, Family.PRIORITY, Family.SET)
UNLIMITED = 1 << 62
EXACT_EFFORT = 10_000       # explorations without looking ahead, before that is given up


@dataclass(slots=True)
class Budget:
    """Limits on explaining: a short time altogether, and memory for each attempt."""

    deadline_ns: int
    memory: int

    @classmethod
    def of(cls, seconds: float, memory: int) -> Budget:
        """Return a budget that ends some seconds from now."""
        return cls(time.monotonic_ns() + int(seconds * 1e9), memory)

    def left(self) -> bool:
        """Return whether there is time left."""
        return time.monotonic_ns() < self.deadline_ns


@dataclass(slots=True)
class Prober:
    """Searches one key again and again, under one budget."""

    key: int
    initial: int
    budget: Budget

    def probe(
        self, ops: Operations, *, anywhere: bool = False, exact: bool = False,
    ) -> tuple[bool, int, list[tuple[int, ...]]]:
        """Whether no order explains ops, the operation where that shows, and values possible.

        anywhere: whatever value was there at the start. exact: end at the answer that
        contradicts, not where that can be foreseen, and keep apart values that nobody sees
        any more (unless that takes too long).
        """
        search, budget = Search(ops), self.budget
        status, op, values = "effort", 0, list[tuple[int, ...]]()
        if exact:
            status, op, values = search.probe(
                self.key, self.initial, anywhere=anywhere, look_ahead=False,
                deadline_ns=budget.deadline_ns, memory=budget.memory,
                effort=EXACT_EFFORT + 20 * len(ops))
        if status not in ("ok", "violation"):
            status, op, values = search.probe(
                self.key, self.initial, anywhere=anywhere, deadline_ns=budget.deadline_ns,
                memory=budget.memory, effort=UNLIMITED)
        return status == "violation", op, values

    def unexplained(self, ops: Operations, *, anywhere: bool) -> bool:
        """Return whether certainly no order explains ops."""
        return self.probe(ops, anywhere=anywhere)[0]


def cut(ops: Operations, failed: int, prober: Prober) -> Operations:
    """Cut at the first return that makes the contradiction certain.

    That is the return the search failed at, unless it foresaw the contradiction; then it is a
    later one, found by bisection (what is certain stays certain).
    """
    ends = np.sort(ops.ret[(ops.ret >= ops.ret[failed]) & (ops.ret != INF)])
    low, high = 0, len(ends) - 1
    step = 1
    while low < high and prober.budget.left():
        middle = min(low + step - 1, (low + high) // 2)
        if prober.unexplained(_until(ops, int(ends[middle])), anywhere=False):
            high = middle
        else:
            low, step = middle + 1, step * 2
    return _until(ops, int(ends[high]))


def _until(ops: Operations, end: int) -> Operations:
    """What was known right after position ``end``: what had not ended is pending."""
    begun = ops.select(ops.inv <= end)
    begun.ret[begun.ret > end] = INF
    return begun.select((begun.ret != INF) | ~np.isin(begun.kind, LOOKS))


def window(ops: Operations, prober: Prober) -> tuple[Operations, bool]:
    """The shortest end of the history, by doubling, that no value at its start explains.

    The second is False when only the whole history with its own initial value will do.
    """
    if ops.family != Family.VALUE:
        return ops.compact(), False
    ends = np.sort(ops.ret)
    size = LEAST_WINDOW + int((ends == INF).sum())
    while size < len(ends) and prober.budget.left():
        late = _since(ops, int(ends[len(ends) - size - 1]))
        if prober.unexplained(late, anywhere=True):
            return late.compact(), True
        size *= 2
    return ops.compact(), prober.unexplained(ops, anywhere=True)


def _since(ops: Operations, end: int) -> Operations:
    """What ended after position ``end``; of what began before it only the changes, pending."""
    late = ops.select(ops.ret > end)
    begun = late.inv < end
    late.ret[begun] = INF
    return late.select(~(begun & np.isin(late.kind, LOOKS)))


def reduce(ops: Operations, anywhere: bool, prober: Prober) -> Operations:
    """Take operations out or set them free, many at once and then fewer."""
    ways: tuple[tuple[Callable[[Operations], Ints], Change], ...] = (
        (observations, take_out), (elements, take_elements_out), (tenures, take_tenures_out),
        (unseen_changes, take_out), (bound_changes, set_free))
    size = -1
    while size != (size := _size(ops)) and prober.budget.left():
        for candidates, change in ways:
            ops = _changed(ops, candidates, change, anywhere, prober)
    return ops


Change = Callable[[Operations, Ints], Operations]


def _size(ops: Operations) -> int:
    return int((ops.done != FREE).sum())


def _changed(ops: Operations, candidates: Callable[[Operations], Ints], change: Change,
             anywhere: bool, prober: Prober) -> Operations:
    chunk = max(len(candidates(ops)) // 2, 1)
    while chunk:
        start = 0
        while prober.budget.left() and start < len(found := candidates(ops)):
            changed = change(ops, found[start:start + chunk])
            if prober.unexplained(changed, anywhere=anywhere):
                ops = changed
            else:
                start += chunk
        chunk //= 2
    return ops


def observations(ops: Operations) -> Ints:
    """Answers that only say what they saw."""
    return np.flatnonzero(np.isin(ops.kind, LOOKS))


def elements(ops: Operations) -> Ints:
    """An operation for each element, where one can be taken out with all that concerns it.

    What is left of a legal order is legal: elements only stand in each other's way.
    """
    if ops.family not in ELEMENTS or (ops.kind == Role.ALL).any():
        return np.zeros(0, dtype=np.int64)
    known = (ops.a != NIL) & (ops.a != UNKNOWN_ELEMENT)
    first = np.unique(np.where(known, ops.a, NIL), return_index=True)[1]
    return np.sort(first[known[first]])


def take_elements_out(ops: Operations, chosen: Ints) -> Operations:
    """Return ops without those that concern the elements of those chosen."""
    return ops.select(~np.isin(ops.a, ops.a[chosen]))


def tenures(ops: Operations) -> Ints:
    """Acquires each of which can be taken out with all that its process did until its release.

    In a legal order of locks that only their holder gives back, nothing of others is in between.
    """
    if ops.family not in (Family.OWNED_MUTEX, Family.LEASE):
        return np.zeros(0, dtype=np.int64)
    crashed = ops.process[(ops.ret == INF) & (ops.kind == Role.ACQUIRE)]
    return np.flatnonzero((ops.kind == Role.ACQUIRE) & ~np.isin(ops.process, crashed))


def take_tenures_out(ops: Operations, chosen: Ints) -> Operations:
    """Return ops without what belongs to those acquires."""
    gone = np.zeros(len(ops), dtype=bool)
    for i in chosen.tolist():
        mine = np.flatnonzero((ops.process == ops.process[i]) & (ops.inv >= ops.inv[i]))
        mine = mine[np.argsort(ops.inv[mine], kind="stable")]
        kinds = ops.kind[mine]
        kinds[0] = Role.RENEW
        ends = np.flatnonzero((kinds == Role.ACQUIRE) | (kinds == Role.RELEASE)).tolist()
        end = ends[0] + int(kinds[ends[0]] == Role.RELEASE) if ends else len(mine)
        gone[mine[:end]] = True
    return ops.select(~gone)


def unseen_changes(ops: Operations) -> Ints:
    """Changes that no answer shows: only where values are plain is that easily told."""
    if (ops.family != Family.VALUE or (ops.kind == Role.NOT).any()
            or (ops.modes[ops.key] != PLAIN).any()):
        return np.zeros(0, dtype=np.int64)
    seen = ops.a[(ops.kind == Role.READ) | (ops.kind == Role.CAS)]
    result = np.where(ops.kind == Role.CAS, ops.b, ops.a)
    changes = (ops.kind == Role.WRITE) | (ops.kind == Role.CAS)
    return np.flatnonzero(changes & ~np.isin(result, seen))


def bound_changes(ops: Operations) -> Ints:
    """Changes of a list or string whose times still count."""
    if ops.family != Family.VALUE or (ops.modes[ops.key] == PLAIN).any():
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(~np.isin(ops.kind, LOOKS) & (ops.done != FREE))


def take_out(ops: Operations, chosen: Ints) -> Operations:
    """Return ops without those chosen."""
    keep = np.ones(len(ops), dtype=bool)
    keep[chosen] = False
    return ops.select(keep)


def set_free(ops: Operations, chosen: Ints) -> Operations:
    """Return ops with those chosen allowed to take effect at any time, or never."""
    freed = ops.select(np.ones(len(ops), dtype=bool))
    freed.inv[chosen] = -1
    freed.ret[chosen] = INF
    freed.done[chosen] = FREE
    order = np.argsort(freed.inv, kind="stable")
    return freed.select(order).compact()
