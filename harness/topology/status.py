"""What is known of a running tree: each node's own words, put together by domain.

How a node is asked is the caller's: ``gather`` takes a callable. A node that does not answer is
None; of several that say they lead, the one of the newest term is believed. How a link is, its
child knows; that the child is excluded, the parent. How far behind a domain is, it knows itself
while the links between it and the root are up; else the root's word is needed as well.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from .tree import Domain, Node, Tree

LinkState = Literal["detached", "attaching", "snapshot", "catching-up", "streaming", "excluded"]
EXCLUDED: Final = "excluded"
NS = 1_000_000_000
OLD_S = 2.0                     # a lag that was told so long ago may be another one now
LINK_STATES: tuple[str, ...] = get_args(LinkState)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a domain is behind the root; None: not known. time: in seconds."""

    entries: int | None = None
    bytes: int | None = None
    time: float | None = None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What one node says. rindex: up to where it applied, in root coordinates.

    link: of its domain to the parent, where it leads a child; told: for how long its parent has
    said nothing. excluded: the ids of its own children that do not count at present, where it
    leads their parent; stuck: those of them that do not catch up; bytes: how many each lacks.
    """

    leads: bool
    term: int
    rindex: int | None = None
    link: LinkState | None = None
    lag: Lag = Lag()
    excluded: frozenset[int] = frozenset()
    told: float | None = None
    stuck: frozenset[int] = frozenset()
    bytes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DomainStatus:
    """What is known of one domain. leader: its node's name; answering: how many nodes do; told:
    how long ago its parent spoke; included: whether it counts, of a sync one; None: not known;
    held: an operator excluded it; stuck: it is excluded, and does not catch up."""

    answering: int
    leader: str | None = None
    term: int | None = None
    rindex: int | None = None
    link: LinkState | None = None
    lag: Lag = Lag()
    told: float | None = None
    included: bool | None = None
    held: bool = False
    stuck: bool = False


Ask = Callable[[Domain, Node], NodeStatus | None]


def said(status: Mapping[str, Any]) -> NodeStatus:
    """Return what our own node's status says (``python -m seatrial.core status``)."""
    domain = status.get("domain") or {}
    uplink = domain.get("uplink") or {}
    state = uplink.get("state")
    children = {int(id): child for id, child in (domain.get("children") or {}).items()}
    age, told = (None if ns is None else ns / NS
                 for ns in (domain.get("age_ns"), uplink.get("told_ns")))
    return NodeStatus(
        status["role"] == "leader", int(status["term"]), domain.get("applied_rindex"),
        state if state in LINK_STATES else None,
        Lag() if domain.get("root") else Lag(uplink.get("lag_entries"), None, age),
        frozenset(id for id, child in children.items() if child.get("state") == EXCLUDED), told,
        frozenset(id for id, child in children.items() if child.get("cannot_readmit")),
        {id: child["lag_bytes"] for id, child in children.items()
         if child.get("lag_bytes") is not None})


def gather(tree: Tree, ask: Ask) -> dict[str, DomainStatus]:
    """Ask every node; return what is known of each domain, by name."""
    answers = {domain.name: {node.name: ask(domain, node) for node in domain.nodes}
               for domain in tree.domains}
    found = {domain.name: summed(domain, answers[domain.name]) for domain in tree.domains}
    for domain in tree.domains:
        leader = answers[domain.name].get(found[domain.name].leader or "")
        for child in tree.children(domain.name):
            if leader is None:
                continue
            status = found[child.name]
            found[child.name] = replace(
                status, link=EXCLUDED if child.number in leader.excluded else status.link,
                stuck=child.number in leader.stuck,
                lag=replace(status.lag, bytes=leader.bytes.get(child.number)))
    return {name: measured(tree, name, found) for name in found}


def measured(tree: Tree, name: str, found: Mapping[str, DomainStatus]) -> DomainStatus:
    """Return a domain's status; where some link above it is down its lag is what the root has
    applied and the domain has not, by what both said just now."""
    status, root = found[name], found[tree.root.name]
    if status.leader is None or all(
            above.told is not None and above.told < OLD_S
            for above in (found[domain.name] for domain in tree.path(name)[:-1])):
        return status
    if status.rindex is None or root.rindex is None:
        return replace(status, lag=replace(status.lag, entries=None))
    return replace(status, lag=replace(
        status.lag, entries=max(0, root.rindex - status.rindex)))


def summed(domain: Domain, said: Mapping[str, NodeStatus | None]) -> DomainStatus:
    """Return what the nodes of one domain say together."""
    heard = {name: status for name, status in said.items() if status is not None}
    leading = [(status.term, name) for name, status in heard.items() if status.leads]
    if not leading:
        return DomainStatus(len(heard), link=None if domain.parent is None else "detached")
    term, name = max(leading)
    said_so = heard[name]
    link = None if domain.parent is None else said_so.link or "detached"
    return DomainStatus(len(heard), name, term, said_so.rindex, link, said_so.lag, said_so.told)
