"""Disks that are slow, stalled, full, failing, lying or rotten.

Raft stands any of it on a minority of the nodes, but for the lie: a disk that says "synced" and
holds nothing breaks the promise that Raft is built on, and a cluster may then lose what it
acknowledged. ``disk-lost-writes`` exists to see that happen; the swarm never draws it.

A flipped bit stays flipped. The node finds it when it is started the next time. Where it can tell
what is lost it runs on without a vote until its leader has given it back; else it refuses to run,
and counts as gone for good. So many are never hit that no majority would be left. Flips that no
schedule aims even leave room for one more failure, where that is possible.
"""
from __future__ import annotations

from dataclasses import dataclass

from ...rng import Rng
from ...sim.environment import MS
from ..fault import Fault, FaultError
from ..grudge import majority
from ..kind import Kind, ranges, until
from ..process import choose
from .nodes import OnNodes, all_up
from .scene import BROKEN, DOWN, UP, SimScene

FLIPS = 64                  # bits that are tried until one lies where recovery looks


class OnDisks(OnNodes):
    """A fault of some nodes' disks that ends when they are healed. counter: what shows it."""

    counter: str

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.expect(fault.targets, UP)
        scene.readings[fault.id] = {host: self.counted(scene, host)
                                    for host in scene.numbers(fault.targets)}
        for host in scene.numbers(fault.targets):
            self.begin(scene, fault, host)

    def begin(self, scene: SimScene, fault: Fault, host: int) -> None:
        """Let one disk begin."""

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        for host, before in scene.readings[fault.id].items():
            async def has_shown(host: int = host, before: int = before) -> bool:
                return self.counted(scene, host) > before

            await until(has_shown, scene.prove_s, f"{scene.names[host]}: {self.counter} of its "
                                                  f"disk are {before} as before")

    def counted(self, scene: SimScene, host: int) -> int:
        """Return how often one disk has shown it so far."""
        return int(scene.world.disk(host).counters()[self.counter])

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        for host in scene.numbers(fault.targets):
            scene.world.disk(host).heal()
            if scene.state(host) in (BROKEN, DOWN):
                scene.world.start(host)


