"""Dependencies between transactions as they are found, each with its reason.

ww: wrote what the other overwrote. wr: wrote what the other read. rw: read what the other
overwrote. (Adya, Weak Consistency, 1999: write-, read- and anti-dependencies.)
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .graph import CAUSAL, FRACTURED, PROCESS, REALTIME, RW, WR, WW, Graph
from .transaction import Transaction

NAMES = {WW: "ww", WR: "wr", RW: "rw", PROCESS: "process", REALTIME: "real time",
         FRACTURED: "ww", CAUSAL: "ww"}


@dataclass(slots=True)
class Edges:
    """Edges between the transactions that may have happened; the same one is taken once."""

    n: int
    sources: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    reasons: list[tuple[Any, ...]] = field(default_factory=list)
    _known: set[tuple[int, int, int]] = field(default_factory=set)
    _graph: Graph | None = None

    def add(self, source: Transaction, target: Transaction, kind: int, *reason: Any) -> bool:
        """Add an edge, unless it is there or leads nowhere; returns whether it is new.

        reason: the key, the values that make the dependency, and if others do, their reader.
        """
        edge = source.number, target.number, kind
        if source.number == target.number or edge in self._known:
            return False
        self._known.add(edge)
        self._graph = None
        self.sources.append(source.number)
        self.targets.append(target.number)
        self.kinds.append(kind)
        self.reasons.append(reason)
        return True

    def take(self, other: Edges) -> None:
        """Take all edges of another."""
        self.sources += other.sources
        self.targets += other.targets
        self.kinds += other.kinds
        self.reasons += other.reasons
        self._known |= other._known
        self._graph = None

    def copy(self) -> Edges:
        """Return the same edges, to be added to."""
        edges = Edges(self.n)
        edges.take(self)
        return edges

    def graph(self) -> Graph:
        """Return them as a graph; edges keep their places."""
        if self._graph is None:
            self._graph = Graph(self.n, self.sources, self.targets, self.kinds)
        return self._graph

    def why(self, edge: int) -> str:
        """Return why the edge's first transaction comes before its second."""
        kind, reason = self.kinds[edge], self.reasons[edge]
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
        witness = self.reasons[edge][3:]
        return witness[0] if witness else None


def _show(value: Any) -> str:
    return "nil" if value is None else repr(value)
