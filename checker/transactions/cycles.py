"""Cycles of dependencies, by the name of the anomaly; searched for with ever more order."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .edges import NAMES, Edges
from .findings import Anomaly, Findings
from .graph import CAUSAL, FRACTURED, PROCESS, REALTIME, RW, WR, WW
from .implied import Columns, add_causal, add_fractured
from .levels import FORBIDS, Level, Order
from .limits import Limits, OutOfLimits
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
    undecided: in which orders an anomaly was not looked for to the end. why: for want of what.
    """

    versions: bool
    anomalies: dict[str, list[Anomaly]] = field(default_factory=dict)
    order: dict[str, Order] = field(default_factory=dict)
    undecided: dict[str, set[Order]] = field(default_factory=dict)
    why: str = "time"

    def add(self, name: str, anomalies: list[Anomaly], order: Order) -> None:
        """Add what a weaker order did not show."""
        if anomalies and name not in self.anomalies:
            self.anomalies[name], self.order[name] = anomalies, order

    def stopped(self, names: Iterable[str], order: Order, why: str) -> None:
        """Note that some were not looked for to the end."""
        self.why = why
        for name in names:
            self.undecided.setdefault(name, set()).add(order)

    def take(self, other: Found) -> None:
        """Add what another order, a stronger one, showed."""
        for name, anomalies in other.anomalies.items():
            self.add(name, anomalies, other.order[name])
        for name, orders in other.undecided.items():
            for order in orders:
                self.stopped([name], order, other.why)

    def open(self, level: Level) -> list[str]:
        """What the level forbids and was not decided.

        What is not found with an order is not there with a weaker one. Where the order of
        versions is known, who violates causality is in a cycle with one rw, too.
        """
        return [name for name in level.forbids if level.order in self.undecided.get(name, ())
                and (name != "causality" or self.versions or level.base == "causal")]


def find(findings: Findings, most: Order, limits: Limits, *, versions: bool) -> Found:
    """Find everything that is forbidden somewhere.

    The strongest order first: where it shows nothing, no other does.
    """
    found = Found(versions)
    for name, anomalies in findings.anomalies.items():
        found.add(name, anomalies, Order.NONE)
    columns = Columns.of(findings)
    strongest = Found(versions)
    _with_order(strongest, findings, columns, most, limits)
    if strongest.anomalies or strongest.undecided:
        for order in Order:
            if order < most:
                _with_order(found, findings, columns, order, limits)
    found.take(strongest)
    return found


def not_looked(findings: Findings, most: Order, why: str, *, versions: bool) -> Found:
    """Return what is known when not even the dependencies could be found."""
    found = Found(versions)
    for name, anomalies in findings.anomalies.items():
        found.add(name, anomalies, Order.NONE)
    for order in Order:
        if order <= most:
            found.stopped((name for names in FORBIDS.values() for name in names), order, why)
    return found


def _with_order(found: Found, findings: Findings, columns: Columns, order: Order,
                limits: Limits) -> None:
    """Look for all of it with one order, as long as the limits allow."""
    left = dict.fromkeys(CYCLES)
    try:
        _look(found, findings, columns, order, limits, left)
    except OutOfLimits as end:
        found.stopped([name for name in left if name not in found.anomalies], order, end.what)


def _look(found: Found, findings: Findings, columns: Columns, order: Order, limits: Limits,
          left: dict[str, None]) -> None:
    """Look, and take out of ``left`` what was looked for to the end."""
    limits.look()
    edges = findings.edges.above()
    if order >= Order.SESSION:
        add_process_order(edges, findings.transactions)
    if order >= Order.REAL_TIME:
        add_real_time_order(edges, findings.transactions)
    found.add("fractured-read", add_fractured(findings, edges, order >= Order.SESSION), order)
    _cycles(found, findings, edges, ("G0", "G1c", "fractured-read"), order, limits, left)
    causes = edges.above()
    try:
        found.add("causality", add_causal(findings, causes, columns, limits, versions=False),
                  order)
    except OutOfLimits as end:          # what is not causality is looked for all the same
        found.stopped(["causality", "G2"] if found.versions else ["causality"], order, end.what)
        left.pop("causality")
        causes = edges
    _cycles(found, findings, causes, ("causality",), order, limits, left)
    if found.versions:
        causes = causes.above()
        try:
            add_causal(findings, causes, columns, limits, versions=True)
        except OutOfLimits as end:
            found.stopped(["G2"], order, end.what)
    _cycles(found, findings, causes, tuple(left), order, limits, left)


def _cycles(found: Found, findings: Findings, edges: Edges, names: Sequence[str], order: Order,
            limits: Limits, left: dict[str, None]) -> None:
    for name in names:
        if name not in left:
            continue
        if name not in found.anomalies and not any(case in found.anomalies
                                                   for case in SPECIAL.get(name, ())):
            first, rest, apart = CYCLES[name]
            try:
                cycle = edges.graph().cycle(first, rest | COUNTS[order], apart=apart,
                                            budget=int(limits.seconds() * EDGES_A_SECOND))
            except TimeoutError:
                found.stopped([name], order, "time")
            else:
                if cycle is not None:
                    found.add(name, [_anomaly(findings, edges, cycle)], order)
        left.pop(name)


def _anomaly(findings: Findings, edges: Edges, cycle: list[int]) -> Anomaly:
    graph = edges.graph()
    guilty = [findings.transactions.happened[graph.sources[edge]] for edge in cycle]
    steps = [f"{NAMES[int(graph.kinds[edge])]}: {edges.why(edge)}" for edge in cycle]
    witnesses = {witness.number: witness for edge in cycle
                 if (witness := edges.witness(edge)) is not None}
    return Anomaly("each comes before the next, and the last before the first", guilty, steps,
                   [witness for witness in witnesses.values() if witness not in guilty])
