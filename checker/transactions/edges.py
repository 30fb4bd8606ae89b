"""Dependencies between transactions as they are found, each with its reason.

ww: wrote what the other overwrote. wr: wrote what the other read. rw: read what the other
overwrote. (Adya, Weak Consistency, 1999: write-, read- and anti-dependencies.)
"""
from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from .graph import CAUSAL, FRACTURED, PROCESS, REALTIME, RW, WR, WW, Graph
from .limits import Limits
from .transaction import Transaction

NAMES = {WW: "ww", WR: "wr", RW: "rw", PROCESS: "process", REALTIME: "real time",
         FRACTURED: "ww", CAUSAL: "ww"}
LOOK_EVERY = 1 << 12         # edges


class Edges:
    """Edges between the transactions that may have happened; the same one is taken once.

    below: others that are among them. They lie there, and nothing may be added to them any more.
    """

    def __init__(self, n: int, limits: Limits | None = None, below: Edges | None = None) -> None:
        self.n = n
        self.limits = limits
        self.below = below
        self.first = len(below) if below is not None else 0     # the number of the first one here
        self._sources, self._targets, self._kinds = array("i"), array("i"), array("B")
        self._reasons: list[tuple[Any, ...]] = []
        self._known: set[int] = set()
        self._graph: Graph | None = None
        self._offered = 0

    def __len__(self) -> int:
        return self.first + len(self._reasons)

    def add(self, source: Transaction, target: Transaction, kind: int, *reason: Any) -> bool:
        """Add an edge, unless it is there or leads nowhere; returns whether it is new.

        reason: the key, the values that make the dependency, and if others do, their reader.
        Raises OutOfLimits.
        """
        self._look()
        edge = (source.number * self.n + target.number) << 8 | kind
        if source.number == target.number or self._knows(edge):
            return False
        self._known.add(edge)
        self._append(source, target, kind, reason)
        return True

    def add_order(self, source: Transaction, target: Transaction, kind: int) -> None:
        """Add an edge that is not there, of an order that needs no reason."""
        self._look()
        self._append(source, target, kind, ())

    def _append(self, source: Transaction, target: Transaction, kind: int,
                reason: tuple[Any, ...]) -> None:
        self._graph = None
        self._sources.append(source.number)
        self._targets.append(target.number)
        self._kinds.append(kind)
        self._reasons.append(reason)

    def _look(self) -> None:
        self._offered += 1
        if self.limits is not None and self._offered % LOOK_EVERY == 0:
            self.limits.look()

    def _knows(self, edge: int) -> bool:
        return edge in self._known or (self.below is not None and self.below._knows(edge))

    def above(self) -> Edges:
        """Return the same edges, to be added to."""
        return Edges(self.n, self.limits, self)

    def graph(self) -> Graph:
        """Return them as a graph; edges keep their places."""
        if self._graph is None:
            own = [np.array(column, dtype=np.int32)
                   for column in (self._sources, self._targets, self._kinds)]
            if self.below is not None:
                below = self.below.graph()
                own = [np.concatenate(both) for both in zip(
                    (below.sources, below.targets, below.kinds), own, strict=True)]
            self._graph = Graph(self.n, *own)
        return self._graph

    def reason(self, edge: int) -> tuple[Any, ...]:
        """Return the reason of the edge with this number."""
        if edge < self.first:
            assert self.below is not None
            return self.below.reason(edge)
        return self._reasons[edge - self.first]

    def why(self, edge: int) -> str:
        """Return why the edge's first transaction comes before its second."""
        kind, reason = int(self.graph().kinds[edge]), self.reason(edge)
        if kind == PROCESS:
            return "the same process did it next"
        if kind == REALTIME:
            return "it had ended when the other began"
        key, before, after = reason[:3]
        if kind == WR:
            return f"wrote {key} = {_show(before)}, which the other read"
        if kind == RW:
            return f"read {key} = {_show(before)}, which the other overwrote with {_show(after)}"
        if kind == WW:
            return f"wrote {key} = {_show(before)}, which the other overwrote with {_show(after)}"
        witness: Transaction = reason[3]
        return (f"wrote {key} = {_show(before)}; p{witness.process}'s transaction of row "
                f"{witness.invoked} comes after it and read {_show(after)}, so that is newer")

    def witness(self, edge: int) -> Transaction | None:
        """Return the reader from which an edge follows that is between two others."""
        witness = self.reason(edge)[3:]
        return witness[0] if witness else None


def _show(value: Any) -> str:
    return "nil" if value is None else repr(value)
