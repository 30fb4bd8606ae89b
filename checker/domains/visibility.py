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
    versions = view.versions
    writer, first = int(versions.writer[old]), int(versions.first_op[old])
    if writer == INITIAL:
        return {}
    if versions.by_rindex[old]:
        shows = int(versions.lo_op[old]) if versions.lo[old] >= 0 else writer
        later = int(versions.lo_op[new]) if _seen_behind(view, old, new) else int(
            versions.writer[new])
        return {i: f"rindex {view.rindex[i]}" if view.rindex[i] >= 0 else ""
                for i in (shows, later)}
    return {first: "", writer: ""} if writer >= 0 else {first: ""}


def _seen_behind(view: View, old: int, new: int) -> bool:
    return bool(0 <= view.versions.lo[old] < view.versions.lo[new])


def because(view: View, old: int, new: int) -> str:
    """Say why one version came after another."""
    versions, ops = view.versions, view.operations
    later, value = int(versions.writer[new]), show(ops.values.value(int(versions.value[old])))
    wrote = f"p{ops.process[later]}'s {ops.describe(later)}"
    if versions.writer[old] == INITIAL:
        return f"{value} is what was there at the start, and {wrote} replaced it."
    if versions.by_rindex[old]:
        if _seen_behind(view, old, new):
            return (f"{wrote} replaced {value}: the root's log holds {value} at rindex "
                    f"{versions.lo[old]}, and what replaced it at {versions.lo[new]}.")
        places = [int(place[old]) for place in (versions.most, versions.lo) if place[old] >= 0]
        return (f"{wrote} replaced {value}: it began after rindex {versions.least[new] - 1} had "
                f"been shown, and {value} stands at {min(places)}.")
    first = int(versions.first_op[old])
    had = "acknowledged" if ops.kind[first] != Role.READ else "shown"
    return (f"{wrote} replaced {value}: it began after {value} had been {had} "
            f"({at(view, int(versions.first[old]))}).")
