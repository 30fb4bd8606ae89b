"""Patterns of small faults, as an adversary would arrange them: what they are made of.

What breaks a consensus protocol is seldom one long fault. It is a leader that falls before it
told everybody, two candidates at once, an old leader that comes back a moment too early. Such
meetings are rare when faults strike by themselves; here they are arranged, again and again as
long as the fault is in force (elections.py, stories.py). Everything is made of means that the
other kinds use as well. What is left to chance is drawn from the fault's parameter ``draws``.
"""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ...rng import Rng
from ...sim.environment import MS, S
from ..fault import Fault
from ..kind import until
from .nodes import OnNodes, all_up
from .scene import BROKEN, UP, SimScene

LOOK_S = 0.002                   # how often it is looked who leads
ARRANGE_S = 10.0                 # and how long it may take until one was told to its end
PATIENCE_S = 3.0                 # how long a step of a story may take
JUMP_NS = 100 * S                # of a clock: longer than any election timeout


class Pattern(OnNodes):
    """Something that is arranged over and over, anywhere in the cluster.

    ``readings`` counts how often it was carried out, and seen to be.
    """

    min_nodes = 3

    def impossible(self, scene: SimScene) -> str | None:
        count = len(scene.names)
        if count < self.min_nodes:
            return f"needs at least {self.min_nodes} nodes, there are {count}"
        return None

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        fault.targets = list(scene.names)

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.readings[fault.id] = 0
        scene.goes_on(fault, self._repeat(scene, fault))

    async def _repeat(self, scene: SimScene, fault: Fault) -> None:
        rng = Rng(fault.parameters["draws"])
        while True:
            if await self.arrange(scene, fault, rng):
                scene.readings[fault.id] += 1
            await rest(rng, fault.parameters["rest_ms"])

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        """Do it once, and undo it; return whether it was seen to happen."""
        raise NotImplementedError

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        async def has_happened() -> bool:
            return int(scene.readings[fault.id]) > 0

        await until(has_happened, ARRANGE_S, "it could not be arranged")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        await scene.end_task(fault.id)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        """Wait until all nodes are up, but for those that another fault has broken."""
        await all_up(scene, [name for name in scene.names
                             if scene.state(scene.host(name)) != BROKEN])


async def rest(rng: Rng, most_ms: int) -> None:
    """Wait for a drawn time; short ones are as likely as long ones."""
    await asyncio.sleep(most_ms / 1000 * rng.uniform(0, 1) * rng.uniform(0, 1))


async def next_leader(scene: SimScene, after_term: int = 0) -> tuple[int, int]:
    """Wait until a node leads in a later term than that; return (term, host)."""
    while True:
        for term, host in scene.world.leaders():
            if term > after_term and scene.state(host) == UP:
                return term, host
        await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def apart(scene: SimScene, pairs: Sequence[tuple[int, int]]) -> AsyncIterator[None]:
    """Cut (receiver, sender) pairs for a while."""
    handle = scene.cut_in_passing(pairs)
    try:
        yield
    finally:
        scene.lift_passing(handle)


@asynccontextmanager
async def down(scene: SimScene, hosts: Sequence[int], how: str = "kill") -> AsyncIterator[None]:
    """Have these nodes down for a while."""
    struck = [host for host in hosts if scene.state(host) == UP]
    for host in struck:
        scene.world.kill(host) if how == "kill" else scene.world.power_loss(host)
    try:
        yield
    finally:
        for host in struck:
            scene.world.start(host)


@asynccontextmanager
async def late(
    scene: SimScene, pairs: Sequence[tuple[int, int]], by_ms: int,
) -> AsyncIterator[None]:
    """Let packets on these ways take longer for a while."""
    handle = scene.world.impair(sorted(pairs), delay_ns=by_ms * MS)
    try:
        yield
    finally:
        scene.world.lift(handle)


def bump(scene: SimScene, *hosts: int) -> None:
    """Let these nodes stand for election now: their clocks jump beyond any timeout, and those of
    all that don't lead far enough for them to vote again. Nothing where leaders have leases, which
    stand on clocks that do not jump."""
    if scene.environment.leases:
        return
    leading = [host for _, host in scene.world.leaders()]
    for host in range(len(scene.names)):
        if host in hosts:
            scene.world.clock_bump(host, JUMP_NS)
        elif host not in leading:
            scene.world.clock_bump(host, scene.world.election_ns(host))


def rising(scene: SimScene, rng: Rng, *beside: int) -> list[int]:
    """Return the voters that are up, but for some, in random order."""
    return [host for host in rng.shuffled(scene.voters())
            if host not in beside and scene.state(host) == UP]


def between(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """Return both ways between the members of two groups."""
    return [pair for a in one for b in other if a != b for pair in ((a, b), (b, a))]


def index_of(scene: SimScene, host: int, what: str) -> int:
    """Return an index that a node's status tells, -1 while it is down."""
    status = scene.world.status(host)
    return -1 if status is None else int(status[what])


def last_index(scene: SimScene, host: int) -> int:
    """Return the index of a node's newest entry, -1 while it is down."""
    return index_of(scene, host, "last_index")
