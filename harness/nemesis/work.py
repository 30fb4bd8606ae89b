"""An administrator's work as faults on hosts: what all its kinds have in common.

The system's own tools do it, on the hosts (administration.py). On every host that a fault means to
change, what brings it back is journalled first: founders vote, spares have no node. So
whoever undoes it, the run or a host by itself, and however far it had come, the same hosts vote as
before; hosts that lost their data meanwhile do so as new nodes.
"""
from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..administration import Administration, Members
from ..protocols import Host
from ..rng import Rng
from .agents import call, everywhere, stop_everywhere
from .fault import Fault, FaultError
from .kind import Kind, Range, ranges, until
from .process import recovered

if TYPE_CHECKING:
    from .hosts import HostScene

WORK_S = 60.0           # what a piece of work may take, far above what the system gives it


class Work(Kind["HostScene"]):
    """A piece of an administrator's work.

    rest_ms: how long to wait between its steps; draws: seed of what is left to chance in it.
    """

    parameters: Mapping[str, Range] = ranges(rest_ms=(1, 900), draws=(0, 1 << 32))
    min_voters = 2
    needs_spares = False

    def impossible(self, scene: HostScene) -> str | None:
        if scene.administration is None:
            return "this system can't be administered"
        if self.needs_spares and not scene.spares:
            return "needs a node that is no member at first (topology.spares)"
        voters = len(scene.names) - len(scene.spares)
        if voters < self.min_voters:
            return f"needs at least {self.min_voters} voters, there are {voters}"
        return None

    async def aim(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        now = await leading(scene, scene.prove_s)
        # From here to the fault's being in force nothing is awaited: lanes can't choose the same.
        fault.gentle = True
        fault.targets = self.choose(scene, fault, now, drawn(fault))
        if not fault.targets:
            raise FaultError("nobody is left for it")

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        """Return whom it means, in the order in which they are worked on."""
        raise NotImplementedError

    async def start(self, scene: HostScene, fault: Fault) -> None:
        fault.gentle = True
        await self.look(scene, fault)
        await everywhere(scene.hosts(fault.targets), lambda host: call(
            host, "administer", id=fault.id, name=fault.name,
            undo=list(self.undo(scene, fault, host))))
        await self.work(scene, fault, drawn(fault))

    async def look(self, scene: HostScene, fault: Fault) -> None:
        """See what ``undo`` has to know: whom to join."""
        await leading(scene, scene.prove_s)

    def undo(self, scene: HostScene, fault: Fault, host: Host) -> Sequence[str]:
        """Return what brings a host back; nothing when there is nothing to be brought back."""
        return []

    async def work(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        """Do it."""
        raise NotImplementedError

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await stop_everywhere(scene.hosts(fault.targets), fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await until(lambda: as_before(scene, fault.targets), scene.recover_s,
                    f"{', '.join(fault.targets)}: not as before")


def drawn(fault: Fault) -> Rng:
    """Return the fault's own stream of draws, from its start."""
    return Rng(fault.parameters["draws"])


def tools(scene: HostScene) -> Administration:
    """Return the system's tools."""
    assert scene.administration is not None
    return scene.administration


def free(scene: HostScene, fault: Fault, names: Iterable[str], rng: Rng) -> list[str]:
    """Return those of these hosts that no other fault works on, in random order."""
    taken = scene.taken(fault)
    return list(rng.shuffled([name for name in names if name not in taken]))


async def leading(scene: HostScene, limit_s: float) -> Members:
    """Wait until somebody leads; return who takes part."""
    found = await until(scene.members, limit_s, "nobody leads")
    assert found is not None
    return found


async def do(scene: HostScene, name: str, command: Sequence[str]) -> None:
    """Do a piece of work on a host; its last line on standard error says why it failed."""
    done = await scene.hosts([name])[0].run(list(command), check=False, timeout_s=WORK_S)
    if done.code:
        said = done.stderr.strip().splitlines() or [f"ended with {done.code}"]
        raise FaultError(f"{name}: {said[-1].removeprefix('seatrial: ')}")


async def rest(fault: Fault) -> None:
    """Wait between two steps."""
    await asyncio.sleep(fault.parameters["rest_ms"] / 1000)


async def as_before(scene: HostScene, names: Iterable[str]) -> bool:
    """Tell whether founders vote and answer, and spares are out and have no process."""
    now = await scene.members()
    if now is None or not now.settled:
        return False
    wanted = {name: "out" if name in scene.spares else "voter" for name in names}
    if any(now.role(name) != role for name, role in wanted.items()):
        return False
    for host in scene.hosts(names):
        if wanted[host.name] == "out":
            if await scene.test.system.pids(scene.test, host):
                return False
        elif not await recovered(scene, host):
            return False
    return True
