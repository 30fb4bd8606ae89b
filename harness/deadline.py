"""One deadline wheel for everything that must not take longer than it may.

A ``wait_for`` for each operation costs a task switch and a heap operation; here a worker has one
``Timer`` for its whole life, and giving it a later deadline is one assignment: the timer stays
in the bucket it is in, and when that bucket comes up it moves on to the one it belongs to. With
deadlines that are pushed further and further, as those of operations are, each timer is moved
about once in a time limit, however many operations that is.

Buckets are a ``TICK_NS`` wide. A timer fires at most one tick late and never early.
"""
from __future__ import annotations

import heapq

SHIFT = 20
TICK_NS = 1 << SHIFT             # about a millisecond
NEVER = 1 << 62


class Timer:
    """Something with a deadline. ``due_ns`` is NEVER while it has none."""

    __slots__ = ("_bucket", "due_ns")

    def __init__(self) -> None:
        self.due_ns = NEVER
        self._bucket = NEVER     # where it is queued: at its deadline's bucket or an earlier one


class Wheel:
    """Timers by tick. Time is what the caller says it is."""

    __slots__ = ("_buckets", "_ticks")

    def __init__(self) -> None:
        self._buckets: dict[int, list[Timer]] = {}
        self._ticks: list[int] = []              # heap of the buckets there are

    def arm(self, timer: Timer, due_ns: int) -> None:
        """Set a timer's deadline, whatever it was."""
        timer.due_ns = due_ns
        if (due_ns >> SHIFT) + 1 < timer._bucket:
            self._queue(timer)

    def disarm(self, timer: Timer) -> None:
        """Take a timer's deadline away."""
        timer.due_ns = NEVER

    def next_ns(self) -> int:
        """Return a time before which nothing fires (NEVER: nothing is armed)."""
        return self._ticks[0] << SHIFT if self._ticks else NEVER

    def expire(self, now_ns: int) -> list[Timer]:
        """Return the timers whose deadlines have passed, and disarm them."""
        fired: list[Timer] = []
        now = now_ns >> SHIFT
        while self._ticks and self._ticks[0] <= now:
            tick = heapq.heappop(self._ticks)
            for timer in self._buckets.pop(tick):
                if timer._bucket != tick:
                    continue                     # it was armed for earlier since
                timer._bucket = NEVER
                if timer.due_ns <= now_ns:
                    timer.due_ns = NEVER
                    fired.append(timer)
                elif timer.due_ns != NEVER:
                    self._queue(timer)
        return fired

    def _queue(self, timer: Timer) -> None:
        tick = timer._bucket = (timer.due_ns >> SHIFT) + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = [timer]
            heapq.heappush(self._ticks, tick)
        else:
            bucket.append(timer)
