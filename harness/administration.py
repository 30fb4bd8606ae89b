"""What an administrator does to a running system, where it can be administered at all.

A system that has an ``administration`` (our node has) can have its members changed, its leadership
handed over, snapshots taken, its nodes restarted one by one and its tree of domains changed: by
its own tools, run on its hosts. A piece of work is a command for one host; done twice it is done
once. What undoes it is a command too, which the nemesis journals on the host before the work
begins, so that it needs nothing of the run that did it.

The first hosts of a test are *founders*; the last ones, ``topology.spares`` in number, have all
that a node needs and no node. A host whose data was removed joins again as another node.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from .protocols import Host
    from .test import Test


@dataclass(frozen=True, slots=True)
class Members:
    """Who takes part, as the leader says: names of hosts.

    settled: whether this is in force and no change is under way.
    behind: whom the leader hears -> how many committed entries it lacks.
    """

    leader: str
    term: int
    settled: bool
    voters: frozenset[str]
    learners: frozenset[str] = frozenset()
    behind: Mapping[str, int] = field(default_factory=dict)

    def role(self, name: str) -> str:
        """Return voter, learner or out."""
        return "voter" if name in self.voters else "learner" if name in self.learners else "out"


@dataclass(frozen=True, slots=True)
class Life:
    """What a node says of itself: its process, the protocol it speaks, where its newest snapshot
    ends in the log (0: it has none)."""

    pid: int
    protocol: int = 0
    snapshot: int = 0


@dataclass(frozen=True, slots=True)
class DomainState:
    """A domain in a tree of them, as the root's leader says.

    parent: None: it is the root; then all but its policy means nothing. nodes: number -> address.
    included, held: whether writes wait for it; whether an operator excluded it.
    policy: all, none or any K. max_lag: its bounds, as the system writes them.
    linked_to: the domain from which its leader gets entries at this moment; None: it gets none.
    """

    name: str
    id: int
    parent: str | None
    nodes: Mapping[int, str]
    policy: str = "all"
    sync: bool = False
    included: bool = False
    held: bool = False
    block: bool = False
    exclude_after_ms: int = 0
    max_lag: Mapping[str, Any] | None = None
    readmit_throttle: bool = False
    linked_to: str | None = None

    def alike(self, other: DomainState) -> bool:
        """Whether an administrator would see no difference."""
        return self.wished() == other.wished()

    def wished(self) -> DomainState:
        """Return what of it is an administrator's wish."""
        return replace(self, included=False, linked_to=None)


class TreeAdministration(Protocol):
    """Work on a tree of domains, in the same manner. Domains go by their names."""

    async def tree(self, test: Test) -> Mapping[str, DomainState] | None:
        """Ask the root's leader; None while nobody leads. Bounded by a short time."""

    def excluding(self, test: Test, host: Host, domain: str) -> Sequence[str]:
        """Let writes not wait for a sync domain."""

    def readmitting(self, test: Test, host: Host, domain: str) -> Sequence[str]:
        """Let them wait for it again, and return when they do."""

    def switching(self, test: Test, host: Host, domain: str, *, sync: bool) -> Sequence[str]:
        """Make it sync or async."""

    def counting(self, test: Test, host: Host, domain: str, policy: str) -> Sequence[str]:
        """Say which of its sync children count."""

    def blocking(self, test: Test, host: Host, domain: str, *, block: bool) -> Sequence[str]:
        """Say whether a silent domain is waited for for ever."""

    def moving(self, test: Test, host: Host, domain: str, parent: str) -> Sequence[str]:
        """Have it replicate from another one."""

    def removing(self, test: Test, host: Host, domain: str) -> Sequence[str]:
        """Take one without children out of the tree; its nodes go on running."""

    def adding(self, test: Test, host: Host, domain: DomainState) -> Sequence[str]:
        """Put one into the tree."""


class Administration(Protocol):
    """The work, and what proves it. Each method without ``await`` returns a host's command.

    newer_protocol: what ``speaking`` may be told beside the ``protocol`` that nodes begin with;
    None: there is no newer one. trees: how a tree of domains is changed; None: it knows of none.
    """

    protocol: int
    newer_protocol: int | None
    trees: TreeAdministration | None

    async def members(self, test: Test) -> Members | None:
        """Ask the leader; None while nobody leads. Bounded by a short time."""

    async def lives(self, test: Test) -> Mapping[str, Life]:
        """Ask all nodes; those that answer, by name. Bounded by a short time."""

    def joining(self, test: Test, host: Host, *, learner: bool = False) -> Sequence[str]:
        """Make its node a voter (a learner), a new one where it has none."""

    def leaving(self, test: Test, host: Host) -> Sequence[str]:
        """Take its node out of the members, end it, remove its data."""

    def demoting(self, test: Test, host: Host) -> Sequence[str]:
        """Take its node's vote."""

    def replacing(self, test: Test, old: Host, new: Host) -> Sequence[str]:
        """On ``new``: put a new node there in the place of the old host's, in one change."""

    def handing_over(self, test: Test, host: Host, to: Host | None = None) -> Sequence[str]:
        """Have another node lead (this one)."""

    def starting(self, test: Test, host: Host) -> Sequence[str]:
        """Start its node where it has one and it does not run."""

    def restarting(self, test: Test, host: Host) -> Sequence[str]:
        """Let its node end as it does when it is asked to, and start it."""

    def speaking(self, test: Test, host: Host, protocol: int) -> Sequence[str]:
        """Restart its node as one that speaks this protocol, unless it does."""

    def taking_snapshot(self, test: Test, host: Host) -> Sequence[str]:
        """Have its node take a snapshot of what it has applied."""


@runtime_checkable
class Administered(Protocol):
    """A system that can be administered."""

    @property
    def administration(self) -> Administration:
        """How."""
