"""Faults on real hosts, each with an agent: the scene of every world but the simulated one."""
from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..administration import Administered, Administration, Members
from ..fault_windows import cuts_links
from .agents import Agents
from .fault import Fault, FaultError
from .heal import Healed, heal, mend
from .partition import links, watch
from .scene import Scene

if TYPE_CHECKING:
    from ..test import Test

HEARING_S = 10.0                  # how long hosts may take to hear each other at first
DEADLINE_S = 30.0
MEMBERSHIP, ADMINISTRATION = "membership", "administration"     # classes of faults
LOSES_POWER_AT_ITS_END = "disk-lost-writes"


class HostScene(Scene):
    """Hosts reached over SSH.

    deadline_s: after how long without the controller hosts heal themselves.
    deaf: why silence of the beacons would prove nothing on these hosts, or None.
    outside: hosts whose nodes have no vote, as far as was heard.
    readings: fault -> what was read as it began.
    """

    def __init__(self, test: Test, targets: Sequence[str],
                 deadline_s: float = DEADLINE_S) -> None:
        super().__init__(test, targets)
        world = getattr(test, "world", None)
        self.stretch = getattr(test, "stretch", 1.0)
        self.agents = Agents(test.nodes, secrets.token_hex(8), deadline_s=deadline_s * self.stretch,
                             clocks=getattr(world, "clocks", False),
                             disk=getattr(world, "disk", None))
        self.deaf: str | None = None
        self.outside: set[str] = set()
        self.readings: dict[str, Any] = {}
        self.prove_s *= self.stretch
        self.recover_s *= self.stretch
        self._keeping_alive: asyncio.Task[None] | None = None

    @property
    def voting(self) -> list[str]:
        return [name for name in self.names if name not in self.outside]

    @property
    def spares(self) -> list[str]:
        """The hosts that begin without a node."""
        spec = getattr(self.test, "spec", None)
        return self.names[len(self.names) - spec.topology.spares:] if spec is not None else []

    @property
    def administration(self) -> Administration | None:
        """How the system is administered, if it can be."""
        system = getattr(self.test, "system", None)
        return system.administration if isinstance(system, Administered) else None

    def taken(self, fault: Fault) -> set[str]:
        return super().taken(fault) | {
            name for other in self.others(fault)
            if other.cls in (MEMBERSHIP, ADMINISTRATION) or other.name == LOSES_POWER_AT_ITS_END
            for name in other.targets}

    async def members(self) -> Members | None:
        """Ask who takes part."""
        assert self.administration is not None
        found = await self.administration.members(self.test)
        if found is not None:
            self.outside = set(self.names) - found.voters
        return found

    async def open(self, names: Iterable[str]) -> None:
        """Put an agent on every host and see that all hosts hear each other."""
        self.outside = set(self.spares)
        await self.agents.install()
        self._keeping_alive = asyncio.create_task(self.agents.keep_alive())
        if any(map(cuts_links, names)):
            self.deaf = await self._who_is_deaf()

    async def calm(self) -> None:
        """Real hosts have no such thing, as far as anybody could end it."""

    async def close(self) -> list[Healed]:
        """Let the agents undo what stands in their journals, and remove them."""
        if self._keeping_alive is not None:
            self._keeping_alive.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping_alive
        await mend(getattr(self.test, "world", None))
        return await heal(self.test.nodes)

    def cannot(self, work: str) -> str | None:
        """Return the hosts' reasons why their agents can't do something, in one line."""
        return "; ".join(f"{host}: {why[work]}" for host, why in self.agents.cannot.items()
                         if work in why) or None

    async def _who_is_deaf(self) -> str | None:
        """Return who doesn't hear whom though nothing is cut: then silence would prove nothing."""
        try:
            await watch(self, set(), links(self), HEARING_S * self.stretch)
        except FaultError as error:
            return f"{error} though nothing is cut; hosts must let each other's UDP packets in"
        return None
