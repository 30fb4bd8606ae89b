"""What a run would do where, found out without doing it: ``seatrial plan``.

The very kinds of faults that a run would carry out are asked whether they can, in a scene whose
agents were never installed. What the hosts of an inventory can do is looked at (hosts/survey.py);
hosts of our own worlds don't exist yet, so of them only what their kind rules out is told.
"""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .hosts.inventory import InventoryWorld, is_inventory
from .hosts.local import LocalWorld
from .hosts.plan import VM
from .hosts.plan import plan as lab
from .hosts.survey import Surveyed, look
from .hosts.vm.machine import Machine
from .hosts.vm.world import VirtualWorld
from .launch import POOLS, Plan
from .nemesis.catalogue import kinds
from .nemesis.hosts import HostScene
from .test import Test
from .testfile import Spec

NOT_OWN = "hosts share it with the machine that they are on"


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """A host and its part. trouble: why it can't be used."""

    name: str
    address: str
    part: str
    about: str = ""
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault of the test. impossible: why it can't work there."""

    name: str
    cls: str
    impossible: str | None


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that was not made."""

    hosts: list[PlannedHost]
    faults: list[PlannedFault]


def planned(chosen: Plan) -> Planned:
    """Say what a run would do, and change nothing."""
    world, found = _world(chosen)
    try:
        scene = HostScene(Test(chosen.spec, chosen.seed, world, chosen.system, chosen.workload),
                          chosen.spec.faults.targets)
        scene.agents.cannot = {seen.host: seen.cannot for seen in found}
        parts = _parts(chosen.spec)
        by_name = {seen.host: seen for seen in found}
        return Planned(
            [PlannedHost(host.name, host.ipv4, parts[at], by_name[host.name].about,
                         by_name[host.name].error) for at, host in enumerate(world.hosts)],
            [PlannedFault(name, kind.cls, kind.impossible(scene))
             for name, kind in kinds(chosen.spec.faults.names, world.name).items()])
    finally:
        world.close()


def _world(chosen: Plan) -> tuple[Any, Sequence[Surveyed]]:
    """Return the world, not up, and what its hosts can do."""
    request, topology = chosen.request, chosen.spec.topology
    if is_inventory(request.world):
        path = Path(request.world)
        InventoryWorld.enter(path)
        world = InventoryWorld(path, topology.nodes)
        return world, asyncio.run(look(world))
    virtual = request.world == VM
    shape = lab("planned", topology.nodes, tuple(topology.pools) or POOLS,
                topology.machine.machine if virtual else None)
    ours = VirtualWorld(shape, None) if virtual else LocalWorld(shape, None)
    cannot = {} if virtual else {"clock": NOT_OWN, "disk": NOT_OWN}
    return ours, [Surveyed(host.name, None, _size(topology.machine.machine) if virtual else
                           "a namespace of this machine", cannot) for host in ours.hosts]


def _parts(spec: Spec) -> list[str]:
    """Return what each host would be, in the order of the hosts."""
    tree = spec.topology.tree()
    parts = [f"node of {tree.domains_on(node.name)[0].name}" for node in tree.nodes]
    spares = spec.topology.spares
    return [*parts[:len(parts) - spares], *["spare"] * spares]


def _size(machine: Machine) -> str:
    return f"{machine.memory_mb} MB, {machine.cpus} CPU, {machine.data_mb} MB at /data"
