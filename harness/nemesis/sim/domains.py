"""Faults of domains and of pools of clients, aimed as the real ones are."""
from __future__ import annotations

from dataclasses import dataclass

from ...rng import Rng
from .. import domains, pools
from ..fault import Fault, FaultError
from ..kind import Kind
from ..partition import Partition
from .links import BOTH, SimPartition, ways
from .nodes import Crash
from .scene import SimScene


@dataclass(frozen=True)
class DomainCrash(Crash):
    """All that was aimed at falls at the same time."""

    def impossible(self, scene: SimScene) -> str | None:
        return domains.no_children(scene)

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        fault.targets = domains.untouched(
            scene, fault, await domains.FALLS[self.name](scene, rng))


@dataclass(frozen=True)
class SimPoolCut(Kind[SimScene]):
    """A pool of clients and all nodes lose sight of each other."""

    name: str = pools.NAME
    cls: str = "omission"

    def impossible(self, scene: SimScene) -> str | None:
        return pools.no_pools(scene)

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        fault.targets = pools.choose(scene, fault, rng)

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
        order = list(scene.test.pools)
        ends = [scene.pools()[order.index(pool)] for pool in pools.pools_of(fault)]
        return ways(range(len(scene.names)), ends, BOTH)


KINDS = (
    SimPoolCut(),
    *(SimPartition(real, real.name) for real in domains.KINDS if isinstance(real, Partition)),
    *(DomainCrash(name, "kill") for name in domains.FALLS))
