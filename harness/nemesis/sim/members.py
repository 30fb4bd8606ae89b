"""Who takes part: members come and go, leadership is handed over, and all that under other faults.

An administrator's request reaches the leader directly. Nobody waits for a good moment, and not
always for the end of the change before. What is left to chance is drawn from ``draws``. When a
fault ends, as many nodes vote as at the beginning.
"""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations

from ...rng import Rng
from ...sim.environment import MS
from ...sim.membership import BadConfiguration, Change, Configuration
from ..domains import no_children
from ..fault import Fault
from ..grudge import majority
from ..kind import Kind, ranges
from .patterns import (
    LOOK_S,
    PATIENCE_S,
    Pattern,
    between,
    bump,
    down,
    next_leader,
    rising,
)
from .scene import UP, SimScene, restored

DONE_S = 1.0            # how long a change is waited for


class Membership(Pattern):
    """Other members are asked for, again and again."""

    min_nodes = 2
    needs_spares = False

    def impossible(self, scene: SimScene) -> str | None:
        if no_children(scene) is None:
            return "members of one domain among several can't be changed yet"
        if self.needs_spares and len(scene.world.voters(0)) == len(scene.names):
            return "needs a node that is no member at first (topology.spares)"
        return super().impossible(scene)

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        _, leader = await next_leader(scene)
        scene.changed_members = True
        now = scene.world.configuration(leader)
        if now is None or not (wishes := self.wishes(scene, now, rng)):
            return False
        patient = rng.below(4) > 0
        if not ask(scene, leader, wishes):
            await asyncio.sleep(LOOK_S)
            return False
        return not patient or await done(scene, now)

    def wishes(self, scene: SimScene, now: Configuration, rng: Rng) -> list[Change]:
        """Return what to ask for."""
        raise NotImplementedError

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        await super().prove_recovery(scene, fault)
        if not any(other.name.startswith("member-") for other in scene.others(fault)):
            await restored(scene, scene.recover_s)


def ask(scene: SimScene, leader: int, wishes: Sequence[Change]) -> bool:
    """Ask a leader for other members; return whether it set about it."""
    try:
        return scene.world.change(leader, wishes)
    except BadConfiguration:
        return False


