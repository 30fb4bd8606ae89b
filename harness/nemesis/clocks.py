"""Clocks of real hosts, where each has one of its own: virtual machines.

``clock-bump`` and ``clock-back`` move the wall clock, ``clock-strobe`` does so to and fro, which no
monotonic clock notices: what they can break is a node that looks at it. ``clock-drift`` changes the
kernel's tick, and so the speed of both. All
are put right at the end by the raw clock, which nothing here moves.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocols import Host
from ..rng import Rng
from . import grudge as shapes
from .agents import all_of, call, everywhere, stop_everywhere
from .fault import Fault, FaultError
from .kind import Kind, ranges, until
from .partition import LeaderPartition
from .process import all_recovered, choose
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

MS = 1_000_000
PPM = 1_000_000
MOST_PPM = 100_000                  # adjtimex(2): the tick is 9,000 to 11,000 us
TOLERANCE_PPM = 3000
WATCH_NS = 300 * MS                 # over which a drift is measured, at least


@dataclass(frozen=True)
class ClockBump(Kind["HostScene"]):
    """The wall clocks of some hosts jump ahead, or back."""

    name: str
    sign: int
    cls: str = "timing"
    parameters = ranges(bump_ms=(20, 20_000))

    def impossible(self, scene: HostScene) -> str | None:
        return scene.cannot("clock")

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)
        free_of_clock_faults(scene, fault)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        async def bump(host: Host) -> None:
            before = await offset_ns(host)
            await call(host, "clock", id=fault.id, name=fault.name,
                       bump_ms=self.sign * fault.parameters["bump_ms"])
            scene.readings[f"{fault.id} {host.name}"] = before

        await everywhere(scene.hosts(fault.targets), bump)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        wanted_ns = self.sign * fault.parameters["bump_ms"] * MS
        for host in scene.hosts(fault.targets):
            moved_ns = await offset_ns(host) - scene.readings[f"{fault.id} {host.name}"]
            if abs(moved_ns - wanted_ns) > 10 * MS:
                raise FaultError(f"{host.name}: its clock moved by {moved_ns / MS:g} ms, not "
                                 f"{wanted_ns / MS:g}")

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await stop_everywhere(scene.hosts(fault.targets), fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        for host in scene.hosts(fault.targets):
            off_ns = await offset_ns(host) - scene.readings[f"{fault.id} {host.name}"]
            if abs(off_ns) > 10 * MS:
                raise FaultError(f"{host.name}: its clock is still off by {off_ns / MS:g} ms")
        await all_recovered(scene, fault)


@dataclass(frozen=True)
class ClockStrobe(ClockBump):
    """The wall clocks of some hosts jump ahead and back, a step each ``period_ms``."""

    name: str = "clock-strobe"
    sign: int = 1
    parameters = ranges(strobe_ms=(20, 20_000), period_ms=(20, 1000))

    async def start(self, scene: HostScene, fault: Fault) -> None:
        async def strobe(host: Host) -> None:
            before = await offset_ns(host)
            await call(host, "clock", id=fault.id, name=fault.name, **fault.parameters)
            scene.readings[f"{fault.id} {host.name}"] = before

        await everywhere(scene.hosts(fault.targets), strobe)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        async def is_seen(host: Host) -> bool:
            seen = await call(host, "clocks", watch_ms=2 * fault.parameters["period_ms"])
            return bool(seen["most"] - seen["least"] >= (fault.parameters["strobe_ms"] - 10) * MS)

        await everywhere(scene.hosts(fault.targets), lambda host: until(
            lambda: is_seen(host), scene.prove_s, f"{host.name}: its clock stays where it is"))


@dataclass(frozen=True)
class ClockDrift(Kind["HostScene"]):
    """The clocks of some hosts run fast, or ``slow``, by ``rate_ppm``, a tenth at most.
    ``apart``, where a test file asks for it: all others' run the other way."""

    name: str = "clock-drift"
    cls: str = "timing"
    parameters = ranges(rate_ppm=(5000, 800_000), slow=(0, 1), apart=(0, 0))

    def impossible(self, scene: HostScene) -> str | None:
        return scene.cannot("clock")

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)
        free_of_clock_faults(scene, fault)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        fault.parameters["rate_ppm"] = min(fault.parameters["rate_ppm"], MOST_PPM)
        rates = rates_of(scene, fault)
        await everywhere(scene.hosts([*rates]), lambda host: call(
            host, "clock", id=fault.id, name=fault.name, rate_ppm=rates[host.name]))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        rates = rates_of(scene, fault)
        await everywhere(scene.hosts([*rates]),
                         lambda host: expect_rate(host, rates[host.name]))

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await stop_everywhere(scene.hosts([*rates_of(scene, fault)]), fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await everywhere(scene.hosts([*rates_of(scene, fault)]),
                         lambda host: expect_rate(host, 0))
        await all_recovered(scene, fault)


@dataclass(frozen=True)
class LeaderDrift(LeaderPartition):
    """The clock of whoever leads runs slow, all others' fast, and then it is isolated: the most
    that drift can do to a lease."""

    cls: str = "timing"
    parameters = ranges(rate_ppm=(5000, 800_000), slow=(1, 1), apart=(1, 1))

    def impossible(self, scene: HostScene) -> str | None:
        return scene.cannot("clock") or super().impossible(scene)

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        await super().aim(scene, fault, rng)
        free_of_clock_faults(scene, fault)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        await DRIFT.start(scene, drift_of(fault))
        await super().start(scene, fault)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        await all_of(super().prove(scene, fault), DRIFT.prove(scene, drift_of(fault)))

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        drift = drift_of(fault)
        await all_of(super().stop(scene, fault), DRIFT.stop(scene, drift))
        fault.error = fault.error or drift.error

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await all_of(super().prove_recovery(scene, fault),
                     DRIFT.prove_recovery(scene, drift_of(fault)))


def drift_of(fault: Fault) -> Fault:
    """Return the part of it that is of clocks: hosts remember it as a fault of its own."""
    return Fault(f"{fault.id}-clock", fault.name, fault.cls, fault.targets,
                 parameters=fault.parameters, effective_ns=fault.effective_ns)


def rates_of(scene: Scene, fault: Fault) -> dict[str, int]:
    """Return by how much each clock that it moves is to run fast."""
    rate = fault.parameters["rate_ppm"] * (-1 if fault.parameters["slow"] else 1)
    others = scene.names if fault.parameters["apart"] else ()
    return dict.fromkeys(others, -rate) | dict.fromkeys(fault.targets, rate)


async def expect_rate(host: Host, rate_ppm: int) -> None:
    """Read the monotonic clock twice beside the raw one; raise FaultError unless it is off so."""
    first = await call(host, "clocks")
    while True:
        last = await call(host, "clocks")
        passed_ns = last["raw"] - first["raw"]
        if passed_ns >= WATCH_NS:
            break
    off_ppm = (last["monotonic"] - first["monotonic"] - passed_ns) * PPM // passed_ns
    if abs(off_ppm - rate_ppm) > TOLERANCE_PPM:
        raise FaultError(f"{host.name}: its clock is off by {off_ppm} ppm, not {rate_ppm}")


async def offset_ns(host: Host) -> int:
    """Return by how much the wall clock is ahead of the raw one."""
    seen = await call(host, "clocks")
    return int(seen["wall"]) - int(seen["raw"])


def free_of_clock_faults(scene: Scene, fault: Fault) -> None:
    """Raise FaultError where another fault has moved a target's clock: it would be put right with
    the first one that ends."""
    taken = {name for other in scene.others(fault) if other.name.startswith("clock-")
             for name in moved(scene, other)}
    if taken & moved(scene, fault):
        raise FaultError(f"{', '.join(sorted(taken))}: another fault has the clock")


def moved(scene: Scene, fault: Fault) -> set[str]:
    """Return whose clocks a fault of clocks moves."""
    return {*fault.targets, *(scene.names if fault.parameters.get("apart") else ())}


DRIFT = ClockDrift()
KINDS = (ClockBump("clock-bump", 1), ClockBump("clock-back", -1), ClockStrobe(), DRIFT,
         LeaderDrift("clock-drift-leader", shapes.one))
