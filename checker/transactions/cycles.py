"""Cycles of dependencies, by the name of the anomaly; searched for with ever more order."""
from __future__ import annotations

import time
from dataclasses import dataclass, field

from .edges import NAMES, Edges
from .findings import Anomaly, Findings
from .graph import CAUSAL, FRACTURED, PROCESS, REALTIME, RW, WR, WW
from .implied import MOST_TRANSACTIONS, add_causal, add_fractured
from .levels import Level, Order
from .order import add_process_order, add_real_time_order

ANY_WW = WW | CAUSAL
CYCLES = {                      # first edge, the rest of them, no two RW edges next to each other
    "G0": (WW, WW, False),
    "G1c": (WR, WW | WR, False),
    "fractured-read": (FRACTURED, FRACTURED | WW | WR, False),
    "causality": (CAUSAL, CAUSAL | WW | WR, False),
    "G-single": (RW, ANY_WW | WR, False),
    "G-nonadjacent": (RW, ANY_WW | WR | RW, True),
    "G2": (RW, ANY_WW | WR | RW, False),
}
SPECIAL = {"G-nonadjacent": ("G-single",), "G2": ("G-single", "G-nonadjacent")}     # cases of it
EDGES_A_SECOND = 50_000_000     # that a search looks at
COUNTS = {Order.NONE: 0, Order.SESSION: PROCESS, Order.REAL_TIME: PROCESS | REALTIME}


@dataclass(slots=True)
class Found:
    """Anomalies by name, each with the weakest order that shows it; and what was not decided.

    versions: the order of versions is not known but must be implied (of registers).
    """

    versions: bool
    deadline: float
    anomalies: dict[str, list[Anomaly]] = field(default_factory=dict)
    order: dict[str, Order] = field(default_factory=dict)
    undecided: dict[str, Order] = field(default_factory=dict)

    def add(self, name: str, anomalies: list[Anomaly], order: Order) -> None:
        """Add what a weaker order did not show."""
        if anomalies and name not in self.anomalies:
            self.anomalies[name], self.order[name] = anomalies, order


    def open(self, level: Level) -> list[str]:
        """What the level forbids and was not decided.

        Where the order of versions is known, who violates causality is in a cycle with one rw, too.
        """
        return [name for name in level.forbids
                if name in self.undecided and self.undecided[name] <= level.order
                and (name != "causality" or self.versions or level.base == "causal")]


def find(findings: Findings, most: Order, *, versions: bool, deadline: float) -> Found:
    """Find everything that is forbidden somewhere. deadline: of time.monotonic."""
    found = Found(versions, deadline)
    for name, anomalies in findings.anomalies.items():
        found.add(name, anomalies, Order.NONE)
    for order in Order:
        if order <= most:
            _with_order(found, findings, order)
    return found


def _with_order(found: Found, findings: Findings, order: Order) -> None:
    edges = findings.edges.copy()
    if order >= Order.SESSION:
        add_process_order(edges, findings.transactions)
    if order >= Order.REAL_TIME:
        add_real_time_order(edges, findings.transactions)
    found.add("fractured-read", add_fractured(findings, edges, order >= Order.SESSION), order)
    causes = edges.copy() if findings.edges.n <= MOST_TRANSACTIONS else edges
    wrong, whole = add_causal(findings, causes, versions=False)
    found.add("causality", wrong, order)
    if not whole:
        found.undecided.setdefault("causality", order)
    above = causes
    if found.versions and whole:
        above = causes.copy()
        add_causal(findings, above, versions=True)
    elif found.versions:
        found.undecided.setdefault("G2", order)
    for name, (first, rest, apart) in CYCLES.items():
        graph_of = edges if name in ("G0", "G1c", "fractured-read") else (
            causes if name == "causality" else above)
        if name in found.anomalies or any(case in found.anomalies
                                          for case in SPECIAL.get(name, ())):
            continue
        try:
            budget = int((found.deadline - time.monotonic()) * EDGES_A_SECOND)
            cycle = graph_of.graph().cycle(first, rest | COUNTS[order], apart=apart, budget=budget)
        except TimeoutError:
            found.undecided.setdefault(name, order)
            continue
        if cycle is not None:
            found.add(name, [_anomaly(findings, graph_of, cycle)], order)


def _anomaly(findings: Findings, edges: Edges, cycle: list[int]) -> Anomaly:
    guilty = [findings.transactions.happened[edges.sources[edge]] for edge in cycle]
    steps = [f"{NAMES[edges.kinds[edge]]}: {edges.why(edge)}" for edge in cycle]
    witnesses = {witness.number: witness for edge in cycle
                 if (witness := edges.witness(edge)) is not None}
    return Anomaly("each comes before the next, and the last before the first", guilty, steps,
                   [witness for witness in witnesses.values() if witness not in guilty])
