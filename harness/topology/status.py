"""What is known of a running tree: each node's own words, put together by domain.

How a node is asked is the caller's: ``gather`` takes a callable. A node that does not answer is
None; of several that say they lead, the one of the newest term is believed.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from .tree import Domain, Node, Tree

LinkState = Literal["detached", "attaching", "snapshot", "catching-up", "streaming", "excluded"]
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

    link: of its domain to the parent, where it leads a child.
    """

    leads: bool
    term: int
    rindex: int | None = None
    link: LinkState | None = None
    lag: Lag = Lag()


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


def gather(tree: Tree, ask: Ask) -> dict[str, DomainStatus]:
    """Ask every node; return what is known of each domain, by name."""
    return {domain.name: summed(domain, {node.name: ask(domain, node) for node in domain.nodes})
            for domain in tree.domains}


def summed(domain: Domain, said: dict[str, NodeStatus | None]) -> DomainStatus:
    """Return what the nodes of one domain say together."""
    heard = {name: status for name, status in said.items() if status is not None}
    leading = [(status.term, name) for name, status in heard.items() if status.leads]
    if not leading:
        return DomainStatus(len(heard), link=None if domain.parent is None else "detached")
    term, name = max(leading)
    said_so = heard[name]
    link = None if domain.parent is None else said_so.link or "detached"
    return DomainStatus(len(heard), name, term, said_so.rindex, link, said_so.lag)
