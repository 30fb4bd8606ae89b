"""How long a check of transactions may take, and how much memory."""
from __future__ import annotations

import resource
import time
from pathlib import Path

STATM = Path("/proc/self/statm")
PAGE = resource.getpagesize()


class OutOfLimits(Exception):
    """The check can't go on: it has had its ``time`` or ``memory``."""

    def __init__(self, what: str) -> None:
        super().__init__(f"out of {what}")
        self.what = what


class Limits:
    """Seconds from now on, and bytes by which the process may grow beside the history."""

    def __init__(self, seconds: float, memory: int) -> None:
        self.deadline = time.monotonic() + seconds
        self.most_resident = _resident() + memory

    def look(self) -> None:
        """Raise OutOfLimits when one of them is reached."""
        if time.monotonic() >= self.deadline:
            raise OutOfLimits("time")
        if _resident() >= self.most_resident:
            raise OutOfLimits("memory")

    def seconds(self) -> float:
        """Return what is left of the time."""
        return max(self.deadline - time.monotonic(), 0.0)

    def memory(self) -> int:
        """Return what is left of the memory, in bytes."""
        return max(self.most_resident - _resident(), 0)


def _resident() -> int:
    try:
        return int(STATM.read_bytes().split()[1]) * PAGE
    except OSError:                     # no Linux: the most that there ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
