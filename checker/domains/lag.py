"""How old what a domain shows is: in time and in entries of the root's log, measured from clients.

A read is as old as the time since something newer was certainly there: another version of the key
(by values alone), or, where answers carry coordinates, any higher rindex. Both are lower bounds: a
read counts from when it was due, and a write only from when somebody was shown it. So what is
called too old was too old.

A domain's bound holds once it had its settling time without a fault that hit it, or a domain
between it and the root; before that its lag is measured only. A bounded read is judged always: it
is not older than the bound, or refused.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..history import NONE, Ints
from .events import FOREVER, Events, restless, within
from .finding import Finding, Judged, earliest, ms, of, who
from .guarantee import Guarantee
from .view import BOUNDED, View

BINS = 120


@dataclass(slots=True)
class Lag:
    """By operation: age in ns and in entries (0: nothing newer is known), and what is judged."""

    reads: Any
    age_ns: Ints
    entries: Ints
    calm: Any                   # whether the bound of its domain is in force


def measure(view: View, events: Events) -> Lag:
    """Measure every read that need not be linearizable."""
    reads = view.weak & (view.seen >= 0) & view.ended
    age, entries = np.zeros(len(view), dtype=np.int64), np.zeros(len(view), dtype=np.int64)
    i = np.flatnonzero(reads)
    inv, since = view.operations.inv[i], view.shown_late_at[i]
    old = since < inv
    age[i[old]] = view.begin_ns[i[old]] - view.time[since[old]]
    entries[i[old]] = np.maximum(view.behind[i[old]], 1)
    rows, highest = view.committed_by
    placed = view.rindex[i] != NONE
    beyond = np.append(rows, FOREVER)[np.searchsorted(highest, view.rindex[i], side="right")]
    late = placed & (beyond < inv)
    age[i[late]] = np.maximum(age[i[late]], view.begin_ns[i[late]] - view.time[beyond[late]])
    entries[i[placed]] = np.maximum(
        0, view.committed_before(inv[placed]) - view.rindex[i[placed]])
    calm = np.zeros(len(view), dtype=bool)
    for number, domain in enumerate(view.guarantees.domains):
        mine = view.domain == number
        calm[mine] = ~within(view.begin_ns[mine], restless(events, view.guarantees, domain.name))
    return Lag(reads, np.maximum(age, 0), entries, calm)


def lag(view: View, measured: Lag) -> Judged:
    """Judge reads that are not bounded, and entries of all, against their domain's bound."""
    return _judge(view, measured)


def bounded(view: View, measured: Lag) -> Judged:
    """Judge bounded reads, at any time."""
    by_time, by_entries = view.bound_ns != NONE, view.bound_entries != NONE
    judged = measured.reads & (by_time | by_entries)
    found = np.flatnonzero(judged & (
        by_time & (measured.age_ns > view.bound_ns)
        | by_entries & (measured.entries > view.bound_entries))).tolist()
    return Judged("bounded", int(judged.sum()), "bounded reads were not older than their bound",
                  len(found), [_older(view, measured, i) for i in earliest(view, found)])


def _judge(view: View, measured: Lag) -> Judged:
    reads = measured.reads & measured.calm
    by_time = view.level != BOUNDED
    judged = np.zeros(len(view), dtype=bool)
    broken = np.zeros(len(view), dtype=bool)
    for number, domain in enumerate(view.guarantees.domains):
        mine = reads & (view.domain == number)
        if domain.max_lag_ns is not None:
            judged |= mine & by_time
            broken |= mine & by_time & (measured.age_ns > domain.max_lag_ns)
        if domain.max_lag_entries is not None:
            judged |= mine
            broken |= mine & (measured.entries > domain.max_lag_entries)
    found = np.flatnonzero(broken)
    unsettled = int((measured.reads & ~measured.calm).sum())
    left = f"{of(unsettled, 'read')} in or soon after faults measured only" if unsettled else ""
    return Judged("lag", int(judged.sum()), "reads were within their domain's bound", len(found),
                  [_old(view, measured, i) for i in earliest(view, found.tolist())], left)


