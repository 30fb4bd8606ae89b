"""The network: partitions with the shapes of the real ones, impairments, broken connections."""
from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

from ...rng import Rng
from ...sim.environment import US
from .. import partition
from ..fault import Fault, FaultError
from ..grudge import pairs
from ..kind import Kind, Range, ranges, until
from ..partition import cut_by, expect_grudge, links
from .nodes import OnNodes
from .scene import SimScene

BOTH, IN, OUT = range(3)          # what ``way`` means: packets to and from the targets, or one way


@dataclass(frozen=True)
class SimPartition(Kind[SimScene]):
    """A partition, aimed as the real one is."""

    real: partition.Partition
    name: str = ""
    cls: str = "omission"

    def impossible(self, scene: SimScene) -> str | None:
        return self.real.too_few(scene)

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        await self.real.aim(scene, fault, rng)

    async def start(self, scene: SimScene, fault: Fault) -> None:
        expect_grudge(fault)
        scene.cut(fault, {(scene.host(a), scene.host(b)) for a, b in pairs(fault.grudge)})

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        cut = pairs(fault.grudge)
        expect_hearing(scene, links(scene) - cut)
        for receiver, sender in sorted(cut):
            if scene.hears(receiver, sender):
                raise FaultError(f"{receiver} still hears {sender}")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        scene.lift(fault.id)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        expect_hearing(scene, pairs(fault.grudge))


def expect_hearing(scene: SimScene, flowing: set[tuple[str, str]]) -> None:
    """Raise FaultError unless these links work, but for those that a fault in force cuts."""
    passing = {(scene.names[a], scene.names[b]) for pairs in scene.passing.values()
               for a, b in pairs if max(a, b) < len(scene.names)}
    for receiver, sender in sorted(flowing - cut_by(scene.active.values()) - passing):
        if not scene.hears(receiver, sender):
            raise FaultError(f"{receiver} doesn't hear {sender}")


@dataclass(frozen=True)
class ClientPartition(OnNodes):
    """The targets and the clients lose sight of each other; the nodes among themselves do not.

    What clients sent meanwhile arrives at the end, also where they no longer wait for it.
    """

    name: str = "partition-clients"
    cls: str = "omission"
    parameters = ranges(way=(0, 2))

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.cut(fault, self._ways(scene, fault))

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        for receiver, sender in self._ways(scene, fault):
            if scene.world.hears(receiver, sender):
                raise FaultError(f"endpoint {receiver} still hears {sender}")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        scene.lift(fault.id)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        """Nothing is to be waited for: what was lifted has no effect from then on."""

    def _ways(self, scene: SimScene, fault: Fault) -> list[tuple[int, int]]:
        hosts = scene.numbers(fault.targets)
        return ways(hosts, scene.pools(), fault.parameters["way"])


def ways(hosts: Iterable[int], peers: Iterable[int], way: int) -> list[tuple[int, int]]:
    """Return the (receiver, sender) of packets between them: ``BOTH``, ``IN`` or ``OUT``."""
    found = set()
    for host, peer in product(hosts, peers):
        found |= {(host, peer)} if way != OUT else set()
        found |= {(peer, host)} if way != IN else set()
    return sorted(found)


@dataclass(frozen=True)
class Impairment(OnNodes):
    """Something happens to the packets of some nodes.

    counter: the fate (World.met) that shows it. ``way``: 0 both, 1 to, 2 from the targets.
    """

    name: str
    cls: str
    counter: str
    parameters: Mapping[str, Range] = field(default_factory=dict)

    async def start(self, scene: SimScene, fault: Fault) -> None:
        ways = self._ways(scene, fault)
        scene.readings[fault.id] = self._hits(scene, fault)
        effects = {name: value for name, value in fault.parameters.items() if name != "way"}
        for name in [name for name in effects if name.endswith("_us")]:
            effects[name.removesuffix("_us") + "_ns"] = effects.pop(name) * US
        scene.impair(fault, ways, effects)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        before = int(scene.readings[fault.id])

        async def has_moved() -> bool:
            return self._hits(scene, fault) > before

        await until(has_moved, scene.prove_s, f"no packet was {self.counter}")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        scene.lift(fault.id)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        """Nothing is to be waited for: what was lifted has no effect from then on."""

    def _hits(self, scene: SimScene, fault: Fault) -> int:
        return scene.world.met(self._ways(scene, fault))[self.counter]

    def _ways(self, scene: SimScene, fault: Fault) -> list[tuple[int, int]]:
        """Return the (receiver, sender) of all packets that it concerns."""
        way = fault.parameters["way"]
        return sorted({pair for host in scene.numbers(fault.targets)
                       for pair in ways([host], scene.peers(host), way)})


@dataclass(frozen=True)
class Reset(OnNodes):
    """The targets' connections break, again and again."""

    name: str = "reset"
    cls: str = "omission"
    parameters = ranges(period_ms=(5, 1000))

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.readings[fault.id] = scene.world.counters()["resets"]
        scene.goes_on(fault, self._break(scene, fault))

    async def _break(self, scene: SimScene, fault: Fault) -> None:
        while True:
            for host in scene.numbers(fault.targets):
                for peer in scene.peers(host):
                    scene.world.reset(host, peer)
            await asyncio.sleep(fault.parameters["period_ms"] / 1000)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        async def has_moved() -> bool:
            return scene.world.counters()["resets"] > int(scene.readings[fault.id])

        await until(has_moved, scene.prove_s, "no connection broke")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        await scene.end_task(fault.id)


KINDS = (
    *(SimPartition(real, real.name) for real in partition.KINDS),
    ClientPartition(),
    Impairment("loss", "omission", "lost", ranges(loss_ppm=(10_000, 500_000), way=(0, 2))),
    Impairment("delay", "timing", "delayed",
               ranges(delay_us=(1000, 250_000), jitter_us=(0, 100_000), way=(0, 2))),
    Impairment("reorder", "timing", "reordered", ranges(reorder_ppm=(10_000, 600_000), way=(0, 2))),
    Impairment("duplicate", "timing", "duplicated",
               ranges(duplicate_ppm=(10_000, 600_000), way=(0, 2))),
    Impairment("corrupt", "arbitrary", "corrupted",
               ranges(corrupt_ppm=(1000, 100_000), way=(0, 2))),
    Impairment("rate", "timing", "limited", ranges(bytes_per_s=(4000, 1_000_000), way=(0, 2))),
    Reset(),
)