async def done(scene: SimScene, before: Configuration) -> bool:
    """Wait, but not for long, until other members are agreed on; return whether they are."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DONE_S):
            while True:
                for _, host in scene.world.leaders()[:1]:
                    if scene.world.settled(host) and scene.world.configuration(host) != before:
                        return True
                await asyncio.sleep(LOOK_S)
    return False


def outside(scene: SimScene, now: Configuration, rng: Rng) -> list[int]:
    """Return the nodes that are up and no members, in random order."""
    return [host + 1 for host in rng.shuffled(range(len(scene.names)))
            if host + 1 not in now.nodes and scene.state(host) == UP]


def shuffled(rng: Rng, nodes: frozenset[int]) -> list[int]:
    """Return nodes in random order."""
    return list(rng.shuffled(sorted(nodes)))


@dataclass(frozen=True)
class MemberAdd(Membership):
    """A node joins, at once or as a learner first; when nobody is left outside, one leaves."""

    name: str = "member-add"
    cls: str = "membership"
    needs_spares = True
    parameters = ranges(rest_ms=(1, 900), draws=(0, 1 << 32))

    def wishes(self, scene: SimScene, now: Configuration, rng: Rng) -> list[Change]:
        if now.learners:
            return [Change("voter", shuffled(rng, now.learners)[0])]
        if found := outside(scene, now, rng):
            return [Change(rng.choice(("voter", "learner")), found[0])]
        return [Change("remove", shuffled(rng, now.voters)[0])]


@dataclass(frozen=True)
class MemberRemove(Membership):
    """A voter leaves, whoever leads not excepted, and another one joins later."""

    name: str = "member-remove"
    cls: str = "membership"
    parameters = ranges(rest_ms=(1, 900), draws=(0, 1 << 32))

    def wishes(self, scene: SimScene, now: Configuration, rng: Rng) -> list[Change]:
        few = len(now.voters) <= majority(len(scene.world.voters(0)))
        found = outside(scene, now, rng)
        if found and (few or rng.below(3) == 0):
            return [Change("voter", found[0])]
        leaders = [host + 1 for _, host in scene.world.leaders() if host + 1 in now.voters]
        node = leaders[0] if leaders and rng.below(3) == 0 else shuffled(rng, now.voters)[0]
        return [Change("remove", node)] if len(now.voters) > 1 else []


@dataclass(frozen=True)
class MemberReplace(Membership):
    """One leaves and one joins in the same change, by way of a joint configuration."""

    name: str = "member-replace"
    cls: str = "membership"
    needs_spares = True
    parameters = ranges(rest_ms=(1, 900), draws=(0, 1 << 32))

    def wishes(self, scene: SimScene, now: Configuration, rng: Rng) -> list[Change]:
        found = outside(scene, now, rng)
        return [Change("remove", shuffled(rng, now.voters)[0]),
                Change("voter", found[0])] if found else []


@dataclass(frozen=True)
class MemberChurn(Membership):
    """Many change at once: voters leave or become learners, learners and others become voters."""

    name: str = "member-churn"
    cls: str = "membership"
    min_nodes = 3
    parameters = ranges(rest_ms=(1, 900), draws=(0, 1 << 32))

    def wishes(self, scene: SimScene, now: Configuration, rng: Rng) -> list[Change]:
        nodes = rng.shuffled(range(1, len(scene.names) + 1))
        least = majority(len(scene.world.voters(0)))
        count = least + rng.below(len(nodes) - least + 1)
        wishes = [Change("voter", node) for node in nodes[:count] if node not in now.voters]
        return wishes + [Change(rng.choice(("learner", "remove")), node) for node in nodes[count:]
                         if node in now.nodes or rng.below(3) == 0]


@dataclass(frozen=True)
class TransferLeader(Pattern):
    """Whoever leads is asked to let another voter lead."""

    name: str = "transfer-leader"
    cls: str = "membership"
    min_nodes = 2
    parameters = ranges(rest_ms=(1, 900), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        term, leader = await next_leader(scene)
        voters = [host for host in scene.voters() if host != leader]
        if not voters or not scene.world.transfer(leader, to := rng.choice(voters)):
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(DONE_S):
                return (await next_leader(scene, term))[1] == to
        return False


@dataclass(frozen=True)
class MemberRace(Membership):
    """Two leaders change the members, each before it can know of the other's change.

    The story of Ongaro's "bug in single-server membership changes" (raft-dev, 2015). A leader
    that has lost its companions asks for new ones, once or twice, or for a cluster of those that
    it still hears; the others elect another one, which loses some of them as it is elected, and
    asks for a change as well; it falls, and the first one returns. ``delay_ms``: of all packets
    between nodes, so that there is time to act.
    """

    name: str = "member-race"
    cls: str = "membership"
    min_nodes = 4
    parameters = ranges(delay_ms=(2, 20), rest_ms=(1, 300), draws=(0, 1 << 32))

    async def arrange(self, scene: SimScene, fault: Fault, rng: Rng) -> bool:
        hosts = range(len(scene.names))
        scene.changed_members = True
        _, leader = await next_leader(scene)
        now = scene.world.configuration(leader)
        if now is None:
            return False
        if len(now.voters) % 2 and rng.below(4):        # majorities of an even number are tight
            found = outside(scene, now, rng)
            wish = Change("voter", found[0]) if found and rng.below(2) else Change(
                "remove", next(n for n in shuffled(rng, now.voters) if n != leader + 1))
            if not ask(scene, leader, [wish]) or not await done(scene, now):
                return False
            await asyncio.sleep(0.1)                    # so that all know that it is done
        delay_ms = fault.parameters["delay_ms"]
        handle = scene.world.impair(sorted(permutations(hosts, 2)), delay_ns=delay_ms * MS)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._play(scene, rng, delay_ms / 1000)
        except TimeoutError:
            return False
        finally:
            scene.world.lift(handle)

    async def _play(self, scene: SimScene, rng: Rng, delay_s: float) -> bool:
        term, first = await next_leader(scene)
        now = scene.world.configuration(first)
        others = rising(scene, rng, first)
        if now is None or len(others) < majority(len(now.voters)):
            return False
        spares = [node - 1 for node in outside(scene, now, rng)]
        few = [first, *spares, *others[:rng.below(2)]]
        many = [host for host in rng.shuffled(others) if host not in few]
        cuts = [scene.cut_in_passing(between(few, many))]
        try:
            asked = self._first_asks(scene, first, few, many, spares, rng)
            await asyncio.sleep(delay_s)
            bump(scene, many[0])
            newer, second = await self._elected(scene, term, delay_s)
            companions = [host for host in many if host != second]
            left = companions[:max(1, len(companions) // 2)]
            away = [host for host in many if host not in left]
            cuts.append(scene.cut_in_passing(between(left, away)))
            ask(scene, second, [Change("remove", rng.choice([first, *left]) + 1)])
            await asyncio.sleep(delay_s * rng.uniform(3, 8))
            async with down(scene, away, rng.choice(("kill", "power-loss"))):
                for cut in cuts:        # only now, for what they held back would arrive
                    scene.lift_passing(cut)
                for _ in range(3):      # first it hears of the newer term
                    bump(scene, first)
                    await asyncio.sleep(delay_s * 8)
            return asked and newer > term
        finally:
            for cut in cuts:
                scene.lift_passing(cut)

    def _first_asks(self, scene: SimScene, first: int, few: Sequence[int], many: Sequence[int],
                    spares: Sequence[int], rng: Rng) -> bool:
        how = rng.below(4)
        if how == 0:                    # a cluster of those that it hears
            return ask(scene, first, [
                *(Change("voter", host + 1) for host in few if host != first),
                *(Change("remove", host + 1) for host in many)])
        wishes = [Change("voter", host + 1) for host in spares]
        wishes += [Change("remove", host + 1) for host in many[:2]]
        count = 1 + rng.below(2)
        return sum(ask(scene, first, [wish]) for wish in wishes[:count]) > 0

    async def _elected(self, scene: SimScene, term: int, delay_s: float) -> tuple[int, int]:
        """Wait until another one leads, and see it at once."""
        while True:
            for newer, host in scene.world.leaders():
                if newer > term:
                    return newer, host
            await asyncio.sleep(delay_s / 8)


KINDS: tuple[Kind[SimScene], ...] = (
    MemberAdd(), MemberRemove(), MemberReplace(), MemberChurn(), TransferLeader(), MemberRace())
