"""The simulated world as the harness sees any world: hosts, client pools, and what it lacks.

A simulated host is a state machine: there is nothing on it that could run a command or hold a
file, and whoever tries is told so. What a system, a client or a fault needs is ``SimWorld.world``.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from ..errors import HarnessFailure
from ..protocols import Result, System
from ..protocols import World as AnyWorld
from ..test import Test
from .domain_world import DomainWorld
from .environment import Environment
from .world import World

NAME = "sim"
POOLS = ("clients", "other-clients")    # so that a fault can come between nodes and some clients


class SimulatedSystem(System, Protocol):
    """A system that the simulated world can run.

    mutant: the bug to be planted in it, None for none. recovers_within_ns: when, after the last
    fault, all its nodes must agree again.
    """

    mutant: str | None
    recovers_within_ns: int

    def prepare(self) -> None:
        """Build what it needs, before the first run."""

    def python_path(self) -> Path | None:
        """Return what must come first on sys.path of a process that runs it, None for nothing."""


class SimHost:
    """One host of the world."""

    ipv6: str | None = None
    controller: tuple[str, ...] = ()

    def __init__(self, index: int) -> None:
        self.index = index
        self.name = f"n{index + 1}"
        self.ipv4 = self.name

    async def run(
        self, argv: Sequence[str], *, sudo: bool = True, check: bool = True,
        stdin: bytes | None = None, timeout_s: float = 60.0,
    ) -> Result:
        """Refuse."""
        self._refuse(f"{argv[0]!r} can't run there")

    async def put(self, data: bytes | Path, remote: str, *, mode: int = 0o644) -> None:
        """Refuse."""
        self._refuse(f"{remote} can't be written there")

    async def get(self, remote: str, local: Path) -> None:
        """Refuse."""
        self._refuse(f"{remote} can't be there")

    async def read(self, remote: str) -> bytes:
        """Refuse."""
        self._refuse(f"{remote} can't be there")

    def _refuse(self, what: str) -> NoReturn:
        raise HarnessFailure(f"{self.name} is simulated, with no commands and no files: {what}")


class SimWorld:
    """A ``protocols.World`` around a simulated one. domains: there are several."""

    name = NAME

    def __init__(self, seed: int, nodes: int, environment: Environment, *,
                 record: bool = False, pools: Sequence[str] = POOLS,
                 domains: bool = False) -> None:
        made = DomainWorld if domains else World
        self.world: World = made(seed, nodes, environment, record=record, pools=len(pools))
        self.hosts: Sequence[SimHost] = [SimHost(index) for index in range(nodes)]
        self.pools: Mapping[str, tuple[str, str | None]] = {
            pool: (pool, None) for pool in pools}

    async def up(self) -> None:
        """The hosts are there."""

    async def down(self) -> None:
        """They go with the object."""


def world_of(test: Test) -> World:
    """Return the simulated world of a test that runs in one."""
    world: AnyWorld = test.world
    assert isinstance(world, SimWorld), f"{test.name} runs on {world.name}"
    return world.world
