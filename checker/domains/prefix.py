"""Every answer is a state that the root had: what was written, at the coordinates that it names.

By values: what a read shows was written, by a write that had begun. By coordinates: the state at a
rindex is one state in every domain, so each version of a key takes a stretch of the root's log of
its own (versions.pyx), no two writes are answered with the same coordinates, and those of a write
come behind all that had been shown before it began.
"""
from __future__ import annotations

import numpy as np

from ..history import FAIL, NONE
from ..models import Role
from ..operations import show
from .finding import MOST_TOLD, Finding, Judged, earliest, who
from .view import View

NOBODY = -1


def prefix(view: View) -> Judged:
    """Judge what reads show, and where they say that it stands."""
    reads = (view.seen >= 0) & view.ended
    writer = np.append(view.versions.writer, NONE)[view.seen]
    begun = np.append(view.operations.inv, 0)[np.where(writer < 0, len(view), writer)]
    unwritten = reads & view.weak & ((writer == NOBODY) | (begun > view.operations.ret))
    placed = reads & (view.rindex != NONE)
    findings = [_unwritten(view, i, int(writer[i]))
                for i in earliest(view, np.flatnonzero(unwritten).tolist())]
    pairs = sorted({(min(pair), max(pair)): pair for pair in view.conflicts}.values())
    findings += [_meet(view, *pair) for pair in pairs[:MOST_TOLD]]
    several = int((reads & (writer == -3)).sum())
    return Judged(
        "prefix", int((reads & (view.weak | placed)).sum()),
        "reads showed states of the root's log, at the coordinates that they name",
        int(unwritten.sum()) + len(pairs), findings,
        f"{several:,} saw a value that several operations wrote" if several else "",
        {"with_coordinates": int(placed.sum())})


def _unwritten(view: View, i: int, writer: int) -> Finding:
    value = show(view.operations.values.value(int(view.operations.a[i])))
    if writer >= 0:
        return Finding(f"{who(view, i)} shows {value} before {who(view, writer)} began to write it",
                       i, {writer: "begins later"}, "No domain can hold what was not yet written.")
    failed = _failed(view, i)
    wrote = f"the operation that wrote it had failed (rows {failed[0]}-{failed[1]})" \
        if failed else "nobody wrote it"
    return Finding(f"{who(view, i)} shows {value}, but {wrote}", i, {i: "never written"},
                   "A domain applies only what the root has committed.")


def _failed(view: View, i: int) -> tuple[int, int] | None:
    """The rows of an operation that failed to write what this one saw."""
    history = view.history
    value = view.operations.values.value(int(view.operations.a[i]))
    key = history.key[view.row[i]]
    for invoked, done in zip(*history.pairs, strict=True):
        if (done != NONE and history.type[done] == FAIL and history.key[invoked] == key
                and history.value(int(invoked)) == value):
            return int(invoked), int(done)
    return None


def _meet(view: View, one: int, other: int) -> Finding:
    """Two versions of a key where the root's log has room for one."""
    versions, values = view.versions, view.operations.values
    if one == other:
        writer, reader = int(versions.writer[one]), int(versions.lo_op[one])
        return Finding(
            f"{who(view, reader)} shows at rindex {versions.lo[one]} what stands at "
            f"{versions.least[one]} or behind, by {who(view, writer)}", reader,
            {writer: f"begins after rindex {versions.least[one] - 1} was shown",
             reader: f"rindex {versions.lo[one]}"},
            "The state at a rindex holds nothing that stands behind it.")
    reader, seen = int(versions.hi_op[one]), int(versions.hi[one])
    later, place = int(versions.lo_op[other]), int(versions.lo[other])
    if not 0 <= place <= seen:
        later, place = int(versions.writer[other]), int(versions.most[other])
    old, new = (show(values.value(int(versions.value[v]))) for v in (one, other))
    return Finding(
        f"{who(view, reader)} says that the key holds {old} at rindex {seen}, but "
        f"{who(view, later)} says that it holds {new} at {place}", reader,
        {later: f"rindex {place}", reader: f"rindex {seen}"},
        "The root's log has one state at each rindex, the same in every domain, and what was "
        "replaced does not come back.")


def coordinates(view: View) -> Judged:
    """Judge the coordinates of writes: each its own, behind all that had been shown before."""
    writes = view.ended & np.isin(view.operations.kind, (Role.WRITE, Role.CAS)) & (
        view.rindex != NONE)
    chosen = np.flatnonzero(writes)
    order = chosen[np.argsort(view.rindex[chosen], kind="stable")]
    twice = np.flatnonzero(view.rindex[order][1:] == view.rindex[order][:-1])
    findings = [_same(view, int(order[i]), int(order[i + 1])) for i in twice[:3].tolist()]
    floor = view.committed_before(view.operations.inv)
    low = np.flatnonzero(writes & (view.rindex <= floor))
    findings += [_early(view, i, int(floor[i])) for i in earliest(view, low.tolist())]
    return Judged("coordinates", len(chosen),
                  "writes have coordinates of their own, in the order of time",
                  len(twice) + len(low), findings)


def _same(view: View, one: int, other: int) -> Finding:
    place = f"rindex {view.rindex[one]}"
    terms = {(int(view.epoch[i]), int(view.term[i])) for i in (one, other)}
    said = "the same rterm" if len(terms) == 1 else "different rterms"
    return Finding(f"{who(view, one)} and {who(view, other)} both stand at {place}, with {said}",
                   other, {one: place, other: place},
                   "The root's log has one entry at each rindex, and what was acknowledged stays.")


def _early(view: View, i: int, floor: int) -> Finding:
    rows, highest = view.committed_by
    row = int(rows[np.searchsorted(highest, floor, side="left")])
    other = int(np.flatnonzero(view.done == row)[0])
    return Finding(f"{who(view, i)} stands at rindex {view.rindex[i]}, although {floor} had been "
                   f"shown before it began, by {who(view, other)}", i,
                   {other: f"rindex {view.rindex[other]}", i: f"rindex {view.rindex[i]}"},
                   "What is written comes behind all that is there.")
