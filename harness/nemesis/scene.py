"""Where faults happen: a run, and the faults in force in it.

Each kind of world has a scene of its own, which knows how to get ready, how to heal, and what its
kinds of faults need: hosts reached over SSH (hosts.py), or the simulated world (sim/scene.py).
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..fault_windows import STOPS_A_NODE
from ..protocols import Host
from .fault import Fault
from .heal import Healed
from .kind import until

if TYPE_CHECKING:
    from ..test import Test


@dataclass(slots=True)
class Scene(ABC):
    """What every world has.

    targets: how many processes a crash or pause may hit (process.py).
    prove_s, recover_s: how long to wait for a proof before giving it up.
    """

    test: Test
    targets: Sequence[str]
    prove_s: float = 3.0
    recover_s: float = 15.0
    active: dict[str, Fault] = field(default_factory=dict)

    @abstractmethod
    async def open(self, names: Iterable[str]) -> None:
        """Get ready for the faults with these names; HarnessFailure when that is impossible."""

    @abstractmethod
    async def calm(self) -> None:
        """End what breaks without a fault of ours, where the world does such a thing."""

    @abstractmethod
    async def close(self) -> list[Healed]:
        """Undo everything, also when ``open`` failed; tell what was undone on each host."""

    @property
    def names(self) -> list[str]:
        """The hosts' names, in the test's order."""
        return [host.name for host in self.test.nodes]

    @property
    def voting(self) -> list[str]:
        """The hosts whose votes count, as far as the world knows, in the test's order."""
        return self.names

    def can_be_hit(self, name: str) -> bool:
        """Whether a crash or pause could hit this host, as far as the world knows."""
        return True

    def taken(self, fault: Fault) -> set[str]:
        """Return the hosts that nobody else may stop or start while other faults are in force."""
        return {name for other in self.others(fault) if other.name in STOPS_A_NODE
                for name in other.targets}

    def hosts(self, names: Iterable[str]) -> list[Host]:
        """Return the hosts with these names."""
        wanted = set(names)
        return [host for host in self.test.nodes if host.name in wanted]

    def others(self, fault: Fault) -> list[Fault]:
        """Return the faults in force beside this one."""
        return [other for other in self.active.values() if other is not fault]

    async def leaders(self) -> list[Host]:
        """Return who leads now, newest term first; waits a little while nobody does."""
        return await until(lambda: self.test.system.primaries(self.test), self.prove_s,
                           "nobody leads, so no leader can be hit")
