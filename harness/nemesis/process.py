"""Faults of processes: kill (crash) and pause (a node that is slow beyond all bounds).

The system says which pids a node has. They are journalled with their start times on the host,
so that neither proof nor undoing can hit a process that got an old pid. A host is never hit by
two of these faults at once: what would the end of the first one prove?
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocols import Host
from ..rng import Rng
from .agents import call, everywhere, stop_everywhere
from .fault import Fault, FaultError
from .grudge import majority
from .kind import Kind, until
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

ONE, MINORITY, MAJORITY, ALL, PRIMARIES = "one", "minority", "majority", "all", "primaries"
TARGETS = (ONE, MINORITY, MAJORITY, ALL, PRIMARIES)


async def choose(scene: Scene, fault: Fault, rng: Rng) -> list[str]:
    """Draw whom to hit: first how many, then who."""
    how = rng.choice(scene.targets)
    order = rng.shuffled(scene.voting)
    leaders = {host.name for host in await scene.leaders()} if how == PRIMARIES else set()
    # From here to the fault's being in force nothing is awaited: lanes can't choose the same host.
    taken = scene.taken(fault)
    free = [name for name in order if name not in taken and scene.can_be_hit(name)]
    n, most = len(order), majority(len(order))
    chosen = [name for name in free if name in leaders] if how == PRIMARIES else \
        free[:{ONE: 1, MINORITY: max(1, n - most), MAJORITY: most, ALL: n}[how]]
    if not chosen:
        raise FaultError(f"nobody left to hit ({how}): {', '.join(sorted(taken))} already are")
    return sorted(chosen)


async def recovered(scene: HostScene, host: Host) -> bool:
    """Tell whether a node runs and accepts connections."""
    pids = await scene.test.system.pids(scene.test, host)
    if not pids:
        return False
    answer = await call(host, "check", pids=pids, ports=list(scene.test.system.ports(scene.test)),
                        addresses=[*scene.agents.addresses[host.name], "127.0.0.1"])
    return not answer["idle"] and not answer["closed"]


@dataclass(frozen=True)
class Kill(Kind["HostScene"]):
    """kill -9; the node is started again when the fault ends."""

    name: str = "kill"
    cls: str = "crash"

    def impossible(self, scene: HostScene) -> str | None:
        return None

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        test = scene.test

        async def kill(host: Host) -> None:
            pids = await test.system.pids(test, host)
            aimed = await call(host, "aim", id=fault.id, name=fault.name, pids=pids)
            if not aimed["pids"]:
                raise FaultError(f"{host.name}: no process to kill")
            await test.system.kill(test, host)

        await everywhere(scene.hosts(fault.targets), kill)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        async def is_dead(host: Host) -> bool:
            aimed_at = (await call(host, "gone", id=fault.id))["alive"]
            return not aimed_at and not await scene.test.system.pids(scene.test, host)

        await everywhere(scene.hosts(fault.targets), lambda host: until(
            lambda: is_dead(host), scene.prove_s, f"{host.name}: killed, but a process still runs"))

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        hosts = scene.hosts(fault.targets)
        await stop_everywhere(hosts, fault)
        await everywhere(hosts, lambda host: scene.test.system.start(scene.test, host))

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await all_recovered(scene, fault)


@dataclass(frozen=True)
class Pause(Kind["HostScene"]):
    """SIGSTOP; SIGCONT when the fault ends."""

    name: str = "pause"
    cls: str = "timing"

    def impossible(self, scene: HostScene) -> str | None:
        return scene.cannot("pause")

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        async def pause(host: Host) -> None:
            pids = await scene.test.system.pids(scene.test, host)
            if not pids:
                raise FaultError(f"{host.name}: no process to pause")
            await call(host, "pause", id=fault.id, name=fault.name, pids=pids)

        await everywhere(scene.hosts(fault.targets), pause)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        async def is_stopped(host: Host) -> bool:
            seen = await call(host, "stopped", id=fault.id)
            return bool(seen["stopped"]) and not seen["running"]

        await everywhere(scene.hosts(fault.targets), lambda host: until(
            lambda: is_stopped(host), scene.prove_s,
            f"{host.name}: paused, but a process still runs"))

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await stop_everywhere(scene.hosts(fault.targets), fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await all_recovered(scene, fault)


async def all_recovered(scene: HostScene, fault: Fault) -> None:
    """Wait until every target's node runs and answers."""
    await everywhere(scene.hosts(fault.targets), lambda host: until(
        lambda: recovered(scene, host), scene.recover_s, f"{host.name}: doesn't answer"))


KINDS = (Kill(), Pause())
