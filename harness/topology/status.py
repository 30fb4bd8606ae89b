"""What is known of a running tree: each node's own words, put together by domain.

How a node is asked is the caller's: ``gather`` takes a callable. A node that does not answer is
None; of several that say they lead, the one of the newest term is believed. How a link is, its
child knows; that the child is excluded, the parent.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

from .tree import Domain, Node, Tree

LinkState = Literal["detached", "attaching", "snapshot", "catching-up", "streaming", "excluded"]
EXCLUDED: Final = "excluded"
NS = 1_000_000_000
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

    link: of its domain to the parent, where it leads a child. excluded: the ids of its own
    children that do not count at present, where it leads their parent.
    """

    leads: bool
    term: int
    rindex: int | None = None
    link: LinkState | None = None
    lag: Lag = Lag()
    excluded: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class DomainStatus:
    """What is known of one domain. leader: its node's name; answering: how many nodes do."""

    answering: int
    leader: str | None = None
    term: int | None = None
    rindex: int | None = None
    link: LinkState | None = None
    lag: Lag = Lag()


Ask = Callable[[Domain, Node], NodeStatus | None]


def said(status: Mapping[str, Any]) -> NodeStatus:
    """Return what our own node's status says (``python -m seatrial.core status``)."""
    domain = status.get("domain") or {}
    uplink = domain.get("uplink") or {}
    state, lag_ns = uplink.get("state"), uplink.get("lag_ns")
    return NodeStatus(
        status["role"] == "leader", int(status["term"]), domain.get("applied_rindex"),
        state if state in LINK_STATES else None,
        Lag(uplink.get("lag_entries"), None, None if lag_ns is None else lag_ns / NS),
        frozenset(int(id) for id, child in (domain.get("children") or {}).items()
                  if child.get("state") == EXCLUDED))


def gather(tree: Tree, ask: Ask) -> dict[str, DomainStatus]:
    """Ask every node; return what is known of each domain, by name."""
    answers = {domain.name: {node.name: ask(domain, node) for node in domain.nodes}
               for domain in tree.domains}
    found = {domain.name: summed(domain, answers[domain.name]) for domain in tree.domains}
    for domain in tree.domains:
        leader = answers[domain.name].get(found[domain.name].leader or "")
        for child in tree.children(domain.name):
            if leader is not None and child.number in leader.excluded:
                found[child.name] = replace(found[child.name], link=EXCLUDED)
    return found


def summed(domain: Domain, said: Mapping[str, NodeStatus | None]) -> DomainStatus:
    """Return what the nodes of one domain say together."""
    heard = {name: status for name, status in said.items() if status is not None}
    leading = [(status.term, name) for name, status in heard.items() if status.leads]
    if not leading:
        return DomainStatus(len(heard), link=None if domain.parent is None else "detached")
    term, name = max(leading)
    said_so = heard[name]
    link = None if domain.parent is None else said_so.link or "detached"
    return DomainStatus(len(heard), name, term, said_so.rindex, link, said_so.lag)
