"""What a linearizable read, in whichever domain, must show: all that was there before it began.

A write was there when it was acknowledged, or when anybody had been shown it, in any domain: a
domain applies only what the root has committed. So a read must show it or something newer, by the
order of times and by root coordinates. This is a part of what the merged check judges, but it
names the write, the read and the domain.
"""
from __future__ import annotations

import numpy as np

from ..history import NONE
from ..models import Role
from ..operations import show
from .finding import Finding, Judged, at, earliest, ms, who
from .view import View

INITIAL = -2


def visibility(view: View) -> Judged:
    """Judge every linearizable read, and what a compare-and-set saw."""
    reads = (view.seen >= 0) & ~view.weak & view.ended
    late = reads & (view.shown_late_at < view.operations.inv)
    floor = view.committed_before(view.operations.inv)
    low = reads & ~late & view.is_read & (view.rindex != NONE) & (view.rindex < floor)
    broken = np.flatnonzero(late | low)
    return Judged(
        "visibility", int(reads.sum()),
        "linearizable reads showed all that was there before they began", len(broken),
        [_hidden(view, i) if late[i] else _below(view, i, int(floor[i]))
         for i in earliest(view, broken.tolist())])


def _hidden(view: View, i: int) -> Finding:
    """It showed a version after something newer was there."""
    versions, new = view.versions, int(view.successor[i])
    old = int(view.seen[i])
    writer, shown = int(versions.writer[new]), int(versions.first_op[new])
    there = int(versions.first[new])
    before = ms(max(0, int(view.begin_ns[i] - view.time[there])))
    acknowledged = shown == writer
    how = "had been acknowledged" if acknowledged else f"had been shown to {who(view, shown)}"
    reason = (f"{who(view, i)} does not show {written(view, writer)}, which {how} {before} before "
              f"the read began")
    notes = {writer: "acknowledged" if acknowledged else "", i: "too old"}
    if not acknowledged:
        notes[shown] = "shows it"
    return Finding(reason, i, notes | older(view, old, new), because(view, old, new))


def _below(view: View, i: int, floor: int) -> Finding:
    """Its coordinates are lower than some that had been shown before it began."""
    rows, highest = view.committed_by
    row = int(rows[np.searchsorted(highest, floor, side="left")])
    other = int(np.flatnonzero(view.done == row)[0])
    return Finding(
        f"{who(view, i)} reflects rindex {view.rindex[i]}, but {floor} had been shown before it "
        f"began, by {who(view, other)}", i,
        {other: f"rindex {view.rindex[other]}", i: f"rindex {view.rindex[i]}"},
        "A linearizable read reflects all that any domain had shown before.")


def written(view: View, writer: int) -> str:
    """Return a write in a sentence."""
    return who(view, writer)


def older(view: View, old: int, new: int) -> dict[int, str]:
    """Return the operations that show that one version came before another, with notes."""
    if view.versions.writer[old] == INITIAL:
        return {}
    first, writer = int(view.versions.first_op[old]), int(view.versions.writer[old])
    if view.versions.by_rindex[old]:
        place = int(view.versions.start[old])
        start = int(view.versions.start[new])
        lo = int(view.versions.lo_op[old])
        return ({writer: f"rindex {place}"} if place >= 0 else {lo: "shows it earlier"}) | {
            int(view.versions.writer[new]): f"acknowledged, rindex {start}"}
    return {first: "", writer: ""} if writer >= 0 else {first: ""}


def because(view: View, old: int, new: int) -> str:
    """Say why one version came after another."""
    versions, ops = view.versions, view.operations
    later, value = int(versions.writer[new]), show(ops.values.value(int(versions.value[old])))
    wrote = f"p{ops.process[later]}'s {ops.describe(later)}"
    if versions.writer[old] == INITIAL:
        return f"{value} is what was there at the start, and {wrote} replaced it."
    if versions.by_rindex[old]:
        place = max(int(versions.start[old]), int(versions.lo[old]))
        return (f"{wrote} replaced {value}: in the root's log it stands at rindex "
                f"{versions.start[new]}, behind {place}.")
    first = int(versions.first_op[old])
    had = "acknowledged" if ops.kind[first] != Role.READ else "shown"
    return (f"{wrote} replaced {value}: it began after {value} had been {had} "
            f"({at(view, int(versions.first[old]))}).")
