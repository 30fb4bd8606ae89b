"""What an administrator does to a running system, where it can be administered at all.

A system that has an ``administration`` (our node has) can have its members changed, its leadership
handed over, snapshots taken and its nodes restarted one by one: by its own tools, run on its
hosts. A piece of work is a command for one host; done twice it is done once. What undoes it is a
command too, which the nemesis journals on the host before the work begins, so that it needs
nothing of the run that did it.

The first hosts of a test are *founders*; the last ones, ``topology.spares`` in number, have all
that a node needs and no node. A host whose data was removed joins again as another node.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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


class Administration(Protocol):
    """The work, and what proves it. Each method without ``await`` returns a host's command.

    newer_protocol: what ``speaking`` may be told beside the ``protocol`` that nodes begin with;
    None: there is no newer one.
    """

    protocol: int
    newer_protocol: int | None

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
