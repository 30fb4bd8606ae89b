"""Who led when, as the history tells it.

Two witnesses. The nemesis's lane says it outright (``f="leader"``, value ``{"leader": name,
"term": number}``), but only as often as somebody looks. Answers carry the term they were
given in, thousands of times a second; when every answer of a term came from one node, that
node led it. The lane's word counts more, and a term that answers of several nodes carry has
an unknown leader unless the lane names one (a follower may relay).
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from seatrial.checker.history import NEMESIS, NONE, OK, History


@dataclass(frozen=True, slots=True)
class Reign:
    """A term, who led it (None: nobody can tell), and when it was first seen."""

    term: int
    leader: str | None
    since_ns: int


@dataclass(frozen=True, slots=True)
class Leadership:
    """All terms that were seen, lowest first."""

    reigns: tuple[Reign, ...]

    @property
    def changes(self) -> int:
        """How often another node took over. A leader that follows itself is no change."""
        known = [reign.leader for reign in self.reigns if reign.leader is not None]
        return sum(before != after for before, after in pairwise(known))

    def at(self, time_ns: int) -> str | None:
        """Return who led at a moment: the leader of the highest term seen by then."""
        for reign in reversed(self.reigns):
            if reign.since_ns <= time_ns:
                return reign.leader
        return None


def leadership(history: History, nodes: Sequence[str]) -> Leadership:
    """Collect all terms of a history."""
    seen = dict(_terms_in_answers(history, nodes))
    for row in nemesis_rows(history, "leader"):
        value: Any = history.value(row)
        if not isinstance(value, dict) or not isinstance(value.get("term"), int):
            continue
        term, time_ns = value["term"], int(history.time[row])
        since = min(time_ns, seen[term].since_ns) if term in seen else time_ns
        seen[term] = Reign(term, value.get("leader"), since)
    return Leadership(tuple(seen[term] for term in sorted(seen)))


def nemesis_rows(history: History, f: str) -> Iterator[int]:
    """Yield the rows of the nemesis's lane with this ``f``."""
    if f in history.fs:
        mine = (history.process == NEMESIS) & (history.f == history.fs.index(f))
        yield from np.flatnonzero(mine).tolist()


def _terms_in_answers(history: History, nodes: Sequence[str]) -> Iterator[tuple[int, Reign]]:
    carried = history.optional("term").fill_null(NONE).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero((carried != NONE) & (history.type == OK) & (history.process != NEMESIS))
    terms, first, which = np.unique(carried[rows], return_index=True, return_inverse=True)
    lowest = np.full(len(terms), np.iinfo(np.int64).max)
    highest = np.full(len(terms), NONE)
    np.minimum.at(lowest, which, history.node[rows])
    np.maximum.at(highest, which, history.node[rows])
    for i, term in enumerate(terms.tolist()):
        alone = lowest[i] == highest[i] and 0 <= lowest[i] < len(nodes)
        yield term, Reign(term, nodes[lowest[i]] if alone else None,
                          int(history.time[rows[first[i]]]))
