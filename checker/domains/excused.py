"""When a domain need not confirm: from a change of the tree that concerns it until it is back.

A change concerns the domain that it is of and all below it, as the guarantees have the tree; one
that says nothing of whose it is concerns all. Where ``any K`` children of one parent confirm, any
of them may stand in for another that is new there: so another mode or parent, of whichever domain,
concerns them as well. The root is excused by nothing.

Being told that a change was taken back is not enough: a domain that was out is included again by an
entry of its own, once it has caught up. It is *back* with the first answer that shows this:

* one below another domain is named only where its parent waited for it. So the first write that
  began when all was taken back, and names it, shows that it counts;
* one right below the root may have been quick, and not counted yet. It is back once it was named in
  all that was acknowledged for its settling time. Of a time in which nothing was acknowledged no
  more than an eighth of that counts.

Until then its absence proves nothing. Where it never is seen to be back it is excused to the end.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ..history import NONE, Ints
from .events import FOREVER, INCLUDED, TREE_CHANGES, Events, Trouble
from .guarantee import Guarantee, Guarantees
from .view import Bools, View

STAND_INS = frozenset({"domain-mode", "domain-reparent"})
SHARE = 8                       # of the settling time: what one silence counts for at most


@dataclass(frozen=True, slots=True)
class Excuse:
    """A stretch of rows in which a domain need not confirm. ``back``: the operation that shows that
    it counts again; NONE: nothing does."""

    begin: int
    end: int
    back: int = NONE


class Excuses:
    """Whom what is told of the tree excuses, and from which writes."""

    def __init__(self, view: View, events: Events) -> None:
        self.view = view
        changes = np.flatnonzero(~view.is_read & view.ended & (view.confirmed != NONE))
        self._order: Ints = changes[np.argsort(view.done[changes], kind="stable")]
        self._changes = [(row, until, concerned(view.guarantees, trouble))
                         for trouble in events.troubles if trouble.name in TREE_CHANGES
                         for row, until in [(trouble.began, trouble.undone)] if row < until]
        self._changes += told(view.guarantees, events)
        self.of = cache(self._of)

    def _of(self, name: str) -> list[Excuse]:
        """Return the excuses of a domain, in order and disjoint."""
        found: list[Excuse] = []
        for begin, undone, concerns in sorted(self._changes, key=lambda change: change[:2]):
            if name not in concerns or name == self.view.guarantees.root.name:
                continue
            if found and begin < found[-1].end:
                begin, undone = found[-1].begin, max(undone, found[-1].end)
                found.pop()
            back = self._back(self.view.guarantees.by_name[name], undone)
            found.append(Excuse(begin, FOREVER if back == NONE else int(self.view.done[back]),
                                back))
        return found

    def _back(self, domain: Guarantee, undone: int) -> int:
        """Return the operation that shows that a domain counts, all changes having been undone."""
        view = self.view
        after = self._order[view.operations.inv[self._order] > undone]
        if not len(after):
            return NONE
        named = np.array([domain.name in str(text).split() for text in view.history.confirmed[1]],
                         dtype=bool)[view.confirmed[after]]
        if domain.parent != view.guarantees.root.name:
            return int(after[np.argmax(named)]) if named.any() else NONE
        settled = np.flatnonzero(named & (_stretches(view.end_ns[after], named, domain.settle_ns)
                                          >= domain.settle_ns))
        return int(after[settled[0]]) if len(settled) else NONE

    def covers(self, name: str, which: Ints) -> Bools:
        """Return which operations a domain was excused from confirming: they overlap an excuse."""
        found = np.zeros(len(which), dtype=bool)
        for excuse in self.of(name):
            found |= ((self.view.done[which] > excuse.begin)
                      & (self.view.operations.inv[which] < excuse.end))
        return found

    def last(self, name: str, i: int) -> Excuse | None:
        """Return the excuse of a domain that was over when an operation began, if there was one."""
        over = [excuse for excuse in self.of(name) if excuse.end < self.view.operations.inv[i]]
        return over[-1] if over else None


def _stretches(ends_ns: Ints, named: Bools, settle_ns: int) -> Ints:
    """For how long, at each of some writes, all of them had named it."""
    steps = np.where(named, np.minimum(np.diff(ends_ns, prepend=ends_ns[:1]), settle_ns // SHARE),
                     0)
    total = np.cumsum(steps)
    first = named & ~np.concatenate([[False], named[:-1]])
    return total - np.maximum.accumulate(np.where(first, total, 0))


def concerned(guarantees: Guarantees, trouble: Trouble) -> frozenset[str]:
    """Return the domains that a change of the tree may keep from confirming."""
    hit = {domain.name for domain in guarantees.domains
           if domain.name in trouble.domains or trouble.nodes.intersection(domain.nodes)}
    if not hit or any(not domain.nodes for domain in guarantees.domains):
        hit = {domain.name for domain in guarantees.domains}
    if trouble.name in STAND_INS:
        hit |= {domain.name for domain in guarantees.domains if domain.parent is not None
                and guarantees.by_name[domain.parent].any_of is not None}
    return below(guarantees, hit)


def told(guarantees: Guarantees, events: Events) -> list[tuple[int, int, frozenset[str]]]:
    """Return changes of single domains, as events tell them: from when until when, and of whom."""
    found = []
    for name in guarantees.by_name:
        since: int | None = None
        for change in events.changes:
            if change.domain == name and change.state != INCLUDED:
                since = change.row if since is None else since
            elif change.domain == name and since is not None:
                found.append((since, change.row, below(guarantees, {name})))
                since = None
        if since is not None:
            found.append((since, FOREVER, below(guarantees, {name})))
    return found


def below(guarantees: Guarantees, names: set[str]) -> frozenset[str]:
    """Return some domains and all below them."""
    return frozenset(domain.name for domain in guarantees.domains
                     if any(one.name in names for one in guarantees.path(domain.name)))
