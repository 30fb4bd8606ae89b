"""Clocks. A node looks at one that only runs forward, as every monotonic clock does.

A wall clock that is set back can't harm a node that never looks at it, and none of ours does:
so a jump is always ahead, as after a virtual machine's pause.
"""
from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from ...sim.environment import MS, PPM, S
from ..clocks import rates_of
from ..fault import Fault, FaultError
from ..kind import Kind, ranges
from .nodes import OnNodes
from .scene import SimScene

WATCH_S = 0.05                # how long a clock is watched to tell its rate
TOLERANCE_PPM = 1000


@dataclass(frozen=True)
class ClockBump(OnNodes):
    """The clocks of some nodes jump ahead."""

    name: str = "clock-bump"
    cls: str = "timing"
    parameters = ranges(bump_ms=(20, 20_000))

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.readings[fault.id] = {host: scene.world.clock_ns(host) - scene.world.now_ns
                                    for host in scene.numbers(fault.targets)}
        for host in scene.numbers(fault.targets):
            scene.world.clock_bump(host, fault.parameters["bump_ms"] * MS)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        for host, ahead_ns in scene.readings[fault.id].items():
            jumped_ns = scene.world.clock_ns(host) - scene.world.now_ns - ahead_ns
            if jumped_ns < fault.parameters["bump_ms"] * MS:
                raise FaultError(f"{scene.names[host]}: its clock jumped {jumped_ns / MS:g} ms, "
                                 f"not {fault.parameters['bump_ms']}")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        """A jump is over at once."""


@dataclass(frozen=True)
class ClockDrift(OnNodes):
    """The clocks of some nodes run fast, or ``slow``, by ``rate_ppm``. ``apart``, where a test file
    asks for it: all others' run the other way."""

    name: str = "clock-drift"
    cls: str = "timing"
    parameters = ranges(rate_ppm=(5000, 800_000), slow=(0, 1), apart=(0, 0))

    async def start(self, scene: SimScene, fault: Fault) -> None:
        for name, rate in rates_of(scene, fault).items():
            scene.world.clock_rate(scene.host(name), rate)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        await until_rate(scene, rates_of(scene, fault), scene.prove_s)

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        for name in rates_of(scene, fault):
            scene.world.clock_rate(scene.host(name), 0)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        await until_rate(scene, dict.fromkeys(rates_of(scene, fault), 0), scene.recover_s)


async def until_rate(scene: SimScene, rates: Mapping[str, int], limit_s: float) -> None:
    """Watch the clocks until they are off by so much. (Another fault may let one jump.)"""
    deadline_ns = scene.world.now_ns + int(limit_s * S)
    while True:
        try:
            return await expect_rate(scene, rates)
        except FaultError:
            if scene.world.now_ns > deadline_ns:
                raise


async def expect_rate(scene: SimScene, rates: Mapping[str, int]) -> None:
    """Watch the clocks for a moment; raise FaultError unless they are off by so much."""
    began_ns = scene.world.now_ns
    shown_ns = {name: scene.world.clock_ns(scene.host(name)) for name in rates}
    await asyncio.sleep(WATCH_S)
    passed_ns = scene.world.now_ns - began_ns
    for name, rate_ppm in rates.items():
        gone_ns = scene.world.clock_ns(scene.host(name)) - shown_ns[name]
        off_ppm = (gone_ns - passed_ns) * PPM // passed_ns
        if abs(off_ppm - rate_ppm) > TOLERANCE_PPM:
            raise FaultError(f"{name}: its clock is off by {off_ppm} ppm, not {rate_ppm}")


KINDS: tuple[Kind[SimScene], ...] = (ClockBump(), ClockDrift())
