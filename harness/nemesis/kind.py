"""What a kind of fault is, and the scene it works on.

A kind says how to aim, start, prove, stop and prove the recovery of a fault; it keeps no state,
because several faults of one kind may be in force. When things happen, and what is told of
them, is the nemesis's business (nemesis.py).
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..protocols import Host
from ..rng import Rng
from .agents import Agents
from .fault import Fault, FaultError

if TYPE_CHECKING:
    from ..test import Test

POLL_S = 0.04
T = TypeVar("T")


@dataclass(slots=True)
class Scene:
    """Where faults happen: the run, its agents, and the faults in force.

    prove_s, recover_s: how long to wait for a proof before giving it up.
    targets: how many processes a crash or pause may hit (process.py).
    deaf: why silence of the beacons would prove nothing on these hosts, or None.
    """

    test: Test
    agents: Agents
    targets: Sequence[str]
    prove_s: float = 3.0
    recover_s: float = 15.0
    deaf: str | None = None
    active: dict[str, Fault] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The hosts' names, in the test's order."""
        return [host.name for host in self.test.nodes]

    def hosts(self, names: Iterable[str]) -> list[Host]:
        """Return the hosts with these names."""
        wanted = set(names)
        return [host for host in self.test.nodes if host.name in wanted]

    def others(self, fault: Fault) -> list[Fault]:
        """Return the faults in force beside this one."""
        return [other for other in self.active.values() if other is not fault]

    def cannot(self, work: str) -> str | None:
        """Return the hosts' reasons why their agents can't do something, in one line."""
        return "; ".join(f"{host}: {why[work]}" for host, why in self.agents.cannot.items()
                         if work in why) or None

    async def leaders(self) -> list[Host]:
        """Return who leads now, newest term first; waits a little while nobody does."""
        return await until(lambda: self.test.system.primaries(self.test), self.prove_s,
                           "nobody leads, so no leader can be hit")


class Kind(Protocol):
    """One entry of the catalogue. Every step raises FaultError when it didn't work out.

    name: the fault's, in test files and histories; cls: its failure class (crash, omission,
    timing).
    """

    name: str
    cls: str

    def impossible(self, scene: Scene) -> str | None:
        """Return why it can't work on these hosts, or None."""

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        """Choose targets, and for partitions the grudge. All draws come from ``rng``."""

    async def start(self, scene: Scene, fault: Fault) -> None:
        """Do it."""

    async def prove(self, scene: Scene, fault: Fault) -> None:
        """Return once it is seen to work."""

    async def stop(self, scene: Scene, fault: Fault) -> None:
        """Undo it."""

    async def prove_recovery(self, scene: Scene, fault: Fault) -> None:
        """Return once nothing of it is left."""


async def until(ask: Callable[[], Awaitable[T]], limit_s: float, complaint: str) -> T:
    """Ask again and again until the answer is true; FaultError when it isn't in time."""
    deadline = time.monotonic() + limit_s
    while True:
        answer = await ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise FaultError(complaint)
        await asyncio.sleep(POLL_S)
