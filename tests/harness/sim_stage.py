"""A simulated cluster under a light load, a nemesis, and what the nemesis told."""
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

from seatrial.core.errors import OperationError
from seatrial.harness import topology
from seatrial.harness.nemesis import FaultNemesis
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.op import NEMESIS, Op
from seatrial.harness.rng import Rng
from seatrial.harness.sim.client import SimClient
from seatrial.harness.sim.environment import Environment
from seatrial.harness.sim.loop import SimLoop
from seatrial.harness.sim.world import World
from seatrial.harness.topology import Tree
from seatrial.harness.yamlfile import Document

MS = 1_000_000
T = TypeVar("T")


class Tampered:
    """An object some of whose methods do something else than they should."""

    def __init__(self, real: Any, **instead: Callable[..., Any]) -> None:
        self._real = real
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._real, name)


def tree_of(sizes: Sequence[int]) -> Tree:
    """Return domains A, B, ... of these sizes, each of which follows the one before it."""
    lines = [f"  {chr(65 + at)}: {{nodes: {size}"
             + (f", parent: {chr(64 + at)}, mode: async}}" if at else "}")
             for at, size in enumerate(sizes)]
    return topology.tree_of(Document.parse("t.yml", "\n".join(["domains:", *lines])))


class Stage:
    """``tamper`` takes the world that faults act on and returns another one.

    domains: how many nodes each of them has; no data flows between them. Without: all are one.
    """

    def __init__(
        self, *names: str, seed: int = 1, nodes: int = 5, targets: tuple[str, ...] = ("one",),
        spares: int = 0, domains: Sequence[int] = (), pools: int = 1,
        tamper: Callable[[World], Any] = lambda world: world, **environment: Any,
    ) -> None:
        nodes = sum(domains) or nodes
        self.tree = tree_of(domains or [nodes])
        self.world = World(seed, nodes, Environment(**environment), pools=pools)
        self.voters = range(nodes - spares)
        self.loop = SimLoop(self.world)  # type: ignore[abstract]  # loop.py adds what it refuses
        self.nemesis = FaultNemesis(names, targets=targets)
        self.events: list[Op] = []
        self.test: Any = SimpleNamespace(
            nodes=[SimpleNamespace(name=f"n{i + 1}", index=i) for i in range(nodes)],
            world=SimpleNamespace(name="sim", world=tamper(self.world)),
            system=SimpleNamespace(primaries=self._primaries),
            spec=SimpleNamespace(topology=SimpleNamespace(tree=lambda: self.tree)),
            pools={f"p{i + 1}": (f"p{i + 1}", None) for i in range(pools)},
            now_ns=lambda: self.world.now_ns)

    async def _primaries(self, test: Any) -> list[Any]:
        return [self.test.nodes[host] for _, host in self.world.leaders()]

    def play(self, body: Callable[[Stage], Awaitable[T]]) -> T:
        """Run ``body`` with a cluster that has a leader and a client that writes."""
        return self.loop.run_until_complete(self._played(body))

    async def _played(self, body: Callable[[Stage], Awaitable[T]]) -> T:
        for number, domain in enumerate(self.tree.domains):
            hosts = [node.number - 1 for node in domain.nodes]
            self.world.add_group(hosts, heartbeat_ns=50 * MS, election_ns=300 * MS, domain=number,
                                 voters=[host for host in hosts if host in self.voters])
        for host in range(self.world.hosts):
            self.world.start(host)
        while self.world.converged() is not None:
            await asyncio.sleep(0.02)
        self.load = asyncio.get_running_loop().create_task(self._load(), name="load")
        try:
            await self.nemesis.setup(self.test, self.events.append)
            return await body(self)
        finally:
            await self.nemesis.teardown(self.test)
            self.load.cancel()

    async def _load(self) -> None:
        """Write every few milliseconds, whatever becomes of it."""
        client = SimClient(self.world, 0, self.world.hosts, prefer=1, timeout_s=1,
                           random_u64=Rng(1).next64)
        number = 0
        while True:
            number += 1
            with contextlib.suppress(OperationError):
                await client.write(b"k%d" % (number % 5), b"%d" % number * 10)
            await asyncio.sleep(0.005)

    async def start(self, name: str, id: str = "0", **more: Any) -> Fault:
        """Start a fault."""
        await self._ask(name, {"action": "start", "id": id, "seed": 7, **more})
        return self.nemesis.faults[-1]

    async def stop(self, fault: Fault) -> None:
        """End it."""
        await self._ask(fault.name, {"action": "stop", "id": fault.id})

    async def heal(self) -> None:
        """End all faults."""
        await self._ask("heal", {"action": "heal"})

    async def _ask(self, f: str, value: dict[str, Any]) -> None:
        await self.nemesis.invoke(self.test, Op(f, value, process=NEMESIS))

    async def agreed(self, limit_s: float = 20.0) -> None:
        """Wait until all nodes agree, without load."""
        self.load.cancel()
        deadline = self.loop.time() + limit_s
        while (reason := self.world.converged()) is not None:
            assert self.loop.time() < deadline, reason
            await asyncio.sleep(0.05)

    @property
    def told(self) -> list[tuple[str, str | None]]:
        """What the history says: phase and error of each event."""
        return [(op.value["phase"], op.error) for op in self.events]

    def states(self) -> list[str]:
        """The states of all nodes."""
        return [self.world.state(host) for host in range(self.world.hosts)]
