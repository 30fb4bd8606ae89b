"""Who confirmed each write: the root, and of sync children as many as the policies ask for.

An answer names the domains that confirmed it. Under ``all`` a sync child that is missing must have
been excluded: never where its link's mode is ``block`` (unless the tree was changed), and where it
is ``exclude``, as often as it was needed, which is told. Under ``any K of`` no fewer than K of
those listed confirm.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..history import NONE, Ints
from .events import ANY, Events
from .finding import Finding, Judged, earliest, ms, names, who
from .guarantee import BLOCK, SYNC, Guarantees
from .view import View


def confirmation(view: View, events: Events) -> Judged:
    """Judge every acknowledged change that names who confirmed it."""
    changes = np.flatnonzero(~view.is_read & view.ended & (view.confirmed != NONE))
    codes, counts = np.unique(view.confirmed[changes], return_counts=True)
    texts = {int(code): str(view.history.confirmed[1][code]) for code in codes}
    changed = _first_change(events)
    broken: dict[int, str] = {}
    for code, text in texts.items():
        lacks = lacking(view.guarantees, frozenset(text.split()))
        if lacks:
            mine = changes[view.confirmed[changes] == code].tolist()
            broken |= {i: why for i in mine
                       for why in [_why(lacks, changed, int(view.done[i]))] if why}
    return Judged(
        "confirmation", len(changes), "changes were confirmed as the policies ask", len(broken),
        [Finding(f"{who(view, i)} was acknowledged, confirmed by "
                 f"{names(view.confirmed_by(i))}: {broken[i]}", i,
                 {i: f"confirmed by {names(view.confirmed_by(i))}"},
                 "What is acknowledged is on a majority of every domain that counts.")
         for i in earliest(view, broken)],
        evidence={"confirmed": dict(zip(texts.values(), counts.tolist(), strict=True)),
                  "without": _without(view, changes)})


def lacking(guarantees: Guarantees, confirmed: frozenset[str]) -> dict[str, str]:
    """Return what is missing of what the policies ask for: domain -> why it must not be."""
    found: dict[str, str] = {}
    if guarantees.root.name not in confirmed:
        found[guarantees.root.name] = "the root itself is not among them"
    for parent in guarantees.domains:
        if parent.name not in confirmed and parent is not guarantees.root:
            continue
        children = [child for child in guarantees.domains
                    if child.parent == parent.name and child.mode == SYNC]
        if parent.any_of is not None:
            wanted, among = parent.any_of
            there = sorted(among & confirmed)
            # (who may be excluded, and did not confirm, may have been excluded)
            kept = {child.name for child in children if child.exclusion == BLOCK} & among
            needed = min(wanted, len(kept | set(there)))
            if len(there) < needed:
                found[parent.name] = (f"{parent.name}'s policy is {parent.policy}, and only "
                                      f"{names(there)} confirmed")
        elif parent.policy.strip() == "all":
            found |= {child.name: f"{child.name} must confirm every write; its mode is block, so "
                      "it is never excluded" for child in children
                      if child.name not in confirmed and child.exclusion == BLOCK}
    return found


def _first_change(events: Events) -> dict[str, int]:
    """By domain, the row in which the tree was first changed there."""
    found: dict[str, int] = {}
    for change in events.changes:
        found.setdefault(change.domain, change.row)
    return found


def _why(lacks: dict[str, str], changed: dict[str, int], row: int) -> str:
    """Why a lack is not explained by a change of the tree before it; empty: it is."""
    return "; ".join(why for name, why in lacks.items()
                     if not any(at in changed and changed[at] < row for at in (name, ANY)))


def _without(view: View, changes: Ints) -> dict[str, dict[str, Any]]:
    """By gating domain: writes acknowledged without it, in how many stretches, for how long."""
    found = {}
    order = changes[np.argsort(view.done[changes], kind="stable")]
    named = [str(text).split() for text in view.history.confirmed[1]]
    for domain in view.guarantees.domains:
        if not view.guarantees.gates(domain.name):
            continue
        out = np.array([domain.name not in text for text in named], dtype=bool)
        absent = out[view.confirmed[order]] if len(order) else np.zeros(0, dtype=bool)
        if not absent.any():
            continue
        edges = np.diff(np.concatenate([[False], absent, [False]]).astype(np.int8))
        begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
        total = int((view.end_ns[order[ends]] - view.end_ns[order[begins]]).sum())
        found[domain.name] = {"writes": int(absent.sum()), "stretches": len(begins),
                              "total_ns": total, "total": ms(total)}
    return found
