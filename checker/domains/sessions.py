"""Sessions: a read that carries a token shows all that the token stands for.

A token is the coordinates of an answer. A node waits until it has them, or refuses. So the answer
reflects at least the token's rindex, and shows every acknowledged write of the key up to there, by
whomever (read your writes, also across clients). Where the token covers all answers of its
process so far, the process never goes back: what it saw, and all that was there before
that was written, stays visible. The last is judged by values and times alone.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..history import NONE, Ints
from ..operations import show
from .finding import Finding, Judged, earliest, who
from .view import View
from .visibility import because, older

INITIAL = -2
NEVER = -1                      # position before all
LIMIT = 1 << 32                 # positions and rindexes are below; what is not was made up


def sessions(view: View) -> Judged:
    """Judge every read that was sent with a token."""
    reads = view.is_read & (view.token != NONE) & view.ended & (view.seen >= 0)
    what = "reads showed all that their tokens stand for"
    if not reads.any():
        return Judged("session", 0, what)
    below = reads & (view.rindex != NONE) & (view.rindex < view.token)
    covered = _covered(view)
    missing = reads & ~below & (covered != NONE) & _is_after(view, covered)
    past = _Past(view)
    gone = reads & ~below & ~missing & past.covered & (
        (view.shown_late_at < past.floor) | (_first(view) < past.floor_of_key))
    broken = below | missing | gone
    findings = [
        _lower(view, i) if below[i] else
        _hides(view, i, int(covered[i])) if missing[i] else past.finding(i)
        for i in earliest(view, np.flatnonzero(broken).tolist())]
    return Judged("session", int(reads.sum()), what, int(broken.sum()), findings)


def _first(view: View) -> Ints:
    return np.append(view.versions.first, (1 << 63) - 1)[view.seen]


def _covered(view: View) -> Ints:
    """By operation: the newest version of its key that its token covers, by rindex; or NONE."""
    versions = view.versions
    there = np.flatnonzero(versions.most >= 0)
    starts, tokens = versions.most[there], view.token
    width = max(int(starts.max(initial=0)), int(tokens.max(initial=0))) + 2
    if width * len(view.operations.keys) >= 1 << 62:            # rindexes beyond all reason
        places = np.unique(np.concatenate([starts, tokens]))
        starts, tokens = np.searchsorted(places, starts), np.searchsorted(places, tokens)
        width = len(places) + 1
    cell = versions.key[there] * width + starts
    order = np.argsort(cell, kind="stable")
    key = view.operations.key.astype(np.int64)
    asked = key * width + tokens
    at = np.searchsorted(cell[order], asked, side="right") - 1
    found = np.append(there[order], NONE)[at]
    mine = (at >= 0) & (np.append(versions.key, NONE)[found] == key) & (view.token != NONE)
    return np.where(mine, found, NONE)


def _is_after(view: View, version: Ints) -> Any:
    """By operation: whether a version certainly came after the one that it saw."""
    versions = view.versions
    saw = np.where(view.seen < 0, 0, view.seen)
    if not len(versions.most):
        return np.zeros(len(view), dtype=bool)
    writer = versions.writer[saw]
    ends_by = np.where((versions.lo[saw] >= 0) & (
        (versions.most[saw] < 0) | (versions.lo[saw] < versions.most[saw])),
        versions.lo[saw], versions.most[saw])
    by_rindex = (ends_by >= 0) & (versions.least[version] > ends_by)
    inv = np.append(view.operations.inv, 0)
    by_time = versions.first[saw] < inv[versions.writer[version]]
    known = (writer >= 0) | (writer == INITIAL)
    return known & (version != saw) & (by_rindex | by_time | (writer == INITIAL))


class _Past:
    """What each process had seen before each of its operations."""

    def __init__(self, view: View) -> None:
        self.view = view
        ops = view.operations
        writers = np.append(view.versions.writer, NONE)[view.seen]
        self.wrote = ~view.is_read & view.ended
        inv = np.append(ops.inv, NEVER)
        begun = inv[np.where(writers >= 0, writers, len(ops))]
        self.since: Ints = np.where(view.ended & view.is_read, begun, NEVER)
        self.since = np.where(self.wrote, ops.inv, self.since)
        self.process = process = ops.process.astype(np.int64)
        self.floor = _before(self.since, process)
        self.floor_of_key = _before(self.since, process * len(ops.keys) + ops.key)
        highest = _before(np.where(view.ended, view.rindex, NEVER), process)
        self.covered = (view.token >= highest) & (view.token != NONE) & (
            _before(_silent(view), process) == NEVER)

    def finding(self, i: int) -> Finding:
        """Tell of an operation that shows less than its session had seen."""
        view, ops = self.view, self.view.operations
        old = int(view.seen[i])
        before = np.flatnonzero((self.process == self.process[i]) & (ops.inv < ops.inv[i]))
        if view.shown_late_at[i] >= self.floor[i]:
            before = before[ops.key[before] == ops.key[i]]
        other = int(before[np.argmax(self.since[before])])
        new = int(view.successor[i])
        notes = {other: "before it", i: "goes back"} | older(view, old, new)
        writer = int(view.versions.writer[new])
        notes.setdefault(writer, "not shown")
        value = show(ops.values.value(int(ops.a[i])))
        return Finding(
            f"{who(view, i)} goes back to {value}: its session had {_did(view, other)}", i, notes,
            because(view, old, new) + " What the session had seen came after that.")


def _silent(view: View) -> Ints:
    """By operation: whether it does not say where it stands (1, else NEVER), where others do."""
    silent = view.ended & (view.rindex == NONE)
    if not (view.ended & ~silent).any():
        silent[:] = False
    return np.where(silent, 1, NEVER)


def _did(view: View, i: int) -> str:
    return f"seen {who(view, i)}" if view.is_read[i] else f"done {who(view, i)}"


def _before(values: Ints, group: Ints) -> Ints:
    """The highest value of the same group before each place; NEVER where there is none."""
    order = np.argsort(group, kind="stable")
    width = min(int(values.max(initial=0)), LIMIT) + 2
    if width * (int(group.max(initial=0)) + 1) >= 1 << 62:
        group = np.unique(group, return_inverse=True)[1].astype(np.int64)
    running = np.maximum.accumulate(np.minimum(values, LIMIT)[order] + 1 + group[order] * width)
    result = np.zeros(len(values), dtype=np.int64)
    result[order[1:]] = np.maximum(0, running[:-1] - group[order[1:]] * width)
    return result - 1


def _lower(view: View, i: int) -> Finding:
    return Finding(f"{who(view, i)} reflects rindex {view.rindex[i]}, but was sent with a token of "
                   f"{view.token[i]}", i, _given(view, i) | {i: f"token {view.token[i]}, reflects "
                                                                f"{view.rindex[i]}"},
                   "A node waits until it has what the token stands for, or refuses.")


def _given(view: View, i: int) -> dict[int, str]:
    """Whose answer the token is, where one of the operations before has its coordinates."""
    same = np.flatnonzero((view.rindex == view.token[i]) & (view.done < view.row[i]))
    mine = same[view.operations.process[same] == view.operations.process[i]]
    chosen = mine if len(mine) else same
    return {int(chosen[-1]): f"rindex {view.token[i]}"} if len(chosen) else {}


def _hides(view: View, i: int, version: int) -> Finding:
    writer = int(view.versions.writer[version])
    return Finding(
        f"{who(view, i)} was sent with a token of rindex {view.token[i]}, but does not show "
        f"{who(view, writer)}, which stands at {view.versions.most[version]}", i,
        {writer: f"rindex {view.versions.most[version]}", i: f"token {view.token[i]}"}
        | _given(view, i),
        "A read shows every write up to its token.")
