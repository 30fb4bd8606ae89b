"""The checks of domains: what a tree of clusters promised, judged from the history alone.

=================== ===========================================================================
domain-linearizable writes and the linearizable reads of all domains have one order, by key
domain-committed    what any read showed had been committed
domain-visibility   a linearizable read shows all that was there before it began
domain-prefix       what a read shows was written, at the coordinates that the answer names
domain-coordinates  each write has coordinates of its own, in the order of time
domain-session      a read shows all that its token stands for; no session goes back
domain-bounded      a bounded read is within its own bound, or not older than its domain's
domain-lag          nor is any read, once its domain had its settling time without a fault
domain-fencing      a fenced domain answers no linearizable read
domain-lost         ``lost`` is answered only after a declared loss
domain-confirmation who confirmed a write is who had to
domains             what was measured, domain by domain
=================== ===========================================================================

Nothing a node says of itself counts: only what clients asked and were told, and when, and what the
harness did to the nodes.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import CheckerError
from ..history import History
from ..operations import show
from ..result import CheckResult, Verdict
from .confirmation import confirmation
from .events import Events, events_of
from .fencing import fencing, lost
from .finding import Judged, ms
from .guarantee import Guarantee, Guarantees, from_plain
from .lag import Lag, bounded, distribution, lag, measure
from .merged import merged
from .prefix import coordinates, prefix
from .sessions import sessions
from .view import BOUNDED, LINEARIZABLE, PREFIX, View, only_ours, refusals
from .visibility import visibility

__all__ = ["Guarantee", "Guarantees", "check_domains", "guarantees_of"]

LEVELS = {LINEARIZABLE: "linearizable", BOUNDED: "bounded", PREFIX: "prefix"}


def guarantees_of(history: History) -> Guarantees:
    """Return what the history itself says that its domains promised."""
    given = history.metadata.get("domains")
    if given is None:
        raise CheckerError(f"{history.where}: it does not say which domains there are; expected "
                           "seatrial.domains in its metadata")
    return from_plain(given, history.where)


def check_domains(
    history: History, guarantees: Guarantees | None = None, *, initial: Any = None,
    **limits: Any,
) -> list[CheckResult]:
    """Judge every guarantee of the domains. limits: as of check_linearizable.

    guarantees: None: those that the history carries.
    """
    only_ours(history)
    view = View(history, guarantees if guarantees is not None else guarantees_of(history), initial)
    events = events_of(history)
    measured = measure(view, events)
    judged = [visibility(view), prefix(view), coordinates(view), sessions(view),
              bounded(view, measured), lag(view, measured), fencing(view, events),
              lost(view, events), confirmation(view, events)]
    results = merged(view, **limits) + [one.result(view) for one in judged
                                        if one.judged or one.broken]
    return [_overview(view, events, measured, judged), *results]


def _overview(view: View, events: Events, measured: Lag, judged: list[Judged]) -> CheckResult:
    """Return the table of the domains, and what was judged."""
    failed = _failed(view)
    table = [{"name": domain.name, "parent": domain.parent, "mode": domain.mode,
              "gates": view.guarantees.gates(domain.name),
              "answered": _answered(view, number), "not_ok": failed.get(number, {}),
              "lag": distribution(view, measured, number)}
             for number, domain in enumerate(view.guarantees.domains)]
    evidence = {"domains": table, "faults": len(events.troubles),
                "changes": [{"row": change.row, "time_ns": change.time_ns,
                             "domain": change.domain, "state": change.state}
                            for change in events.changes],
                "judged": {one.guarantee: one.judged for one in judged}}
    silent = [domain.name for number, domain in enumerate(view.guarantees.domains)
              if not (view.is_read & view.ended & (view.domain == number)).any()]
    verdict = Verdict.NO_COVERAGE if silent else Verdict.PASS
    summary = f"no read was answered in {', '.join(silent)}; " if silent else ""
    return CheckResult("domains", verdict, summary + "; ".join(_line(one) for one in table),
                       evidence=evidence)


def _answered(view: View, number: int) -> dict[str, int]:
    mine = view.ended & (view.domain == number)
    counts = {"changes": int((mine & ~view.is_read).sum())}
    for level, name in LEVELS.items():
        counts[name] = int((mine & view.is_read & (view.level == level)).sum())
    return counts


def _failed(view: View) -> dict[int, dict[str, int]]:
    """By domain: how many operations did not end ok, by their first words."""
    history = view.history
    found: dict[int, dict[str, int]] = {}
    for row, done in refusals(history):
        code = int(history.error[done])
        said = show(history.errors[code].partition(":")[0]) if code >= 0 else "no reason given"
        mine = found.setdefault(int(history.domain[row]), {})
        mine[said] = mine.get(said, 0) + 1
    return found


def _line(domain: Mapping[str, Any]) -> str:
    """Return a domain in a few words."""
    reads = sum(count for name, count in domain["answered"].items() if name != "changes")
    age = domain["lag"].get("age_ns")
    lags = f", lag p50 {ms(age['p50'])} p99 {ms(age['p99'])} max {ms(age['max'])}" if age else ""
    return f"{domain['name']}: {reads:,} reads{lags}"

