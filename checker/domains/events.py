"""What the history says of faults and of the tree itself: when each domain was in trouble.

A fault's life is told by events of the nemesis, ``{"id", "phase", "targets", "grudge"}``, and
ended by ``{"action": "stop", "id"}`` or ``{"action": "heal"}``: from that request on it may be
gone. Which domains it concerns follows from the nodes that it hits; ``domains`` in the value names
them outright. A domain is *cut off* while a fault's grudge leaves no two nodes that could carry
its link, or one above it.

A change of the tree is an event ``domain`` with ``{"domain": name, "state": state}``, where state
is ``excluded``, ``included``, ``fenced``, ``added``, ``removed``, ``moved`` or ``changed``; and
``data-loss`` is the declaration that acknowledged writes may be gone, by an operator, with
``{"rindex": kept}``.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from ..history import NEMESIS, History
from .guarantee import Guarantee, Guarantees

FOREVER = (1 << 63) - 1
STATE, LOSS = "domain", "data-loss"
INCLUDED = "included"
OUTSIDE = ("excluded", "fenced", "removed")     # states in which no bound holds


@dataclass(slots=True)
class Trouble:
    """One fault: from when to when it was in force (rows and times), and whom it hit.

    ``since`` counts from its request, ``sure`` from when a probe saw it; until ``until`` it surely
    held, and from ``over`` on it surely did not. ``undone``: the row that tells that nothing of it
    is left; ``began``: the row of its request.
    """

    name: str
    domains: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    grudge: Mapping[str, Any] = field(default_factory=dict)
    since_ns: int = 0
    sure: tuple[int, int] | None = None             # row and time
    until: tuple[int, int] = (FOREVER, FOREVER)
    over_ns: int = FOREVER
    began: int = 0
    undone: int = FOREVER


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch in which a domain was fenced: its rows and times (from, to), and why."""

    rows: tuple[int, int]
    times: tuple[int, int]
    why: str
    alone: bool = False         # the root can be asked, so only what was answered without counts


@dataclass(frozen=True, slots=True)
class Change:
    """A domain came into a state."""

    row: int
    time_ns: int
    domain: str
    state: str


TREE_CHANGES = frozenset({"domain-exclude", "domain-mode", "domain-policy", "domain-reparent",
                          "domain-leave"})


@dataclass(slots=True)
class Events:
    """All that the nemesis's lane tells of domains."""

    troubles: list[Trouble]
    changes: list[Change]
    losses: list[tuple[int, int | None]]        # row, rindex up to which nothing was lost


def events_of(history: History) -> Events:
    """Read the nemesis's lane."""
    found: dict[str, Trouble] = {}
    changes: list[Change] = []
    losses: list[tuple[int, int | None]] = []
    for row, f, value in _told(history):
        time_ns = int(history.time[row])
        if f == STATE and isinstance(value.get("state"), str):
            changes.append(Change(row, time_ns, str(value.get("domain")), value["state"]))
        elif f == LOSS:
            kept = value.get("rindex")
            losses.append((row, kept if isinstance(kept, int) else None))
        elif value.get("action") in ("stop", "heal"):
            ids = [str(value["id"])] if "id" in value else list(found)
            for id in ids:
                if id in found and found[id].until[0] == FOREVER:
                    found[id].until = row, time_ns
        elif isinstance(value.get("phase"), str) and value["phase"] != "impossible":
            trouble = found.setdefault(str(value.get("id", row)), Trouble(
                f, since_ns=time_ns, began=row))
            _live(trouble, value, row, time_ns)
    return Events(list(found.values()), changes, losses)


def _live(trouble: Trouble, value: Mapping[str, Any], row: int, time_ns: int) -> None:
    """A step in the life of a fault."""
    trouble.domains |= frozenset(map(str, value.get("domains") or ()))
    trouble.nodes |= frozenset(map(str, value.get("targets") or ()))
    trouble.grudge = value.get("grudge") or trouble.grudge
    phase = value["phase"]
    if phase == "effective":
        trouble.sure = row, time_ns
    elif phase == "ended":
        trouble.until = min(trouble.until, (row, time_ns))
        trouble.over_ns = time_ns
    elif phase == "recovered" or (phase == "ineffective" and not trouble.sure):
        trouble.over_ns = time_ns
        if phase == "recovered":
            trouble.undone = row
        elif not (trouble.domains or trouble.nodes):
            trouble.undone = trouble.began          # it found nobody, and was never begun


def _told(history: History) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    for row in np.flatnonzero(history.process == NEMESIS).tolist():
        value: Any = history.value(row)
        if isinstance(value, dict):
            yield row, history.fs[history.f[row]], value


