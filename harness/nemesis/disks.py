"""Faults of data disks, where a host has one behind the device mapper: virtual machines.

Another target is put under the mounted file system: ``delay`` makes every write slow, ``flakey``
fails or drops them, a suspended device lets none return; a full disk is a file that takes all
the room. The host's own disk, with the agent and its journal on it, stays sound.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..protocols import Host
from ..rng import Rng
from .agents import call, everywhere, stop_everywhere
from .fault import Fault, FaultError
from .kind import Kind, Range, ranges, until
from .power import PowerLoss, switch_on
from .process import all_recovered, choose
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

MS = 1_000_000


@dataclass(frozen=True)
class DiskFault(Kind["HostScene"]):
    """Something is wrong with the data disk. how: the agent's word for it; errors: what a synced
    write fails with; kills: the node can't live on and is started again at the end."""

    name: str
    cls: str
    how: str
    errors: frozenset[str] = frozenset()
    kills: bool = False
    parameters: Mapping[str, Range] = field(default_factory=dict)

    def impossible(self, scene: HostScene) -> str | None:
        return scene.cannot("disk")

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = await choose(scene, fault, rng)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        await everywhere(scene.hosts(fault.targets), lambda host: call(
            host, "disk", id=fault.id, name=fault.name, how=self.how,
            ms=fault.parameters.get("sync_ms", 0)))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        await everywhere(scene.hosts(fault.targets), lambda host: until(
            lambda: self._is_felt(host, fault), scene.prove_s, f"{host.name}: nobody feels it"))

    async def _is_felt(self, host: Host, fault: Fault) -> bool:
        if self.how == "stall":                 # a probe would stand still as well
            shown = await host.run(["dmsetup", "info", "-c", "--noheadings", "-o", "suspended",
                                    "data"])
            return shown.stdout.strip() == "Suspended"
        seen = await call(host, "disked")
        if self.errors:
            return seen["error"] in self.errors
        return bool(seen["took_ns"] >= fault.parameters["sync_ms"] * MS)

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        hosts = scene.hosts(fault.targets)
        if self.kills:
            await everywhere(hosts, lambda host: scene.test.system.kill(scene.test, host))
        await stop_everywhere(hosts, fault)
        if self.kills:
            await everywhere(hosts, lambda host: scene.test.system.start(scene.test, host))

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        for host in scene.hosts(fault.targets):
            seen = await call(host, "disked")
            if seen["error"]:
                raise FaultError(f"{host.name}: its data disk still fails: {seen['error']}")
        await all_recovered(scene, fault)


@dataclass(frozen=True)
class DiskLostWrites(DiskFault):
    """The disk says "synced" and keeps nothing; at the end power is lost, and shows it."""

    name: str = "disk-lost-writes"
    cls: str = "response"
    how: str = "lost"

    def impossible(self, scene: HostScene) -> str | None:
        return scene.cannot("disk") or POWER.impossible(scene)

    async def _is_felt(self, host: Host, fault: Fault) -> bool:
        seen = await call(host, "disked")
        return seen["error"] is None and not seen["kept"]

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await POWER.start(scene, fault)
        await switch_on(scene, fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        for host in scene.hosts(fault.targets):
            if not (await call(host, "disked"))["kept"]:
                raise FaultError(f"{host.name}: its data disk still loses what was synced")
        await super().prove_recovery(scene, fault)


POWER = PowerLoss()
KINDS = (
    DiskFault("disk-slow", "timing", "slow", parameters=ranges(sync_ms=(1, 800))),
    DiskFault("disk-stall", "timing", "stall"),
    DiskFault("disk-error", "response", "error", frozenset({"EIO", "EROFS"}), kills=True),
    DiskFault("disk-full", "response", "full", frozenset({"ENOSPC"}), kills=True),
    DiskLostWrites(),
)
