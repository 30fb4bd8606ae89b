"""Judges a run's history while it is written, in a thread of its own.

The run hands over each batch that it writes (at least four a second); the thread feeds it to the
online check of the workload's model. The verdict of the run is still that of its checks at the
end, which see the whole history: this one says how it stood when.
"""
from __future__ import annotations

import queue
import threading
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.compute as pc

from seatrial.checker import CheckerError, CheckResult, History, Verdict
from seatrial.checker.models import model_named
from seatrial.checker.online import OnlineCheck, Violation

from .coverage import FINAL, READS
from .testfile import Checks

NAME = "online"
WEAK = pa.array(sorted(READS - FINAL))


@runtime_checkable
class Watched(Protocol):
    """A workload whose whole history is one of a model that can be judged online."""

    online_model: str


class Watch:
    """One run's online check. on_violation: called once, in the thread; on_verdict: told how it
    stands after each batch."""

    def __init__(self, model: str, checks: Checks, *, on_violation: Callable[[Violation], None],
                 on_verdict: Callable[[str], None]) -> None:
        self._check = OnlineCheck(
            model_named(model), stop=True, time_limit_s=checks.time_limit,
            memory_limit_bytes=checks.memory_mb << 20, name=NAME)
        self._on_violation = on_violation
        self._on_verdict = on_verdict
        self._stops = checks.stop
        self._batches: queue.SimpleQueue[pa.RecordBatch | None] = queue.SimpleQueue()
        self._trouble: Exception | None = None
        self._first: Violation | None = None
        self._left_out: list[int] = []      # of each event that is not judged: how many before are
        self._thread = threading.Thread(target=self._live, name=NAME, daemon=True)
        self._thread.start()

    def take(self, batch: pa.RecordBatch) -> None:
        """Take a batch that was written."""
        self._batches.put(batch)

    def _live(self) -> None:
        while (batch := self._batches.get()) is not None:
            if self._trouble is not None or self._check.stopped:
                continue
            try:
                found = self._feed(pa.Table.from_batches([batch]))
            except (CheckerError, MemoryError) as error:
                self._trouble = error
                continue
            self._on_verdict("violation" if found else self._check.summary())
            for violation in found[:1]:
                self._on_violation(violation)

    def _feed(self, events: pa.Table) -> list[Violation]:
        """Have events judged; but reads that may be old, which are for the checks of domains."""
        weak = pc.is_in(events["f"].cast(pa.string()), WEAK)
        judged = events.filter(pc.invert(weak))
        for index in events.filter(weak)["index"].to_pylist():
            self._left_out.append(index - len(self._left_out))
        found = [replace(one, row=one.row + bisect_right(self._left_out, one.row))
                 for one in self._check.feed(History(judged))]
        self._first = self._first or (found[0] if found else None)
        return found

    def finish(self) -> CheckResult:
        """Wait until all batches are judged; return what was found."""
        self._batches.put(None)
        self._thread.join()
        if self._trouble is not None:
            return CheckResult(NAME, Verdict.INCONCLUSIVE, f"gave up: {self._trouble}")
        found = self._check.finish()
        if (first := self._first) is not None:
            ended = ", and ended the run" if self._stops else ""
            found.summary = f"a violation since row {first.row}{ended}: {first.reason}"
            found.evidence["ended_the_run"] = self._stops
        return found
