"""Work on one node after the other: restarts, another protocol version, snapshots; on hosts.

It is done as docs/operations.md says: a node goes down when the one before it has caught up,
and whoever leads hands leadership over first, or, one in two times, does not.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..administration import Members
from ..protocols import Host
from ..rng import Rng
from .agents import everywhere, stop_everywhere
from .fault import Fault, FaultError
from .kind import Kind, until
from .work import Work, do, free, leading, rest, tools

if TYPE_CHECKING:
    from .hosts import HostScene

CAUGHT_UP_ENTRIES = 200         # what a node may lack under load when the next one goes down
CATCH_UP_S = 15.0


class Rolling(Work):
    """Node after node; a fault that works on a node keeps the whole from being done."""

    min_voters = 3

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        found = free(scene, fault, now.voters, rng)
        if missing := sorted(now.voters.difference(found)):
            raise FaultError(f"other faults are at work on {', '.join(missing)}")
        return list(rng.shuffled(sorted(found)))

    async def work(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        scene.readings[fault.id] = await tools(scene).lives(scene.test)
        politely = bool(rng.below(2))
        for name in fault.targets:
            host = scene.hosts([name])[0]
            now = await leading(scene, CATCH_UP_S)
            if politely and now.leader == name:
                await do(scene, name, tools(scene).handing_over(scene.test, host))
            await do(scene, name, self.turn(scene, host))
            await caught_up(scene, name)
            await rest(fault)

    def turn(self, scene: HostScene, host: Host) -> Sequence[str]:
        """Return what is done on a node when its turn has come."""
        raise NotImplementedError


async def caught_up(scene: HostScene, name: str) -> None:
    """Wait until a node has all that the leader committed, or nearly."""
    async def has() -> bool:
        now = await scene.members()
        return now is not None and (
            now.leader == name or now.behind.get(name, 1 << 62) <= CAUGHT_UP_ENTRIES)

    await until(has, CATCH_UP_S, f"{name} has not caught up")


@dataclass(frozen=True)
class RollingRestart(Rolling):
    """Each node is asked to end, and started again."""

    name: str = "rolling-restart"
    cls: str = "administration"

    def undo(self, scene: HostScene, fault: Fault, host: Host) -> Sequence[str]:
        return tools(scene).starting(scene.test, host)

    def turn(self, scene: HostScene, host: Host) -> Sequence[str]:
        return tools(scene).restarting(scene.test, host)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        before = scene.readings[fault.id]

        async def all_new() -> bool:
            now = await tools(scene).lives(scene.test)
            return all(name in now and name in before and now[name].pid != before[name].pid
                       for name in fault.targets)

        await until(all_new, scene.prove_s, "not all nodes say that they are new processes")


@dataclass(frozen=True)
class RollingUpgrade(Rolling):
    """Each node is restarted as one that speaks the newer protocol; back again at the end."""

    name: str = "rolling-upgrade"
    cls: str = "administration"

    def impossible(self, scene: HostScene) -> str | None:
        if why := super().impossible(scene):
            return why
        if tools(scene).newer_protocol is None:
            return "needs nodes that begin with an older protocol (system.options.protocol)"
        return None

    def undo(self, scene: HostScene, fault: Fault, host: Host) -> Sequence[str]:
        return tools(scene).speaking(scene.test, host, tools(scene).protocol)

    def turn(self, scene: HostScene, host: Host) -> Sequence[str]:
        newer = tools(scene).newer_protocol
        assert newer is not None
        return tools(scene).speaking(scene.test, host, newer)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        await until(lambda: all_speak(scene, fault, tools(scene).newer_protocol), scene.prove_s,
                    "not all nodes say that they speak the newer protocol")

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        for name in fault.targets:
            await stop_everywhere(scene.hosts([name]), fault)
            await caught_up(scene, name)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await super().prove_recovery(scene, fault)
        await until(lambda: all_speak(scene, fault, tools(scene).protocol), scene.recover_s,
                    "not all nodes say that they speak the older protocol again")


async def all_speak(scene: HostScene, fault: Fault, protocol: int | None) -> bool:
    """Tell whether all targets say that they speak a protocol."""
    now = await tools(scene).lives(scene.test)
    return all(name in now and now[name].protocol == protocol for name in fault.targets)


@dataclass(frozen=True)
class Snapshot(Work):
    """Some nodes, or all, are told to take a snapshot, at the same time."""

    name: str = "snapshot"
    cls: str = "administration"
    min_voters = 1

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        found = free(scene, fault, sorted(now.voters), rng)
        return found[:1 + rng.below(len(found))] if found else []

    async def work(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        scene.readings[fault.id] = await tools(scene).lives(scene.test)
        await everywhere(scene.hosts(fault.targets), lambda host: do(
            scene, host.name, tools(scene).taking_snapshot(scene.test, host)))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        before = scene.readings[fault.id]

        async def are_newer() -> bool:
            now = await tools(scene).lives(scene.test)
            return all(name in now and name in before
                       and now[name].snapshot > before[name].snapshot for name in fault.targets)

        await until(are_newer, scene.prove_s, "not all nodes show a newer snapshot")


KINDS: tuple[Kind[Any], ...] = (Snapshot(), RollingRestart(), RollingUpgrade())
