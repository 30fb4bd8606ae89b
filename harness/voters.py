"""Who votes when, as the history tells it.

Where members change, the nemesis's lane says who votes (``f="members"``, value ``{"voters":
[names], "learners": [names]}``), a few times a second where that has changed. While it says
nothing all nodes vote.
"""
from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from seatrial.checker.history import History

from .leadership import nemesis_rows

MEMBERS = "members"


@dataclass(frozen=True, slots=True)
class Voters:
    """All changes that were seen, oldest first."""

    nodes: Sequence[str]
    times: Sequence[int] = ()
    voters: Sequence[Sequence[str]] = ()

    def at(self, time_ns: int) -> Sequence[str]:
        """Return who votes at a moment; before the first word as it says."""
        if not self.voters:
            return self.nodes
        return self.voters[max(0, bisect_right(self.times, time_ns) - 1)]

    def changes(self, start_ns: int, end_ns: int) -> list[int]:
        """Return when they changed between two moments."""
        return [time_ns for time_ns in self.times if start_ns < time_ns < end_ns]


def voters_of(history: History, nodes: Sequence[str]) -> Voters:
    """Collect all changes of a history."""
    times, voters = [], []
    for row in nemesis_rows(history, MEMBERS):
        value = history.value(row)
        if isinstance(value, dict) and isinstance(value.get("voters"), list):
            times.append(int(history.time[row]))
            voters.append(tuple(value["voters"]))
    return Voters(nodes, times, voters)
