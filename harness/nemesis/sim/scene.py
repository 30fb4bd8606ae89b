"""The scene of faults in the simulated world: the world itself, and what is in force in it.

Nothing here needs an agent, and little needs time: a cut is in force the moment it is asked
for. Every fault proves itself through the world all the same, by what the world does and not by
what it was told, for a fault that does nothing must not count in simulation either.
"""
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ...sim.domain_world import DomainWorld
from ...sim.membership import BadConfiguration, Change, Configuration
from ..fault import Fault, FaultError
from ..heal import Healed
from ..scene import Scene

if TYPE_CHECKING:
    from ...sim.world import Pair, World
    from ...test import Test

RESTORE_S = 0.02
DOWN, UP, PAUSED, BROKEN = "down", "up", "paused", "broken"


class SimScene(Scene):
    """One simulated world. ``test.world.world`` is where the nodes live.

    handles: fault -> its cuts and impairments; readings: fault -> what was read as it began;
    passing: cuts that are part of a pattern and soon over; tasks: fault -> what goes on while it
    is in force; points: whoever sets crash points -> which; changed_members: whether a fault ever
    asked for other members; rotten: hosts whose disks ever lost what they held.
    """

    def __init__(self, test: Test, targets: Sequence[str]) -> None:
        super().__init__(test, targets)
        self.world = cast("World", cast(Any, test.world).world)
        self.handles: dict[str, list[int]] = {}
        self.readings: dict[str, Any] = {}
        self.passing: dict[int, list[Pair]] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.changed_members = False
        self.rotten: set[str] = set()
        self.environment = self.world.environment
        self.points = {
            "": (dict(self.environment.crash_points), self.environment.crash_down_ns)}

    async def open(self, names: Iterable[str]) -> None:
        """Nothing has to be got ready."""

    async def calm(self) -> None:
        """End also what the environment breaks by itself, and start what it left down."""
        self.points = {"": ({}, 0)}
        self.world.calm()
        for host in range(len(self.names)):
            if self.state(host) == DOWN:
                self.world.start(host)
        if self.changed_members:
            with contextlib.suppress(FaultError):       # then some node is gone for good
                await restored(self, self.recover_s)

    async def close(self) -> list[Healed]:
        """Let go of everything; the world itself ends with the run."""
        for id in list(self.tasks):
            await self.end_task(id)
        for id in list(self.handles):
            self.lift(id)
        return []

    # ---- hosts -------------------------------------------------------------------------------

    def host(self, name: str) -> int:
        """Return the world's number of a node."""
        return self.names.index(name)

    def numbers(self, names: Iterable[str]) -> list[int]:
        """Return the world's numbers of these nodes, lowest first."""
        return sorted(map(self.host, names))

    def state(self, host: int) -> str:
        """Return up, paused, down or broken."""
        return self.world.state(host)

    def can_be_hit(self, name: str) -> bool:
        """Whether a process runs there."""
        return self.state(self.host(name)) == UP

    def expect(self, names: Iterable[str], state: str) -> None:
        """Raise FaultError unless all these nodes are in a state."""
        for host in self.numbers(names):
            if (found := self.state(host)) != state:
                trouble = self.world.trouble(host)
                raise FaultError(f"{self.names[host]} is {found}, not {state}"
                                 + (f": {trouble}" if trouble else ""))

    def peers(self, host: int) -> list[int]:
        """Return every endpoint that it exchanges packets with: the other hosts, the clients."""
        return [other for other in range(self.world.network.endpoints) if other != host]

    def configuration(self) -> Configuration | None:
        """Return what the newest leader goes by; None while nobody leads."""
        for _, host in self.world.leaders():
            return self.world.configuration(host)
        return None

    def voters(self) -> list[int]:
        """Return the hosts that vote, as far as the newest leader knows, lowest first; all of them
        where there are several domains."""
        if isinstance(self.world, DomainWorld):
            return list(range(len(self.names)))
        now = self.configuration()
        return self.world.voters(0) if now is None else sorted(node - 1 for node in now.voters)

    def pools(self) -> list[int]:
        """Return the endpoints that clients send from."""
        return list(range(len(self.names), self.world.network.endpoints))

    def half(self, which: int) -> list[int]:
        """Return all pools of clients (0), the first half of them (1), or the other one (2)."""
        pools = self.pools()
        middle = (len(pools) + 1) // 2
        return [pools, pools[:middle], pools[middle:] or pools][which]

    # ---- what is in force --------------------------------------------------------------------

    def cut(self, fault: Fault, pairs: Iterable[Pair]) -> None:
        """Let receivers hear these senders no more, until ``lift``."""
        self.handles.setdefault(fault.id, []).append(self.world.cut(sorted(pairs)))

    def cut_in_passing(self, pairs: Iterable[Pair]) -> int:
        """Cut something for a moment; return a handle for ``lift_passing``."""
        handle = self.world.cut(sorted(pairs))
        self.passing[handle] = sorted(pairs)
        return handle

    def lift_passing(self, handle: int) -> None:
        """End such a cut, if it is there still."""
        if self.passing.pop(handle, None) is not None:
            self.world.lift(handle)

    def impair(self, fault: Fault, ways: Iterable[Pair], effects: Mapping[str, int]) -> None:
        """Let things happen to packets on these ways, until ``lift``."""
        self.handles.setdefault(fault.id, []).append(self.world.impair(sorted(ways), **effects))

    def hears(self, receiver: str, sender: str) -> bool:
        """Whether a packet between two nodes would arrive."""
        return self.world.hears(self.host(receiver), self.host(sender))

    def lift(self, id: str) -> None:
        """End all cuts and impairments of a fault."""
        for handle in self.handles.pop(id, []):
            self.world.lift(handle)

    def goes_on(self, fault: Fault, work: Coroutine[Any, Any, None]) -> None:
        """Do something while the fault is in force."""
        task = self.tasks[fault.id] = asyncio.get_running_loop().create_task(
            work, name=fault.name)
        task.add_done_callback(_heard)

    async def end_task(self, id: str) -> None:
        """End what went on; raise what broke it."""
        task = self.tasks.pop(id, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def set_points(self, id: str, points: Mapping[str, int], down_ns: int) -> None:
        """Let nodes lose power at these moments (none: no more), beside what else asks for that."""
        self.points.pop(id, None)
        if points:
            self.points[id] = (dict(points), down_ns)
        worst: dict[str, int] = {}
        for given, _ in self.points.values():
            for point, ppm in given.items():
                worst[point] = max(ppm, worst.get(point, 0))
        self.world.crash_points(worst, next(reversed(self.points.values()))[1])


async def restored(scene: SimScene, limit_s: float) -> None:
    """Bring the initial number of voters back, and no learners; FaultError if that can't be done
    in time. Those that it began with come first."""
    deadline_ns = scene.world.now_ns + int(limit_s * 1e9)
    while (wishes := missing(scene)) != []:
        if scene.world.now_ns > deadline_ns:
            raise FaultError(f"not the initial number of voters again: {scene.configuration()}")
        if wishes is not None:
            with contextlib.suppress(BadConfiguration):
                scene.world.change(scene.world.leaders()[0][1], wishes)
        await asyncio.sleep(RESTORE_S)


def missing(scene: SimScene) -> list[Change] | None:
    """Return what must be changed for the initial number of voters; None while nothing can be."""
    leaders = scene.world.leaders()
    if not leaders or not scene.world.settled(leaders[0][1]):
        return None
    host = leaders[0][1]
    now = scene.world.configuration(host)
    assert now is not None
    first = scene.world.voters(host)
    if len(now.voters) == len(first) and not now.learners:
        return []
    up = [other for other in range(len(scene.names)) if scene.state(other) == UP]
    if len(up) < len(first):
        return None
    best = sorted(up, key=lambda other: (other != host, other + 1 not in now.voters,
                                         other not in first, other))[:len(first)]
    return [*(Change("voter", other + 1) for other in best if other + 1 not in now.voters),
            *(Change("remove", node) for node in sorted(now.nodes) if node - 1 not in best)]


def _heard(task: asyncio.Task[None]) -> None:
    """Take note of how a task ended: a violation that broke it ends the whole run anyway."""
    if not task.cancelled():
        task.exception()


def undone_early(fault: Fault, names: Sequence[str]) -> None:
    """Let an effective fault say that it had not lasted until it was ended."""
    if names and fault.effective_ns is not None:
        fault.error = f"had been undone early on {', '.join(names)}"
