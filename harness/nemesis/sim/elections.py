"""Elections made hard: leaders that fall at once, candidates that meet, votes that come late."""
from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ...rng import Rng
from ...sim.environment import MS, PPM
from ..fault import Fault
from ..kind import Kind, ranges
from .patterns import Pattern, apart, between, bump, down, late, next_leader, rest, rising
from .scene import DOWN, UP, SimScene

HOWS = ("kill", "power-loss", "pause", "alone", "companion", "deaf", "dumb", "reset")


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
    parameters = ranges(vote_ppm=(100_000, 1_000_000), down_ms=(1, 60), rest_ms=(200, 900),
                        draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        term, leader = await next_leader(scene)
        pair = rising(scene, rng, leader)[:2]
        if len(pair) < 2:
            return False
        silence = scene.cut_in_passing(between(range(len(scene.names)), scene.pools()))
        try:
            await rest(rng, 80)
            async with apart(scene, between(pair[:1], pair[1:])):
                scene.set_points(fault.id, {"vote": min(fault.parameters["vote_ppm"], PPM)},
                                 fault.parameters["down_ms"] * MS)
                bump(scene, *pair)
                await asyncio.sleep(0.05)
                scene.lift_passing(silence)
                await asyncio.sleep(0.15 + rng.uniform(0, 0.2))
                return any(newest > term for newest, _ in scene.world.leaders())
        finally:
            scene.set_points(fault.id, {}, 0)
            scene.lift_passing(silence)


@dataclass(frozen=True)
class SplitVote(Pattern):
    """Two candidates get the votes of one node each, again and again, and nobody else's.

    Their connections break and come back, so that they ask again; and in datagrams every answer
    comes twice. Whoever counts answers instead of voters has two leaders in one term.
    """

    name: str = "split-vote"
    cls: str = "omission"
    min_nodes = 4
    parameters = ranges(hold_ms=(150, 900), rest_ms=(50, 600), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        term, leader = await next_leader(scene)
        order = [*rising(scene, rng, leader), leader]
        if len(order) < 4:
            return False
        first, second, *others = order
        pairs = [(first, others[0]), (second, others[1])]
        alone = between(range(len(scene.names)), range(len(scene.names)))
        together = {way for one, other in pairs for way in between([one], [other])}
        async with apart(scene, sorted(set(alone) - together)):
            handle = scene.world.impair(sorted(together), duplicate_ppm=PPM)
            try:
                bump(scene, first, second)
                for _ in range(3):
                    await rest(rng, fault.parameters["hold_ms"] // 3)
                    for pair in pairs:
                        scene.world.reset(*pair)
                await asyncio.sleep(0.15)
            finally:
                scene.world.lift(handle)
            return not (any(newest > term for newest, _ in scene.world.leaders())
                        or scene.world.hears(first, second))


@dataclass(frozen=True)
class LateVotes(Pattern):
    """Votes for one candidacy arrive when their candidate stands again, against a new leader.

    Clients are silent, or the one whose packets come late would lack entries, and get no votes.
    """

    name: str = "late-votes"
    cls: str = "timing"
    parameters = ranges(late_ms=(100, 290), rest_ms=(50, 600), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        term, leader = await next_leader(scene)
        pair = rising(scene, rng, leader)[:2]
        if len(pair) < 2:
            return False
        first, second = pair
        deaf = [(first, host) for host in range(len(scene.names)) if host != first]
        late_ms = fault.parameters["late_ms"]
        silence = between(range(len(scene.names)), scene.pools())
        async with apart(scene, silence), late(scene, deaf, late_ms):
            await asyncio.sleep(late_ms / 1000 + 0.05)
            bump(scene, first)
            await asyncio.sleep(late_ms / 4000)
            bump(scene, second)
            await asyncio.sleep(late_ms / 4000)
            won = any(newest > term and host == second for newest, host in scene.world.leaders())
            bump(scene, first)
            await asyncio.sleep(late_ms / 1000)
            return won


KINDS: tuple[Kind[SimScene], ...] = (
    ElectionStorm(), ElectionContest(), SplitVote(), LateVotes())
