"""Faults of whole hosts, where the world can switch them off or stop them: virtual machines.

A power loss takes the node, the agent and all that the host had not flushed to its disks. When the
host has booted again its agent is started anew and told to the others; what else had been broken on
it (a firewall's rules, say) is gone with the power, so the other fault is told to have ended early.
"""
from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocols import Freezable, Host, Powered
from ..rng import Rng
from .agents import everywhere
from .fault import Fault, FaultError
from .heal import answers
from .kind import Kind, ranges
from .process import all_recovered, choose
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

POWERLESS = frozenset({"power-loss", "domain-power-loss", "reboot", "disk-lost-writes"})


@dataclass(frozen=True)
class PowerLoss(Kind["HostScene"]):
    """The plug is pulled; power is back, and the node started, when the fault ends."""

    name: str = "power-loss"
    cls: str = "crash"

    def impossible(self, scene: HostScene) -> str | None:
        if isinstance(scene.test.world, Powered):
            return None
        return f"hosts of the world '{scene.test.world.name}' can't be switched off"

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        world = powered(scene)
        await everywhere(scene.hosts(fault.targets),
                         lambda host: asyncio.to_thread(world.power_off, host.name))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        for name in fault.targets:
            if powered(scene).has_power(name):
                raise FaultError(f"{name}: still has power")

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        if any(powered(scene).has_power(name) for name in fault.targets):
            fault.error = "somebody else had switched it on early"
        await switch_on(scene, fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await all_recovered(scene, fault)


@dataclass(frozen=True)
class Reboot(PowerLoss):
    """Power is lost, and is back after ``down_ms``, however long the fault is in force."""

    name: str = "reboot"
    parameters = ranges(down_ms=(1, 1000))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        await super().prove(scene, fault)
        await asyncio.sleep(fault.parameters["down_ms"] / 1000)
        await everywhere(scene.hosts(fault.targets), lambda host: asyncio.to_thread(
            powered(scene).power_on, host.name))

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await switch_on(scene, fault)


@dataclass(frozen=True)
class Freeze(Kind["HostScene"]):
    """All of a host stands still, its clocks too. ``behind``: when it goes on its wall clock stays
    behind; else it is set at once, as a hypervisor's agent does."""

    name: str = "freeze"
    cls: str = "timing"
    parameters = ranges(behind=(0, 1))

    def impossible(self, scene: HostScene) -> str | None:
        if isinstance(scene.test.world, Freezable):
            return None
        return f"hosts of the world '{scene.test.world.name}' can't be stopped as a whole"

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        await everywhere(scene.hosts(fault.targets), lambda host: asyncio.to_thread(
            freezable(scene).freeze, host.name))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        for name in fault.targets:
            if not await asyncio.to_thread(freezable(scene).is_frozen, name):
                raise FaultError(f"{name}: goes on")

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        async def go_on(host: Host) -> None:
            await asyncio.to_thread(freezable(scene).thaw, host.name)
            if not fault.parameters.get("behind"):
                await asyncio.to_thread(freezable(scene).set_clock, host.name)

        await everywhere(scene.hosts(fault.targets), go_on)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await all_recovered(scene, fault)
        if fault.parameters.get("behind"):      # the fault is over, and with it what it left
            await everywhere(scene.hosts(fault.targets), lambda host: asyncio.to_thread(
                freezable(scene).set_clock, host.name))


async def switch_on(scene: HostScene, fault: Fault) -> None:
    """Give the targets power; return when they have booted and their nodes were started."""
    hosts = scene.hosts(fault.targets)
    await everywhere(hosts, lambda host: asyncio.to_thread(powered(scene).power_on, host.name))
    await everywhere(hosts, answers)
    absent = {name for other in scene.others(fault) if other.name in POWERLESS
              for name in other.targets}
    await scene.agents.rejoin(hosts, absent)
    await everywhere(hosts, lambda host: scene.test.system.start(scene.test, host))


def powered(scene: HostScene) -> Powered:
    """Return the world, which can switch hosts off."""
    assert isinstance(scene.test.world, Powered)
    return scene.test.world


def freezable(scene: HostScene) -> Freezable:
    """Return the world, which can stop hosts."""
    assert isinstance(scene.test.world, Freezable)
    return scene.test.world


KINDS = (PowerLoss(), Reboot(), Freeze())