def _older(view: View, measured: Lag, i: int) -> Finding:
    age, bound = int(measured.age_ns[i]), int(view.bound_ns[i])
    if bound != NONE and age > bound:
        is_so, most = f"{ms(age)} old", f"{ms(bound)} old"
    else:
        is_so = f"{of(int(measured.entries[i]), 'entry')} behind"
        most = f"{of(int(view.bound_entries[i]), 'entry')} behind"
    notes, missing = _missing(view, i, is_so)
    return Finding(f"{who(view, i)} is {is_so}, but was to be at most {most}: {missing}", i, notes,
                   "A bounded read is not older than its bound, or refused.")


def _old(view: View, measured: Lag, i: int) -> Finding:
    domain = view.guarantees.domains[int(view.domain[i])]
    age, entries = int(measured.age_ns[i]), int(measured.entries[i])
    by_time = domain.max_lag_ns is not None and age > domain.max_lag_ns
    allowed = ms(domain.max_lag_ns or 0) if by_time else of(domain.max_lag_entries or 0, "entry")
    measure_ = f"{ms(age)} old" if by_time else f"{entries:,} entries behind"
    notes, missing = _missing(view, i, measure_)
    return Finding(f"{who(view, i)} is {measure_}, but {domain.name} is to be at most {allowed} "
                   f"behind: {missing}", i, notes,
                   f"No fault had hit {domain.name} or what is between it and the root for "
                   f"{ms(domain.settle_ns)}.")


def _missing(view: View, i: int, how_old: str) -> tuple[dict[int, str], str]:
    """Notes on what shows that an operation is old, and what it lacks."""
    notes = {i: how_old}
    if view.shown_late_at[i] < view.operations.inv[i]:
        newer = int(view.versions.writer[view.successor[i]])
        notes[newer] = "was there"
        return notes, f"it does not show {who(view, newer)}"
    rows, highest = view.committed_by
    row = int(rows[np.searchsorted(highest, view.rindex[i], side="right")])
    other = int(np.flatnonzero(view.done == row)[0])
    notes[other] = f"rindex {view.rindex[other]}"
    return notes, (f"it reflects rindex {view.rindex[i]}, and {who(view, other)} reflected "
                   f"{view.rindex[other]}")


def distribution(view: View, measured: Lag, number: int) -> dict[str, Any]:
    """Return what one domain's reads were like: counts, percentiles, and the worst over time."""
    mine = measured.reads & (view.domain == number)
    if not mine.any():
        return {"reads": 0}
    age, entries = measured.age_ns[mine], measured.entries[mine]
    domain: Guarantee = view.guarantees.domains[number]
    return {
        "reads": int(mine.sum()), "calm_reads": int((mine & measured.calm).sum()),
        "with_coordinates": int((mine & (view.rindex != NONE)).sum()),
        "age_ns": _percentiles(age), "entries": _percentiles(entries),
        "calm_age_ns": _percentiles(measured.age_ns[mine & measured.calm]),
        "max_lag_ns": domain.max_lag_ns, "max_lag_entries": domain.max_lag_entries,
        "settle_ns": domain.settle_ns,
        "worst_over_time": _worst_over_time(view.begin_ns[mine], age),
    }


def _percentiles(values: Ints) -> dict[str, int] | None:
    if not len(values):
        return None
    found = np.percentile(values, (50, 95, 99, 100), method="higher")
    return dict(zip(("p50", "p95", "p99", "max"), map(int, found), strict=True))


def _worst_over_time(begin_ns: Ints, age: Ints) -> list[list[int]]:
    """The oldest read in each of some stretches of equal length: their begin and its age, in ns."""
    width = max(1, int(begin_ns.max()) // BINS + 1)
    worst = np.full(BINS + 1, NONE)
    np.maximum.at(worst, np.maximum(begin_ns, 0) // width, age)
    return [[int(at) * width, int(worst[at])] for at in np.flatnonzero(worst != NONE)]
