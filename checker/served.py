"""The operations of a history by their times: what was asked and answered in which stretch.

An operation is *answered* when it is ok, or a compare-and-set that was refused because of what it
saw. Only time in which somebody waited for an answer counts: a *gap* is how long at least one
client waited and nobody was answered. Who was not answered and is followed by another operation
within RETRY_NS waits for that. *Peace* is from the first operation, or the first answer after a
fault ended, to the next fault. Service is *steady* again at the first answer from which, for
STEADY_NS, at least half as much was answered as in peace.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .folds import Done
from .history import FAIL, INFO, NEMESIS, NONE, OK, History

RETRY_NS = 1_000_000_000
STEADY_NS = 1_000_000_000
STEADY_SHARE = 0.5
MOST_SHOWN = 5              # operations of a stretch that were not answered
REFUSED = "mismatch"        # the error of a compare-and-set that saw something else


@dataclass(frozen=True, slots=True)
class Fault:
    """When a fault was in force (end None: to the end of the run).

    judged: whether the system could be expected to answer meanwhile.
    """

    name: str
    start_ns: int
    end_ns: int | None
    judged: bool = True


@dataclass(slots=True)
class Measured:
    """One stretch of time. ``gap_ns``: of waiting, in (gap_from_ns, gap_to_ns).

    recovery_ns, steady_ns: after a fault; None: can't be told. Where it was not recovered, or not
    steadied, before the next fault, they are how long it was not.
    """

    name: str
    start_ns: int
    end_ns: int
    judged: bool
    operations: int = 0
    ok: int = 0
    gap_ns: int = 0
    gap_from_ns: int = 0
    gap_to_ns: int = 0
    recovery_ns: int | None = None
    recovered: bool = True
    steady_ns: int | None = None
    steadied: bool = True

    @property
    def share(self) -> float:
        """Answered operations, of all."""
        return self.ok / self.operations if self.operations else 1.0


class Served:
    """The operations of a history by their times, and what they were answered."""

    def __init__(self, history: History) -> None:
        self.history = history
        rows, ends = history.pairs
        known = history.time[rows] >= 0
        self.rows, self.ends = rows[known], ends[known]
        ended = self.ends != NONE
        client = (history.process != NEMESIS) & (history.time >= 0)
        self.over_ns = int(history.time[client].max(initial=0))
        self.invoked = history.time[self.rows]
        self.answered = ended & _answered(history)[self.ends]
        answers = np.sort(history.time[self.ends[self.answered]])
        # what never ended was waited for only if nobody was answered any more
        lost = np.where(self.invoked > answers.max(initial=-1), self.over_ns, self.invoked)
        self.completed = np.maximum(np.where(ended, history.time[self.ends], lost), self.invoked)
        self.answers = np.unique(answers)
        self.begin_ns = int(self.invoked.min(initial=self.over_ns))
        self._wait()
        self._by_invocation = [np.sort(self.invoked), np.sort(self.invoked[self.answered])]
        self._by_completion = [np.sort(self.completed), np.sort(self.completed[self.answered])]

    def _wait(self) -> None:
        """Put together when somebody waited: stretches that don't overlap."""
        order = np.argsort(self.invoked, kind="stable")
        starts = self.invoked[order]
        after = starts[np.minimum(np.searchsorted(starts, self.completed), len(starts) - 1)]
        again = ~self.answered & (after > self.completed) & (after - self.completed < RETRY_NS)
        reach = np.maximum.accumulate(np.where(again, after, self.completed)[order])
        opens = np.flatnonzero(np.r_[True, starts[1:] > reach[:-1]]) if len(order) else order
        self._from = starts[opens]
        self._to = reach[np.r_[opens[1:] - 1, len(order) - 1]] if len(order) else opens
        self._before = np.r_[0, np.cumsum(self._to - self._from)]

    def waited(self, at: Any) -> Any:
        """Return for how long until a moment (or each of several) somebody had waited."""
        which = np.searchsorted(self._from, at, "right")
        last = np.maximum(which - 1, 0)
        inside = np.clip(at - self._from[last], 0, self._to[last] - self._from[last])
        return np.where(which > 0, self._before[last] + inside, 0)

    def stretch(self, name: str, start: int, end: int, judged: bool = True) -> Measured:
        """Measure what operations that were under way in a stretch of time came to."""
        found = Measured(name, start, end, judged)
        found.operations, found.ok = (
            int(np.searchsorted(begun, end, "right") - np.searchsorted(done, start, "left"))
            for begun, done in zip(self._by_invocation, self._by_completion, strict=True))
        self._gap(found, start, end)
        return found

    def _gap(self, found: Measured, start: int, end: int) -> None:
        first, last = np.searchsorted(self.answers, (start, end), ("right"))
        edges = np.r_[start, self.answers[first:last], max(start, end)]
        waits = np.diff(self.waited(edges))
        longest = int(np.argmax(waits))
        if waits[longest] > found.gap_ns:
            found.gap_ns = int(waits[longest])
            found.gap_from_ns, found.gap_to_ns = int(edges[longest]), int(edges[longest + 1])

    def under(self, fault: Fault) -> Measured:
        """Measure the time in which a fault was in force."""
        end = self.over_ns if fault.end_ns is None else min(fault.end_ns, self.over_ns)
        return self.stretch(fault.name, fault.start_ns, max(fault.start_ns, end), fault.judged)

    def peace(self, faults: Sequence[Fault]) -> Measured:
        """Measure the rest: operations that no fault or its aftermath met."""
        found = Measured("peace", self.begin_ns, self.over_ns, True)
        calm = list(self._calm(faults))
        starts = np.array([start for start, _ in calm], dtype=np.int64)
        ends = np.array([end for _, end in calm], dtype=np.int64)
        if len(calm):
            which = np.searchsorted(starts, self.invoked, "right") - 1
            whole = (which >= 0) & (self.completed <= ends[np.maximum(which, 0)])
            found.operations = int(whole.sum())
            found.ok = int((whole & self.answered).sum())
        for start, end in calm:
            self._gap(found, start, end)
        self.calm_ns = int((self.waited(ends) - self.waited(starts)).sum()) if len(calm) else 0
        return found

    def _calm(self, faults: Sequence[Fault]) -> Iterator[tuple[int, int]]:
        at = self.begin_ns
        for fault in sorted(faults, key=lambda fault: fault.start_ns):
            if fault.start_ns > at:
                yield at, fault.start_ns
            if fault.end_ns is None:
                return
            answer = self._first_answer(fault.end_ns)
            if answer is None:
                return
            at = max(at, answer)
        if at < self.over_ns:
            yield at, self.over_ns

    def _first_answer(self, at: int) -> int | None:
        index = int(np.searchsorted(self.answers, at, "left"))
        return int(self.answers[index]) if index < len(self.answers) else None

    def after(self, fault: Fault, found: Measured, faults: Sequence[Fault], peace: Measured,
              ) -> None:
        """Measure how long after a fault there were answers, unless another one was in force."""
        if fault.end_ns is None or fault.end_ns >= self.over_ns:
            return
        end, horizon = fault.end_ns, self.over_ns
        for other in faults:
            if other is fault or (other.end_ns is not None and other.end_ns <= end):
                continue
            if other.start_ns <= end:
                return
            horizon = min(horizon, other.start_ns)
        answer = self._first_answer(end)
        found.recovered = answer is not None and answer <= horizon
        until = answer if answer is not None and found.recovered else horizon
        found.recovery_ns = int(self.waited(until) - self.waited(end))
        if found.recovered and peace.ok:
            self._steady(found, end, horizon, peace)

    def _steady(self, found: Measured, end: int, horizon: int, peace: Measured) -> None:
        rate = peace.ok / max(self.calm_ns, 1)
        needed = max(1, math.ceil(STEADY_SHARE * rate * STEADY_NS))
        done = self._by_completion[1]
        first, last = np.searchsorted(done, (end, horizon - STEADY_NS), "left")
        until = np.searchsorted(done, done[first:last] + STEADY_NS, "left")
        within = until - np.arange(first, max(first, last))
        steady = np.flatnonzero(within >= needed)
        found.steadied = bool(len(steady))
        at = int(done[first + steady[0]]) if found.steadied else horizon - STEADY_NS
        if at >= end:
            found.steady_ns = int(self.waited(at) - self.waited(end))

    def unanswered(self, start: int, end: int) -> list[Done]:
        """Return the first operations under way in a stretch of time that were not answered."""
        found = np.flatnonzero(~self.answered & (self.invoked <= end) & (self.completed >= start))
        return [Done(int(self.history.process[row]), self.history.fs[self.history.f[row]], row, to,
                     INFO if to == NONE else int(self.history.type[to]))
                for row, to in zip(self.rows[found[:MOST_SHOWN]].tolist(),
                                   self.ends[found[:MOST_SHOWN]].tolist(), strict=True)]

    def told(self, done: Done) -> str:
        """Return an operation with what became of it."""
        if done.completed == NONE:
            return f"{done}: never ended"
        code = int(self.history.error[done.completed])
        reason = f": {self.history.errors[code]}" if code != NONE else ""
        return f"{done}: {'failed' if done.outcome == FAIL else 'unknown'}{reason}"


def _answered(history: History) -> Any:
    """Return which rows are answers."""
    refused = history.type == FAIL
    refused &= np.isin(history.f, [code for code, f in enumerate(history.fs) if f == "cas"])
    refused &= np.isin(history.error, [NONE, *(code for code, error in enumerate(history.errors)
                                               if error == REFUSED)])
    return (history.type == OK) | refused
