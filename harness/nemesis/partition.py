"""Partitions: a grudge put into the hosts' firewalls, proven by beacons that stay out.

Several may overlap in time, and begin or end while another one is being proven. Each host drops
the union of what the faults in force ask for, so proofs look at all of them, again at each
reading: a link must be silent when this fault cuts it, and must work when no fault does.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocols import Host
from ..rng import Rng
from . import grudge as shapes
from .agents import call, everywhere, stop_everywhere
from .fault import Fault, FaultError
from .grudge import Grudge, hardest_hit, pairs
from .kind import POLL_S, Kind
from .probe import Pair, Probe
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

Shape = Callable[[Sequence[str], Rng], Grudge]


@dataclass(frozen=True)
class Partition(Kind["HostScene"]):
    """A partition of one shape; ``min_nodes`` is the smallest cluster that has it."""

    name: str
    shape: Shape
    min_nodes: int = 2
    cls: str = "omission"

    def impossible(self, scene: HostScene) -> str | None:
        return self.too_few(scene) or scene.cannot("cut") or scene.deaf

    def too_few(self, scene: Scene) -> str | None:
        """Return why the cluster is too small for it, or None."""
        count = len(scene.voting)
        if count >= self.min_nodes:
            return None
        return f"needs at least {self.min_nodes} nodes, there are {count}"

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        if few := self.too_few(scene):
            raise FaultError(few)
        fault.grudge = self.shape(scene.voting, rng)
        fault.targets = hardest_hit(scene.voting, fault.grudge)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        expect_grudge(fault)

        async def cut(host: Host) -> None:
            sources = [address for peer in sorted(fault.grudge[host.name])
                       for address in scene.agents.addresses[peer]]
            await call(host, "cut", id=fault.id, name=fault.name, sources=sources)

        await everywhere(scene.hosts(fault.grudge), cut)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        cut = pairs(fault.grudge)
        await watch(scene, cut, links(scene) - cut, scene.prove_s)

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await stop_everywhere(scene.hosts(fault.grudge), fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await watch(scene, set(), pairs(fault.grudge), scene.recover_s)


@dataclass(frozen=True)
class LeaderPartition(Partition):
    """Isolates whoever leads at the moment that the fault strikes."""

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        leader = (await scene.leaders())[0]
        fault.grudge = shapes.isolate(scene.names, [leader.name])
        fault.targets = [leader.name]


def expect_grudge(fault: Fault) -> None:
    """Refuse a partition of which only targets were given."""
    if not fault.grudge:
        raise FaultError("targets alone don't say who hears whom: give a grudge")


def links(scene: Scene) -> set[Pair]:
    """Return every (receiver, sender)."""
    return {(a, b) for a in scene.names for b in scene.names if a != b}


def cut_by(faults: Iterable[Fault]) -> set[Pair]:
    """Return the links that any of these faults cuts."""
    return {pair for fault in faults for pair in pairs(fault.grudge)}


async def watch(
    scene: HostScene, silent: set[Pair], flowing: set[Pair], limit_s: float,
) -> None:
    """Read the beacons until they prove that these links are silent and those work.

    What some fault in force cuts need not work.
    """
    probe = Probe(scene.agents.addresses, sorted(silent))
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit_s
    while True:
        views = await scene.agents.views()
        verdict = probe.add(views, sorted(flowing - cut_by(scene.active.values())))
        if verdict.proven:
            return
        if verdict.final or clock() > deadline:
            raise FaultError(verdict.reason)
        await asyncio.sleep(POLL_S)


KINDS = (
    Partition("partition-halves", lambda nodes, rng: shapes.halves(nodes)),
    Partition("partition-one", shapes.one),
    Partition("partition-majority", shapes.random_majority),
    Partition("partition-majorities-ring", shapes.majorities_ring, min_nodes=4),
    Partition("partition-bridge", shapes.bridge, min_nodes=3),
    LeaderPartition("partition-leader", shapes.one),
    Partition("partition-one-way", shapes.one_way),
)
