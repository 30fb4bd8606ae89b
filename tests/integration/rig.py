"""Five hosts with a listener on each, and a nemesis whose story is written down."""
from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from seatrial.harness.hosts import LabWorld, LocalWorld
from seatrial.harness.hosts.vm import image, qemu
from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.nemesis.hosts import HostScene
from seatrial.harness.op import NEMESIS, Op
from seatrial.harness.protocols import Host

from .listener import ListenerSystem, Story


@dataclass(frozen=True)
class Rig:
    """Hosts of one lab, and what runs on them."""

    world: LabWorld
    system: ListenerSystem

    @property
    def hosts(self) -> Sequence[Host]:
        return self.world.hosts

    @property
    def links(self) -> set[tuple[str, str]]:
        """Every (receiver, sender)."""
        names = [host.name for host in self.hosts]
        return {(a, b) for a in names for b in names if a != b}


def skip_without_machines() -> None:
    """Skip the test where there can be no virtual machines."""
    if os.geteuid() != 0:
        pytest.skip("virtual machines need root")
    for tool in (*qemu.TOOLS, *image.TOOLS):
        if shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin") is None:
            pytest.skip(f"{tool} is not installed here")


@contextmanager
def rig_of(nodes: int) -> Iterator[Rig]:
    """Make a lab, start its listeners; take it down whatever happens."""
    world = LocalWorld.create(nodes=nodes)
    try:
        rig = Rig(world, ListenerSystem())
        asyncio.run(world.up())
        restart(rig)
        yield rig
    finally:
        world.destroy()


def restart(rig: Rig) -> None:
    """Start the listeners that don't run."""
    async def all_of_them() -> None:
        await asyncio.gather(*(rig.system.start(None, host) for host in rig.hosts))

    asyncio.run(all_of_them())


def tell(rig: Rig, names: Sequence[str], body: Callable[[FaultNemesis, Story], Awaitable[None]],
         *, deadline_s: float = 30.0, targets: Sequence[str] = ("one",)) -> Story:
    """Run a story with a nemesis that is set up, and torn down whatever happens."""
    story = Story(rig.world, rig.system)
    story.test.stretch = rig.world.stretch
    story.test.pools = rig.world.pools

    async def run() -> None:
        nemesis = FaultNemesis(names, targets=targets, deadline_s=deadline_s)
        try:
            await nemesis.setup(story.test, story.events.append)
            await body(nemesis, story)
        finally:                # with an exception of the body beside it, where there was one
            healed = await nemesis.teardown(story.test)
            assert {each.host: each.error for each in healed if each.error} == {}, \
                {fault.name: fault.error for fault in nemesis.faults if fault.error}

    asyncio.run(run())
    return story


async def start(nemesis: FaultNemesis, story: Story, name: str, seed: int = 7,
                id: str = "0-0") -> Fault:
    await nemesis.invoke(story.test, Op(name, {"action": "start", "id": id, "seed": seed},
                                        process=NEMESIS))
    return nemesis.faults[-1]


async def stop(nemesis: FaultNemesis, story: Story, fault: Fault) -> None:
    await nemesis.invoke(story.test, Op(fault.name, {"action": "stop", "id": fault.id},
                                        process=NEMESIS))


def fall_silent(nemesis: FaultNemesis) -> None:
    """Let the controller touch the hosts' deadline files no more."""
    scene = nemesis._scene
    assert isinstance(scene, HostScene)
    assert scene._keeping_alive is not None
    scene._keeping_alive.cancel()


async def all_rules(host: Host) -> str:
    """Return all rules of both IP versions, without comments and packet counts."""
    saved = [(await host.run([tool])).stdout for tool in ("iptables-save", "ip6tables-save")]
    return re.sub(r"\[\d+:\d+\]", "", "\n".join(
        line for line in "\n".join(saved).splitlines() if not line.startswith("#")))


class Sabotaged:
    """A kind of fault whose start is undone behind the nemesis's back."""

    def __init__(self, kind: Any, undo: Callable[[Any, Fault], Awaitable[object]]) -> None:
        self.kind = kind
        self.undo = undo

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kind, name)

    async def start(self, scene: Any, fault: Fault) -> None:
        await self.kind.start(scene, fault)
        await self.undo(scene, fault)