def concerns(trouble: Trouble, path: tuple[Guarantee, ...]) -> bool:
    """Whether a fault may have hit a domain, one between it and the root, or their links."""
    if not (trouble.domains or trouble.nodes or trouble.grudge):
        return True                             # it does not say whom it hit
    if any(domain.name in trouble.domains for domain in path):
        return True
    nodes = frozenset(node for domain in path for node in domain.nodes)
    if any(not domain.nodes for domain in path):
        return bool(trouble.nodes or trouble.grudge)    # nobody says whose nodes they are
    if trouble.grudge:
        return any(node in nodes and nodes & frozenset(dropped)
                   for node, dropped in trouble.grudge.items())
    return bool(trouble.nodes & nodes)


def cut_off(trouble: Trouble, guarantees: Guarantees, name: str) -> str:
    """Say what a fault cuts: ``island``, a domain from the root, by whatever way; ``link``, the way
    that entries take; or nothing.
    """
    if not trouble.grudge or any(not domain.nodes for domain in guarantees.domains):
        return ""

    def hear(one: str, other: str) -> bool:
        return not (other in trouble.grudge.get(one, ()) or one in trouble.grudge.get(other, ()))

    def linked(one: Guarantee, other: Guarantee) -> bool:
        return any(hear(a, b) for a in one.nodes for b in other.nodes)

    reached, left = [guarantees.by_name[name]], list(guarantees.domains)
    for one in reached:
        near = [other for other in left if other not in reached and linked(one, other)]
        reached += near
    if guarantees.root not in reached:
        return "island"
    path = guarantees.path(name)
    return "" if all(linked(child, parent) for child, parent in pairwise(path)) else "link"


def restless(events: Events, guarantees: Guarantees, name: str) -> list[tuple[int, int]]:
    """Return the times at which no bound on a domain's lag is in force, settling included."""
    path = guarantees.path(name)
    settle_ns = guarantees.by_name[name].settle_ns
    names = {domain.name for domain in path}
    spans = [(0, settle_ns)]                    # the links come up
    spans += [(trouble.since_ns, _add(trouble.over_ns, settle_ns))
              for trouble in events.troubles if concerns(trouble, path)]
    spans += [(change.time_ns, change.time_ns + settle_ns) for change in events.changes
              if change.domain in names]
    for one in path:
        spans += [(start, _add(end, settle_ns)) for (start, end), _ in outside(events, one.name)]
    return _joined(spans)


def outside(events: Events, name: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return when a domain was excluded, fenced or removed, as it was told: times and rows."""
    spans = []
    since: Change | None = None
    for change in events.changes:
        if change.domain != name:
            continue
        if change.state in OUTSIDE:
            since = since or change
        elif since is not None:
            spans.append(((since.time_ns, change.time_ns), (since.row, change.row)))
            since = None
    if since is not None:
        spans.append(((since.time_ns, FOREVER), (since.row, FOREVER)))
    return spans


def fenced(events: Events, guarantees: Guarantees, name: str) -> list[Span]:
    """Return when a domain could answer no linearizable read at all: told so, or cut off."""
    domain = guarantees.by_name[name]
    spans = []
    since: Change | None = None
    for change in events.changes:
        if change.domain != name:
            continue
        if since is not None:
            spans.append(Span((since.row, change.row), (since.time_ns, change.time_ns), "fenced"))
        since = change if change.state == "fenced" else None
    if since is not None:
        spans.append(Span((since.row, FOREVER), (since.time_ns, FOREVER), "fenced"))
    for trouble in events.troubles:
        cut = cut_off(trouble, guarantees, name)
        if trouble.sure is not None and cut and not (cut == "link" and moved(events, trouble)):
            began = trouble.sure[1] + domain.fence_ns
            if began < trouble.until[1]:
                spans.append(Span((trouble.sure[0], trouble.until[0]), (began, trouble.until[1]),
                                  f"cut off by {trouble.name}", cut == "link"))
    return spans


def moved(events: Events, trouble: Trouble) -> bool:
    """Whether links may have taken other ways than the tree says while a fault was in force."""
    return any(other.name in TREE_CHANGES and other.since_ns < trouble.over_ns
               and trouble.since_ns < other.over_ns for other in events.troubles)


def _add(time_ns: int, more_ns: int) -> int:
    return FOREVER if time_ns >= FOREVER - more_ns else time_ns + more_ns


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def within(times: Any, spans: list[tuple[int, int]]) -> Any:
    """Return which times lie in one of some disjoint, sorted spans."""
    starts = np.array([start for start, _ in spans], dtype=np.int64)
    ends = np.append(np.array([end for _, end in spans], dtype=np.int64), -1)
    at = np.searchsorted(starts, times, side="right") - 1
    return (at >= 0) & (times <= ends[at])
