"""Who confirmed each write: the root, and of sync children as many as the policies ask for.

An answer names the domains that confirmed it. Under ``all`` a sync child that is missing must have
been excluded: never where its link's mode is ``block``, unless the tree was changed and it was not
seen to be back since (excused.py); and where it is ``exclude``, as often as it was needed, which is
told. Under ``any K of`` no fewer than K of those listed confirm. That is judged at the root only:
which K a parent further down waited for, nobody above it knows.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..history import NONE, Ints
from .events import FOREVER, Events
from .excused import Excuses
from .finding import Finding, Judged, earliest, ms, names, of, who
from .guarantee import BLOCK, SYNC, Guarantee
from .view import Bools, View


@dataclass(frozen=True, slots=True)
class Lack:
    """What is missing of what a policy asks for, in some operations: by whom, and why it must not
    be. ``excused``: in which of them it may be."""

    domain: str
    why: str
    which: Ints
    excused: Bools


def confirmation(view: View, events: Events) -> Judged:
    """Judge every acknowledged change that names who confirmed it."""
    changes = np.flatnonzero(~view.is_read & view.ended & (view.confirmed != NONE))
    codes, counts = np.unique(view.confirmed[changes], return_counts=True)
    texts = {int(code): str(view.history.confirmed[1][code]) for code in codes}
    excuses = Excuses(view, events)
    broken: dict[int, list[Lack]] = {}
    excused: set[int] = set()
    for code, text in texts.items():
        mine = changes[view.confirmed[changes] == code]
        for lack in lacking(view, excuses, mine, frozenset(text.split())):
            excused.update(mine[lack.excused].tolist())
            for i in mine[~lack.excused].tolist():
                broken.setdefault(i, []).append(lack)
    excused -= broken.keys()
    left = f"{of(len(excused), 'change')} left out: the tree was another one" if excused else ""
    return Judged(
        "confirmation", len(changes) - len(excused), "changes were confirmed as the policies ask",
        len(broken),
        [_finding(view, excuses, i, broken[i]) for i in earliest(view, broken)], left,
        evidence={"confirmed": dict(zip(texts.values(), counts.tolist(), strict=True)),
                  "excused": _excused(view, excuses),
                  "without": _without(view, changes)})


def lacking(view: View, excuses: Excuses, which: Ints,
            confirmed: frozenset[str]) -> Iterator[Lack]:
    """Find what is missing of what the policies ask for, where these domains confirmed."""
    guarantees = view.guarantees
    if guarantees.root.name not in confirmed:
        yield Lack(guarantees.root.name, "the root itself is not among them", which,
                   np.zeros(len(which), dtype=bool))
    for parent in guarantees.domains:
        if parent.name not in confirmed and parent is not guarantees.root:
            continue
        absent = [child.name for child in guarantees.domains
                  if child.parent == parent.name and child.mode == SYNC
                  and child.exclusion == BLOCK and child.name not in confirmed]
        if parent.policy.strip() == "all":
            for name in absent:
                yield Lack(name, f"{name} must confirm every write; its mode is block, so it is "
                           "never excluded", which, excuses.covers(name, which))
        elif parent is guarantees.root and parent.any_of is not None:
            yield from _too_few(excuses, parent, absent, which, confirmed)


def _too_few(excuses: Excuses, parent: Guarantee, absent: list[str], which: Ints,
             confirmed: frozenset[str]) -> Iterator[Lack]:
    """Find where fewer confirmed than counted, of any K. (Who may be excluded, and did not confirm,
    may have been excluded.)"""
    assert parent.any_of is not None
    wanted, among = parent.any_of
    there = sorted(among & confirmed)
    missing = [name for name in absent if name in among]
    if len(there) >= min(wanted, len(there) + len(missing)):
        return
    counted = np.full(len(which), len(there))
    for name in missing:
        counted += ~excuses.covers(name, which)
    yield Lack(parent.name, f"{parent.name}'s policy is {parent.policy}, and only {names(there)} "
               "confirmed", which, len(there) >= np.minimum(wanted, counted))


def _finding(view: View, excuses: Excuses, i: int, lacks: list[Lack]) -> Finding:
    """Tell who is missing, and since when it had been back where the tree was changed before."""
    notes = {i: f"confirmed by {names(view.confirmed_by(i))}"}
    said = []
    for lack in lacks:
        before = excuses.last(lack.domain, i)
        if before is None:
            said.append(lack.why)
            continue
        notes.setdefault(before.back, f"{lack.domain} is back")
        said.append(f"{lack.why}. It was back after a change of the tree when "
                    f"{who(view, before.back)} was acknowledged")
    return Finding(f"{who(view, i)} was acknowledged, confirmed by "
                   f"{names(view.confirmed_by(i))}: {'; '.join(said)}", i, notes,
                   "What is acknowledged is on a majority of every domain that counts.")


def _excused(view: View, excuses: Excuses) -> dict[str, list[list[int | None]]]:
    """By domain that is never excluded by itself: from which row until which one it was excused;
    None: to the end."""
    return {domain.name: [[excuse.begin, None if excuse.end == FOREVER else excuse.end]
                          for excuse in excuses.of(domain.name)]
            for domain in view.guarantees.domains
            if domain.mode == SYNC and domain.exclusion == BLOCK and excuses.of(domain.name)}


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
