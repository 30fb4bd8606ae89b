"""Stories that the literature tells of how consensus goes wrong, played step by step."""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations

from ...rng import Rng
from ...sim.environment import MS, PPM, S
from ..fault import Fault
from ..grudge import majority
from ..kind import Kind, ranges
from .disks import slowness
from .patterns import (
    LOOK_S,
    PATIENCE_S,
    Pattern,
    apart,
    between,
    bump,
    down,
    index_of,
    last_index,
    late,
    next_leader,
    rest,
    rising,
)
from .scene import DOWN, UP, SimScene

GIVEN_UP_S = 0.6            # clients give up a silent node after half a second
SOON_S = 0.0002


@dataclass(frozen=True)
class FigureEight(Pattern):
    """What an older leader left half done meets what a newer one told nobody.

    The story of figure 8 of the Raft paper: a leader shares new entries with one companion only;
    another is elected by the rest and falls before it can tell them; the first two return, and
    spread the old entries as the newest leader; it falls before its own entry is spread; and the
    second one comes back. ``delay_ms``: of all packets between nodes, so that there is time to act.
    """

    name: str = "figure-eight"
    cls: str = "crash"
    min_nodes = 5
    parameters = ranges(delay_ms=(2, 20), rest_ms=(1, 300), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        world, hosts = scene.world, range(len(scene.names))
        if any(scene.state(host) != UP for host in hosts):
            return False
        delay_ms = fault.parameters["delay_ms"]
        handle = world.impair(sorted(permutations(hosts, 2)), delay_ns=delay_ms * MS)
        try:
            return await self._play(scene, fault, rng, delay_ms / 1000)
        finally:
            world.lift(handle)

    async def _play(self, scene: SimScene, fault: Fault, rng: Rng, delay_s: float) -> bool:
        world = scene.world
        term, first = await next_leader(scene)
        companion, *others = rising(scene, rng, first)
        few = [first, companion]
        second = None
        try:
            async with apart(scene, between(few, others)):
                second = await self._leads_and_falls(scene, fault, others)
                old = last_index(scene, first)
            many = [host for host in others if host != second]
            async with asyncio.timeout(PATIENCE_S):
                newer, third = await next_leader(scene, term)
                while not any(last_index(scene, host) >= old for host in many):
                    await asyncio.sleep(delay_s / 8)
            if third not in few:
                return False
            async with apart(scene, [(host, third) for host in many]):
                await asyncio.sleep(delay_s * rng.uniform(1.5, 4))
                async with down(scene, few, rng.choice(("kill", "power-loss"))):
                    world.start(second)
                    await asyncio.sleep(delay_s * 4)
                    bump(scene, second)
                    await asyncio.sleep(delay_s * 8)
                    return newer > term
        except TimeoutError:
            return False
        finally:
            if second is not None:
                world.start(second)

    async def _leads_and_falls(self, scene: SimScene, fault: Fault, hosts: Sequence[int]) -> int:
        """Have one of these lose power as soon as it leads; return which. Raises TimeoutError."""
        scene.set_points(fault.id, {"lead": PPM}, 60 * S)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    for host in hosts:
                        if scene.state(host) == DOWN:
                            return host
                    await asyncio.sleep(LOOK_S)
        finally:
            scene.set_points(fault.id, {}, 0)


@dataclass(frozen=True)
class StaleLeader(Pattern):
    """A leader that is none any more, some of whose clients don't know it either.

    Its followers' packets come ``late_ms`` late, so that it gets answers to its older heartbeats
    when another one leads. Half of the clients can't reach it, and find the new leader at once;
    the other half asks it still. In one of two cases it is paused as well, and what its clients
    ask waits for it: then its newest heartbeat is older than their questions.
    """

    name: str = "stale-leader"
    cls: str = "timing"
    parameters = ranges(late_ms=(100, 450), rest_ms=(100, 900), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        term, old = await next_leader(scene)
        others = rising(scene, rng, old)
        if len(others) < majority(len(scene.voters())):
            return False
        late_ms, paused = fault.parameters["late_ms"], rng.below(2) == 1
        async with late(scene, [(old, host) for host in others], late_ms):
            await asyncio.sleep(late_ms / 1000 + 0.05)
            if scene.state(old) != UP:
                return False
            if paused:
                scene.world.pause(old)
            try:
                async with apart(scene, [(host, old) for host in others]):
                    bump(scene, others[0])
                    with suppress(TimeoutError):
                        async with asyncio.timeout(late_ms / 2000):
                            await next_leader(scene, term)
                    return await self._ask_both(scene, term, old, paused, late_ms, rng)
            finally:
                if paused:
                    scene.world.resume(old)

    async def _ask_both(self, scene: SimScene, term: int, old: int, paused: bool,
                        late_ms: int, rng: Rng) -> bool:
        """Let half of the clients find the new leader; return whether there is one."""
        some = scene.half(2)
        async with apart(scene, between([old], some)):
            for pool in some:
                scene.world.reset(old, pool)
            seen = any(newest > term for newest, _ in scene.world.leaders())
            await asyncio.sleep(late_ms / 1000 * rng.uniform(0.3, 0.9))
            if paused:
                scene.world.resume(old)
            await asyncio.sleep(late_ms / 1000 * rng.uniform(0.1, 1.5))
            return seen


@dataclass(frozen=True)
class BareMajority(Pattern):
    """Two or more nodes are cut off, the others are just a majority, and one of them is killed in
    the middle of a write, by kill -9, by power loss or by one after the other, and comes back.

    Nothing is committed without what its disk holds, so what it says of that counts.
    """

    name: str = "bare-majority"
    cls: str = "crash"
    parameters = ranges(slow_ms=(1, 60), down_ms=(1, 100), rest_ms=(1, 300),
                        draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        _, leader = await next_leader(scene)
        up = rising(scene, rng, leader)
        few = [leader, *up[:majority(len(scene.voters())) - 1]]
        away = [host for host in range(len(scene.names)) if host not in few]
        victim, down_ms = few[-1], fault.parameters["down_ms"]
        if len(few) < majority(len(scene.voters())) or has_disk_fault(scene, victim):
            return False
        async with apart(scene, between(few, away)):
            await rest(rng, 100)
            disk = scene.world.disk(victim)
            disk.slow(slowness(scene, fault.parameters["slow_ms"]))
            try:
                for how in rng.choice((("kill",), ("power-loss",), ("kill", "power-loss"))):
                    await self._writes(scene, victim)
                    async with down(scene, [victim], how):
                        seen = scene.state(victim) == DOWN
                        await rest(rng, down_ms)
                    await rest(rng, 250)
            finally:
                disk.slow(1)
            await asyncio.sleep(0.1)
            await rest(rng, 200)
            return seen

    async def _writes(self, scene: SimScene, host: int) -> None:
        """Wait, but not for long, until a write to its disk is not synced yet."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while not scene.world.disk(host).in_flight:
                    await asyncio.sleep(SOON_S)


@dataclass(frozen=True)
class FreshLeader(Pattern):
    """A leader falls just when it has committed, and the next one, with slow disks around it, is
    asked before it can know what was.

    Its own first entry takes ``slow_ms`` to be committed; its followers confirm that it leads at
    once.
    """

    name: str = "fresh-leader"
    cls: str = "timing"
    parameters = ranges(slow_ms=(5, 120), rest_ms=(50, 600), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        world = scene.world
        term, old = await next_leader(scene)
        others = rising(scene, rng, old)
        slow_ms = fault.parameters["slow_ms"]
        if any(has_disk_fault(scene, host) for host in others):
            return False
        factor = slowness(scene, slow_ms)
        try:
            for host in others:
                world.disk(host).slow(factor)
            await rest(rng, 5 * slow_ms)
            await self._commits(scene, old)
            async with down(scene, [old], rng.choice(("kill", "power-loss"))):
                bump(scene, max(others, key=lambda host: last_index(scene, host)))
                with suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await next_leader(scene, term)
                await asyncio.sleep(slow_ms / 1000 * rng.uniform(1, 3))
                return any(newest > term for newest, _ in world.leaders())
        finally:
            for host in others:
                world.disk(host).slow(1)

    async def _commits(self, scene: SimScene, leader: int) -> None:
        """Wait, but not for long, until it commits something."""
        before = index_of(scene, leader, "commit")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while index_of(scene, leader, "commit") <= before:
                    await asyncio.sleep(SOON_S)


@dataclass(frozen=True)
class LostAnswers(Pattern):
    """A leader's answers to some clients don't arrive, and then their connections break: they ask
    again for what was done."""

    name: str = "lost-answers"
    cls: str = "omission"
    min_nodes = 1
    parameters = ranges(hold_ms=(5, 250), rest_ms=(20, 500), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        _, leader = await next_leader(scene)
        pools = scene.half(rng.below(3))
        before = scene.world.counters()["resets"]
        async with apart(scene, [(pool, leader) for pool in pools]):
            await rest(rng, fault.parameters["hold_ms"])
            for pool in pools:
                scene.world.reset(leader, pool)
        await asyncio.sleep(0.01)
        return scene.world.counters()["resets"] > before


@dataclass(frozen=True)
class OldRequests(Pattern):
    """What clients asked a leader reaches it when it leads again, long after they had it done by
    another.

    The requests are held up on the way; clients give it up, repeat them elsewhere, and go on.
    """

    name: str = "old-requests"
    cls: str = "timing"
    parameters = ranges(done_ms=(20, 800), rest_ms=(50, 900), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        term, old = await next_leader(scene)
        others = rising(scene, rng, old)
        if len(others) < majority(len(scene.voters())):
            return False
        async with apart(scene, [(old, pool) for pool in scene.half(rng.below(3))]):
            await asyncio.sleep(0.1 + rng.uniform(0, 0.2))
            bump(scene, others[0])
            await asyncio.sleep(GIVEN_UP_S)
            await asyncio.sleep(fault.parameters["done_ms"] / 1000)
            others_lead = any(newest > term for newest, _ in scene.world.leaders())
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    bump(scene, old)
                    while (await next_leader(scene, term))[1] != old:
                        await asyncio.sleep(LOOK_S)
        await asyncio.sleep(0.25)
        return others_lead


def has_disk_fault(scene: SimScene, host: int) -> bool:
    """Whether a fault in force has this host's disk for its own."""
    return any(fault.name.startswith("disk-") and scene.names[host] in fault.targets
               for fault in scene.active.values())


KINDS: tuple[Kind[SimScene], ...] = (FigureEight(), StaleLeader(), BareMajority(), FreshLeader(),
                                     LostAnswers(), OldRequests())