def slowness(scene: SimScene, sync_ms: int) -> int:
    """Return how many times slower a disk must be for a sync to take so long, at least twice."""
    return max(2, -(-sync_ms * MS // max(1, scene.environment.sync_ns)))


@dataclass(frozen=True)
class DiskSlow(OnDisks):
    """Every sync takes ``sync_ms`` or more."""

    name: str = "disk-slow"
    cls: str = "timing"
    counter = "syncs"
    parameters = ranges(sync_ms=(1, 800))

    async def start(self, scene: SimScene, fault: Fault) -> None:
        await super().start(scene, fault)
        for host, before in scene.readings[fault.id].items():
            scene.readings[fault.id][host] = before, self._busy_ns(scene, host)

    def begin(self, scene: SimScene, fault: Fault, host: int) -> None:
        scene.world.disk(host).slow(slowness(scene, fault.parameters["sync_ms"]))

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        least_ns = scene.environment.sync_ns * slowness(scene, fault.parameters["sync_ms"])
        for host, (syncs, busy_ns) in scene.readings[fault.id].items():
            async def is_slow(host: int = host, syncs: int = syncs, busy_ns: int = busy_ns) -> bool:
                more = self.counted(scene, host) - syncs
                return more > 0 and self._busy_ns(scene, host) - busy_ns >= more * least_ns

            await until(is_slow, scene.prove_s, f"{scene.names[host]}: its disk is not slower")

    def _busy_ns(self, scene: SimScene, host: int) -> int:
        return int(scene.world.disk(host).counters()["busy_ns"])


@dataclass(frozen=True)
class DiskStall(OnDisks):
    """No sync returns."""

    name: str = "disk-stall"
    cls: str = "timing"
    counter = "stalls"

    def begin(self, scene: SimScene, fault: Fault, host: int) -> None:
        scene.world.disk(host).stall()


class LastMajority(OnDisks):
    """A fault that takes nodes away: never so many that no majority would be left."""

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        fault.targets = (await choose(scene, fault, rng))[:spare(scene)]
        if not fault.targets:
            raise FaultError("one more node without a disk, and there would be no majority")

    async def start(self, scene: SimScene, fault: Fault) -> None:
        if len(fault.targets) > spare(scene):
            raise FaultError(f"{len(fault.targets)} more nodes without a disk, and there would be "
                             "no majority")
        await super().start(scene, fault)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        await super().prove(scene, fault)
        scene.expect(fault.targets, BROKEN)


def spare(scene: SimScene) -> int:
    """Return how many more disks may go."""
    voters = scene.voters()
    healthy = [host for host in voters if scene.state(host) != BROKEN]
    return len(healthy) - majority(len(voters))


@dataclass(frozen=True)
class DiskError(LastMajority):
    """Every sync fails with EIO: the node stops, and is started again when the disk is healed."""

    name: str = "disk-error"
    cls: str = "response"
    counter = "errors"

    def begin(self, scene: SimScene, fault: Fault, host: int) -> None:
        scene.world.disk(host).fail()


@dataclass(frozen=True)
class DiskFull(LastMajority):
    """There is no room for another segment (ENOSPC): as ``disk-error``, once one is needed."""

    name: str = "disk-full"
    cls: str = "response"
    counter = "errors"

    def begin(self, scene: SimScene, fault: Fault, host: int) -> None:
        scene.world.disk(host).fill()


@dataclass(frozen=True)
class DiskFlip(LastMajority):
    """A bit of the log flips while the node is down; it starts as damaged, or never again."""

    name: str = "disk-flip"
    cls: str = "response"
    counter = "flips"
    parameters = ranges(bit=(0, 1 << 32))

    def begin(self, scene: SimScene, fault: Fault, host: int) -> None:
        disk, rng = scene.world.disk(host), Rng(fault.parameters["bit"]).split(str(host))
        scene.world.power_loss(host)
        for _ in range(FLIPS):
            if disk.flip(rng.next64()) is None:
                break
            scene.world.start(host)
            if scene.state(host) == BROKEN or scene.world.damaged(host):
                return
            scene.world.power_loss(host)

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        await super().aim(scene, fault, rng)
        gone = [name for name in scene.names if scene.state(scene.host(name)) == BROKEN]
        most = max(1, spare(scene) + len(gone) - 1)
        left = most - len(scene.rotten.union(gone))     # what a majority lost, nobody gives back
        known = [name for name in fault.targets if name in scene.rotten]
        fresh = [name for name in fault.targets if name not in scene.rotten]
        fault.targets = [*known, *fresh[:max(0, left)]]
        if not fault.targets:
            raise FaultError("one more node gone for good, and none could fail any more")
        scene.rotten.update(fault.targets)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        troubles = [scene.world.trouble(host) for host in scene.numbers(fault.targets)
                    if scene.state(host) == BROKEN]
        if troubles:
            raise FaultError(f"gone for good, as is right: {troubles[0]}")
        await all_up(scene, fault.targets)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        await OnDisks.prove(self, scene, fault)
        for host in scene.numbers(fault.targets):
            if scene.state(host) != BROKEN and not scene.world.damaged(host):
                raise FaultError(f"{scene.names[host]}: its disk is damaged, and it did not notice")


@dataclass(frozen=True)
class DiskLostWrites(OnDisks):
    """The disk says "synced" and holds nothing; at the end the power is lost, and shows it."""

    name: str = "disk-lost-writes"
    cls: str = "response"
    counter = "lies"

    def begin(self, scene: SimScene, fault: Fault, host: int) -> None:
        scene.world.disk(host).lie()

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        for host in scene.numbers(fault.targets):
            scene.world.power_loss(host)
        await super().stop(scene, fault)


KINDS: tuple[Kind[SimScene], ...] = (
    DiskSlow(), DiskStall(), DiskError(), DiskFull(), DiskFlip(), DiskLostWrites())
