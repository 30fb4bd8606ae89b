"""Judges a run's history while it is written, in a thread of its own.

The run hands over each batch that it writes (at least four a second); the thread feeds it to the
online check of the workload's model. The verdict of the run is still that of its checks at the
end, which see the whole history: this one says how it stood when.
"""
from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import pyarrow as pa

from seatrial.checker import CheckerError, CheckResult, History, Verdict
from seatrial.checker.models import model_named
from seatrial.checker.online import OnlineCheck, Violation

from .testfile import Checks

NAME = "online"


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
                found = self._check.feed(History(pa.Table.from_batches([batch])))
            except (CheckerError, MemoryError) as error:
                self._trouble = error
                continue
            self._on_verdict("violation" if found else self._check.summary())
            for violation in found[:1]:
                self._on_violation(violation)

    def finish(self) -> CheckResult:
        """Wait until all batches are judged; return what was found."""
        self._batches.put(None)
        self._thread.join()
        if self._trouble is not None:
            return CheckResult(NAME, Verdict.INCONCLUSIVE, f"gave up: {self._trouble}")
        found = self._check.finish()
        if self._check.violations:
            first = self._check.violations[0]
            ended = ", and ended the run" if self._stops else ""
            found.summary = f"a violation since row {first.row}{ended}: {first.reason}"
            found.evidence["ended_the_run"] = self._stops
        return found
