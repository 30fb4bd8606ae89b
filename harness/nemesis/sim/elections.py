"""Patterns of small faults that make elections hard, as an adversary would arrange them.

What breaks a consensus protocol is seldom one long fault. It is a leader that falls before it
told everybody, two candidates at once, an old leader that comes back a moment too early. Such
meetings are rare when faults strike by themselves; here they are arranged, again and again as
long as the fault is in force. Everything is made of means that the other kinds use as well.

The pattern of a fault is drawn from its parameter ``draws``.
"""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import permutations

from ...rng import Rng
from ...sim.environment import MS, PPM, S
from ..fault import Fault
from ..kind import Kind, ranges, until
from .nodes import OnNodes
from .scene import DOWN, UP, SimScene

LOOK_S = 0.002                   # how often it is looked who leads
ARRANGE_S = 10.0                 # and how long it may take until one was told to its end
PATIENCE_S = 3.0                 # how long a step of a story may take
JUMP_NS = 100 * S                # of a clock: longer than any election timeout
HOWS = ("kill", "power-loss", "pause", "alone", "companion", "deaf", "dumb", "reset")


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


def between(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """Return both ways between the members of two groups."""
    return [pair for a in one for b in other if a != b for pair in ((a, b), (b, a))]


@dataclass(frozen=True)
class ElectionStorm(Pattern):
    """Whoever leads is struck within moments, in a way that is drawn anew each time."""

    name: str = "election-storm"
    cls: str = "crash"
    parameters = ranges(hold_ms=(5, 900), rest_ms=(1, 300), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        _, leader = await next_leader(scene)
        await rest(rng, 60)
        if scene.state(leader) != UP:
            return False
        others = [host for host in range(len(scene.names)) if host != leader]
        how = rng.choice(HOWS)
        hold_ms = fault.parameters["hold_ms"]
        if how in ("kill", "power-loss"):
            async with down(scene, [leader], how):
                seen = scene.state(leader) == DOWN
                await rest(rng, hold_ms)
        elif how == "pause":
            scene.world.pause(leader)
            seen = scene.state(leader) != UP
            try:
                await rest(rng, hold_ms)
            finally:
                scene.world.resume(leader)
        elif how == "reset":
            before = scene.world.counters()["resets"]
            for other in others:
                scene.world.reset(leader, other)
            seen = scene.world.counters()["resets"] > before
        else:
            seen = await self._cut_off(scene, fault, leader, others, how, rng)
        return seen

    async def _cut_off(self, scene: SimScene, fault: Fault, leader: int, others: list[int],
                       how: str, rng: Rng) -> bool:
        few = [leader, rng.choice(others)] if how == "companion" else [leader]
        many = [host for host in others if host not in few]
        pairs = between(few, many)
        if how in ("deaf", "dumb"):
            pairs = [pair for pair in pairs if (pair[0] == leader) == (how == "deaf")]
        async with apart(scene, pairs):
            await rest(rng, fault.parameters["hold_ms"])
            return not any(scene.world.hears(*pair) for pair in pairs)


@dataclass(frozen=True)
class ElectionContest(Pattern):
    """Two nodes stand for election at the same moment, and who gives a vote crashes at once.

    Clients are silent before it, so that the logs are alike and either of the two may win; the
    two can't hear each other, so that none learns of the other's victory.
    """

    name: str = "election-contest"
    cls: str = "crash"
    parameters = ranges(vote_ppm=(100_000, 1_000_000), down_ms=(1, 60), rest_ms=(50, 600),
                        draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        term, leader = await next_leader(scene)
        pair = [host for host in rng.shuffled(range(len(scene.names)))
                if host != leader and scene.state(host) == UP][:2]
        if len(pair) < 2:
            return False
        silence = between(range(len(scene.names)), scene.pools())
        async with apart(scene, silence):
            await rest(rng, 80)
            async with apart(scene, between(pair[:1], pair[1:])):
                scene.set_points(fault.id, {"vote": min(fault.parameters["vote_ppm"], PPM)},
                                 fault.parameters["down_ms"] * MS)
                try:
                    for host in pair:
                        scene.world.clock_bump(host, JUMP_NS)
                    await asyncio.sleep(0.2 + rng.uniform(0, 0.2))
                finally:
                    scene.set_points(fault.id, {}, 0)
                return any(newest > term for newest, _ in scene.world.leaders())


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
        companion, *others = [host for host in rng.shuffled(range(len(scene.names)))
                              if host != first]
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
                    world.clock_bump(second, JUMP_NS)
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


def last_index(scene: SimScene, host: int) -> int:
    """Return the index of a node's newest entry, -1 while it is down."""
    status = scene.world.status(host)
    return -1 if status is None else int(status["last_index"])


KINDS: tuple[Kind[SimScene], ...] = (ElectionStorm(), ElectionContest(), FigureEight())

