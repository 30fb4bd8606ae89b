"""Judging a history while it arrives: what is true up to now, in memory that does not grow with it.

============ =========================================================================
registers    the monitor of registers and compare-and-set chains (Cython)
kept         keys that it is not made for: kept, and judged each time they have doubled
passing      values that are forgotten when nobody needs them any more
check        an online check: takes batches of events, says what it found
batches      where batches come from: a stream, a file that grows, lines of text
============ =========================================================================
"""
from .check import OnlineCheck, Violation
from .whole import WholeCheck, online_check

__all__ = ["OnlineCheck", "Violation", "WholeCheck", "online_check"]
