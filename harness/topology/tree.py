"""A tree of domains as plain values: who replicates whom, how, and how far behind it may be.

The words are those of recursive domains: a *domain* is one Raft group of one or more nodes; the
*root* accepts writes; a *child* replicates its *parent's* log through its leader. Nothing here
reads a file (section.py), judges (rules.py) or draws (drawing.py), and nothing depends on where
the nodes run. Times are in seconds.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from .policy import ALL, Policy

Mode = Literal["sync", "async"]
Exclusion = Literal["exclude", "block"]
Consequence = Literal["throttle", "exclude", "stall"]
Promotion = Literal["manual", "automatic"]
Does = Literal["all", "writes", "reads"]


@dataclass(frozen=True, slots=True)
class Node:
    """A member of a domain, on a host of that name. number: its id, counting the file's from 1.

    address: ``host:port`` where the file says it; spare: whether it is no member at first.
    """

    name: str
    number: int
    address: str | None = None
    spare: bool = False


@dataclass(frozen=True, slots=True)
class MaxLag:
    """How far a domain may be behind the root, and what happens once it is further.

    A bound that is None is none. settle: how long after a fault the bounds are in force again.
    """

    entries: int | None = None
    bytes: int | None = None
    time: float | None = None
    then: Consequence = "throttle"
    settle: float = 5.0


@dataclass(frozen=True, slots=True)
class Domain:
    """One Raft group. number: its id on the wire and in epochs, 1 to 65535.

    What belongs to the link to its parent is that of the child: mode, exclusion, max_lag,
    readmit_throttle (whether writers are slowed down so that it can catch up), key (the file with
    its credentials). The policy is the parent's: which sync children count.
    """

    name: str
    number: int
    nodes: tuple[Node, ...]
    parent: str | None = None
    mode: Mode | None = None
    policy: Policy = ALL
    exclusion: Exclusion = "exclude"
    max_lag: MaxLag | None = None
    readmit_throttle: bool = False
    promotion: Promotion = "manual"
    key: str | None = None

    @property
    def members(self) -> tuple[Node, ...]:
        """The nodes that vote from the start."""
        return tuple(node for node in self.nodes if not node.spare)


@dataclass(frozen=True, slots=True)
class Timers:
    """lease: how long one is (L); promise: how long one is (P); drift: of clocks, as a share.

    exclude_after: how long a sync child is silent before it is excluded.
    """

    lease: float = 0.3
    promise: float = 0.3
    exclude_after: float = 1.0
    drift: float = 0.15

    @property
    def silence(self) -> float:
        """What ``exclude_after`` must be more than: a lease, by a slow clock as a fast one sees
        it, and a promise."""
        return self.longest_lease + self.promise

    @property
    def longest_lease(self) -> float:
        """How long a lease may last for its holder, by the clock of who gave it."""
        return self.lease * (1 + self.drift) / (1 - self.drift)


@dataclass(frozen=True, slots=True)
class Pool:
    """Clients with source addresses of their own, and the domain that they talk to."""

    name: str
    domain: str
    does: Does = "all"
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tree:
    """All domains, in the order of the file, and who talks to them. Valid: see rules.py."""

    domains: tuple[Domain, ...]
    pools: tuple[Pool, ...] = ()
    timers: Timers = Timers()

    @cached_property
    def by_name(self) -> dict[str, Domain]:
        """Name -> domain."""
        return {domain.name: domain for domain in self.domains}

    @property
    def root(self) -> Domain:
        """The domain that accepts writes."""
        return next(domain for domain in self.domains if domain.parent is None)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, by number. Domains may share a host, never a node."""
        return tuple(node for domain in self.domains for node in domain.nodes)

    def children(self, name: str) -> tuple[Domain, ...]:
        """Return the direct subordinate domains of one."""
        return tuple(domain for domain in self.domains if domain.parent == name)

    def path(self, name: str) -> tuple[Domain, ...]:
        """Return a domain, its parent, and so on up to the root."""
        found = [self.by_name[name]]
        while (parent := found[-1].parent) is not None:
            found.append(self.by_name[parent])
        return tuple(found)

    def depth(self, name: str) -> int:
        """Return how many links lie between a domain and the root."""
        return len(self.path(name)) - 1

    @property
    def levels(self) -> int:
        """How many levels of domains there are."""
        return 1 + max(self.depth(domain.name) for domain in self.domains)

    def is_sync(self, name: str) -> bool:
        """Whether a write waits for a domain, while all are included and policies say ``all``."""
        return all(domain.mode == "sync" for domain in self.path(name)[:-1])

    @cached_property
    def waited_for(self) -> frozenset[str]:
        """The hosts of all domains but the root that can hold up writes: those that are sync, and
        those for which writers are stalled when they lag."""
        return frozenset(
            node.name for domain in self.domains if domain.parent is not None
            and (self.is_sync(domain.name)
                 or (domain.max_lag is not None and domain.max_lag.then == "stall"))
            for node in domain.nodes)

    def walk(self) -> Iterator[Domain]:
        """Yield every domain, each before its children."""
        def below(domain: Domain) -> Iterator[Domain]:
            yield domain
            for child in self.children(domain.name):
                yield from below(child)

        return below(self.root)

    def domains_on(self, host: str) -> tuple[Domain, ...]:
        """Return the domains that have a node on a host."""
        return tuple(domain for domain in self.domains
                     if any(node.name == host for node in domain.nodes))
