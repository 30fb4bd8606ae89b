"""Our own node in the simulated world: the system ``node`` of the real worlds, without processes.

The world drives the node's machines itself, so nothing is installed, and the kernel's part of a
fault is the world's. Clients use the node's own client machine, over the world's connections.
"""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seatrial.harness.errors import HarnessFailure
from seatrial.harness.protocols import Host
from seatrial.harness.sim.client import SimClient
from seatrial.harness.sim.domain_world import DomainWorld
from seatrial.harness.sim.hosts import world_of
from seatrial.harness.test import Test

from ..keyvalue import Connection
from .connection import PATIENCE, NodeConnection
from .planted import must_be_known, mutants_folder
from .simulated_domains import add_domains, connection, without_leader

if TYPE_CHECKING:
    from .node import NodeOptions

MS = 1_000_000
POLL_S = 0.01
ELECTIONS = 50      # longest ones in a row that may fail after the last fault before it is a bug


class SimulatedNode:
    """``node``, simulated; made by ``NodeSystem.simulated``."""

    name = "node"
    weak_reads = True

    def __init__(self, options: NodeOptions) -> None:
        self.options = options
        self.mutant = options.mutant
        self.recovers_within_ns = ELECTIONS * options.election_ms * MS

    def prepare(self) -> None:
        """Make the build with the planted bug, where one is asked for."""
        if self.mutant is not None:
            must_be_known(self.mutant)
            mutants_folder()

    def python_path(self) -> Path | None:
        """Return the folder of the node's build with planted bugs, where one is asked for."""
        return None if self.mutant is None else mutants_folder()

    async def setup(self, test: Test) -> None:
        """Start all nodes; return when one of them leads, one in each domain."""
        world = world_of(test)
        hosts = range(len(test.nodes))
        if isinstance(world, DomainWorld):
            add_domains(world, test.spec.topology.tree(), self.options)
        else:
            world.add_group(hosts, heartbeat_ns=self.options.heartbeat_ms * MS,
                            election_ns=self.options.election_ms * MS,
                            voters=hosts[:len(hosts) - test.spec.topology.spares])
        for host in hosts:
            world.start(host)
        deadline_ns = test.clock() + int(self.options.start_timeout * 1e9)
        while without_leader(world) if isinstance(world, DomainWorld) else not world.leaders():
            if test.clock() > deadline_ns:
                raise HarnessFailure(
                    f"no leader within {self.options.start_timeout:g} s of the start "
                    "(system.options.start_timeout)")
            await asyncio.sleep(POLL_S)

    async def teardown(self, test: Test) -> None:
        """Nothing is left behind."""

    # What a nemesis asks

    async def start(self, test: Test, host: Host) -> None:
        """Start the process on one host (no-op when it runs)."""
        world_of(test).start(host.index)

    async def kill(self, test: Test, host: Host) -> None:
        """kill -9 on one host."""
        world_of(test).kill(host.index)

    async def pids(self, test: Test, host: Host) -> list[int]:
        """Return a number for the node's process; none when it is down."""
        running = world_of(test).state(host.index) in ("up", "paused")
        return [host.index + 1] if running else []

    async def leaders(self, test: Test) -> list[tuple[int, Host]]:
        """Return (term, host) for each node that leads, newest term first."""
        return [(term, test.nodes[host]) for term, host in world_of(test).leaders()]

    async def primaries(self, test: Test) -> list[Host]:
        """Hosts whose nodes lead at this moment, newest term first."""
        return [host for _, host in await self.leaders(test)]

    def ports(self, test: Test) -> Sequence[int]:
        """The port that a real node would have."""
        return [self.options.port]

    def log_files(self, test: Test, host: Host) -> Sequence[str]:
        """A simulated node writes no log: the world's trace tells more."""
        return []

    # What a workload asks

    async def connect(self, test: Test, node: int, process: int) -> Connection:
        """Return a client's connection that starts with the node of this index."""
        world = world_of(test)

        def made(nodes: Sequence[int], pool: int = process % len(test.pools)) -> SimClient:
            return SimClient(
                world, pool, nodes, prefer=node + 1,
                random_u64=test.rng(f"sessions of process {process}").next64,
                timeout_s=PATIENCE * test.op_timeout_ns / 1e9,
                any_node_ppm=world.environment.any_node_ppm)

        if isinstance(world, DomainWorld):
            return connection(test, process, made)
        return NodeConnection(made(range(1, len(test.nodes) + 1)))
