"""Processes and power.

There is no ``freeze``: what freezing a host's cgroup does to a real node, stopping everything it
runs, ``pause`` does here, where a host runs nothing else.
"""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...rng import Rng
from ...sim.environment import CRASH_POINTS, MS, PPM, US
from ..fault import Fault, FaultError
from ..kind import Kind, ranges, until
from ..process import choose
from .scene import BROKEN, DOWN, PAUSED, UP, SimScene, undone_early

LOOPS = 3           # so many turns of a slow node's event loop show that it is slow


class OnNodes(Kind[SimScene]):
    """A fault of some nodes, of as many as the test's ``targets`` say."""

    def impossible(self, scene: SimScene) -> str | None:
        return None

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        await all_up(scene, fault.targets)


async def all_up(scene: SimScene, names: Sequence[str]) -> None:
    """Wait until these nodes run. One that another fault has down may take a while."""
    async def are_up() -> bool:
        others = {name for fault in scene.active.values() for name in fault.targets}
        states = [scene.state(scene.host(name)) for name in names if name not in others]
        if BROKEN in states:
            scene.expect(names, UP)
        return all(state == UP for state in states)

    await until(are_up, scene.recover_s, f"{', '.join(names)}: not up again")


@dataclass(frozen=True)
class Crash(OnNodes):
    """The process ends, and is started again when the fault ends.

    how: kill leaves the page cache; power_loss loses or tears what was not synced.
    """

    name: str
    how: Literal["kill", "power_loss"]
    cls: str = "crash"

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.expect(fault.targets, UP)
        for host in scene.numbers(fault.targets):
            getattr(scene.world, self.how)(host)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        scene.expect(fault.targets, DOWN)

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        undone_early(fault, [name for name in fault.targets
                             if scene.state(scene.host(name)) in (UP, PAUSED)])
        for host in scene.numbers(fault.targets):
            scene.world.start(host)


@dataclass(frozen=True)
class Reboot(OnNodes):
    """Power is lost, and is back after ``down_ms``, however long the fault is in force."""

    name: str = "reboot"
    cls: str = "crash"
    parameters = ranges(down_ms=(1, 1000))

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.expect(fault.targets, UP)
        for host in scene.numbers(fault.targets):
            scene.world.power_loss(host)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        scene.expect(fault.targets, DOWN)
        scene.goes_on(fault, self._come_back(scene, fault))

    async def _come_back(self, scene: SimScene, fault: Fault) -> None:
        await asyncio.sleep(fault.parameters["down_ms"] / 1000)
        for host in scene.numbers(fault.targets):
            scene.world.start(host)

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        await scene.end_task(fault.id)
        for host in scene.numbers(fault.targets):
            scene.world.start(host)


@dataclass(frozen=True)
class Pause(OnNodes):
    """SIGSTOP; SIGCONT when the fault ends."""

    name: str = "pause"
    cls: str = "timing"

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.expect(fault.targets, UP)
        for host in scene.numbers(fault.targets):
            scene.world.pause(host)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        scene.expect(fault.targets, PAUSED)

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        undone_early(fault, [name for name in fault.targets
                             if scene.state(scene.host(name)) != PAUSED])
        for host in scene.numbers(fault.targets):
            scene.world.resume(host)


@dataclass(frozen=True)
class CpuSlow(OnNodes):
    """Somebody else has the processor: each turn of the node's event loop takes ``turn_us``."""

    name: str = "cpu-slow"
    cls: str = "timing"
    parameters = ranges(turn_us=(500, 100_000))

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.readings[fault.id] = {host: scene.world.loop(host)
                                    for host in scene.numbers(fault.targets)}
        for host in scene.numbers(fault.targets):
            scene.world.slow(host, fault.parameters["turn_us"] * US)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        for host in scene.numbers(fault.targets):
            turns, busy_ns = scene.readings[fault.id][host]

            async def has_turned(host: int = host, turns: int = turns) -> bool:
                return scene.world.loop(host)[0] >= turns + LOOPS

            await until(has_turned, scene.prove_s, f"{scene.names[host]}: its event loop rests")
            turned, was_busy_ns = scene.world.loop(host)
            each_us = (was_busy_ns - busy_ns) // (turned - turns) // US
            if each_us < fault.parameters["turn_us"]:
                raise FaultError(f"{scene.names[host]}: a turn of its event loop takes "
                                 f"{each_us} us, not {fault.parameters['turn_us']}")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        for host in scene.numbers(fault.targets):
            scene.world.slow(host, 0)


@dataclass(frozen=True)
class CrashPoints(OnNodes):
    """Any node loses power at the moments that hurt, and comes back after ``down_ms``.

    vote: it has just given one; write: a group write has just begun; answer: a client is just
    being answered; lead: an election was just won; append: entries have just arrived.
    """

    name: str = "crash-points"
    cls: str = "crash"
    parameters = ranges(vote_ppm=(1000, 900_000), write_ppm=(300, 20_000), answer_ppm=(300, 20_000),
                        lead_ppm=(1000, 900_000), append_ppm=(300, 20_000), down_ms=(1, 800))

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        fault.targets = list(scene.names)

    async def start(self, scene: SimScene, fault: Fault) -> None:
        scene.readings[fault.id] = scene.world.counters()["crash_points"]
        scene.set_points(fault.id, {point: min(fault.parameters[f"{point}_ppm"], PPM)
                                    for point in CRASH_POINTS}, fault.parameters["down_ms"] * MS)

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        async def has_struck() -> bool:
            return scene.world.counters()["crash_points"] > int(scene.readings[fault.id])

        await until(has_struck, scene.prove_s, "nobody came past a crash point and fell")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        scene.set_points(fault.id, {}, 0)


KINDS = (Crash("kill", "kill"), Pause(), Crash("power-loss", "power_loss"), Reboot(),
         CrashPoints(), CpuSlow())

__all__ = ["KINDS", "OnNodes", "all_up"]
