"""A world without nodes: a queue of callbacks in virtual time, for tests of what runs on one."""
from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sized
from typing import Any


class Entry:
    """A callback that may be cancelled."""

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None


class Timeline:
    """``loop.Timeline``, and nothing more."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.queue: list[tuple[int, int, Entry]] = []
        self.order = itertools.count()

    def call_at(self, when_ns: int, callback: Callable[..., Any], *args: Any) -> Entry:
        assert when_ns >= self.now_ns
        entry = Entry(callback, args)
        heapq.heappush(self.queue, (when_ns, next(self.order), entry))
        return entry

    def run(self, ready: Sized) -> bool:
        while self.queue and not ready:
            when_ns, _, entry = heapq.heappop(self.queue)
            if entry.callback is not None:
                self.now_ns = when_ns
                entry.callback(*entry.args)
        return bool(ready)
