"""Who takes part, on hosts: members come and go, leadership is handed over.

The names are those of the simulated world (sim/members.py). There a fault goes on asking for other
members as long as it is in force; here it asks once, and patiently, as an administrator does, and
the other half of the change is its end.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..administration import Members
from ..protocols import Host
from ..rng import Rng
from .agents import everywhere
from .fault import Fault, FaultError
from .grudge import majority
from .kind import Kind, until
from .work import Work, do, free, leading, rest, tools

if TYPE_CHECKING:
    from .hosts import HostScene

VOTER, LEARNER, OUT = "voter", "learner", "out"


class Membership(Work):
    """Other members. ``readings`` of a fault are the roles that it is to bring about."""

    async def work(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        wanted = scene.readings[fault.id] = self.wanted(scene, fault, rng)
        now = await leading(scene, scene.prove_s)
        if so := [name for name, role in wanted.items() if now.role(name) == role]:
            raise FaultError(f"{', '.join(so)}: {wanted[so[0]]} already")
        await self.change(scene, fault, rng)

    def wanted(self, scene: HostScene, fault: Fault, rng: Rng) -> dict[str, str]:
        """Return what its targets are to become."""
        raise NotImplementedError

    async def change(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        """Make them so."""
        raise NotImplementedError

    def undo(self, scene: HostScene, fault: Fault, host: Host) -> Sequence[str]:
        way = tools(scene).leaving if host.name in scene.spares else tools(scene).joining
        return way(scene.test, host)

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        wanted: Mapping[str, str] = scene.readings[fault.id]

        async def is_so() -> bool:
            now = await scene.members()
            return now is not None and now.settled and all(
                now.role(name) == role for name, role in wanted.items())

        await until(is_so, scene.prove_s, "the leader does not show it: "
                    + ", ".join(f"{name} {role}" for name, role in wanted.items()))

    def founders(self, scene: HostScene, now: Members) -> list[str]:
        """Return the founders that vote."""
        return [name for name in scene.names
                if name in now.voters and name not in scene.spares]

    def outsiders(self, scene: HostScene, now: Members) -> list[str]:
        """Return the spares that have no node."""
        return [name for name in scene.spares if now.role(name) == OUT]


async def join(scene: HostScene, fault: Fault, name: str, *, learner_first: bool) -> None:
    """Make a voter of a host's node, at once or as a learner first."""
    host = scene.hosts([name])[0]
    if learner_first:
        await do(scene, name, tools(scene).joining(scene.test, host, learner=True))
        await rest(fault)
    await do(scene, name, tools(scene).joining(scene.test, host))


@dataclass(frozen=True)
class MemberAdd(Membership):
    """A node joins, at once or as a learner first; it leaves when the fault ends."""

    name: str = "member-add"
    cls: str = "membership"
    needs_spares = True

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        return free(scene, fault, self.outsiders(scene, now), rng)[:1]

    def wanted(self, scene: HostScene, fault: Fault, rng: Rng) -> dict[str, str]:
        return dict.fromkeys(fault.targets, VOTER)

    async def change(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        learner_first = bool(rng.below(2))
        for name in fault.targets:
            await join(scene, fault, name, learner_first=learner_first)


@dataclass(frozen=True)
class MemberRemove(Membership):
    """A voter leaves, one in three times whoever leads, and a new node joins there later."""

    name: str = "member-remove"
    cls: str = "membership"
    min_voters = 3

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        found = free(scene, fault, self.founders(scene, now), rng)
        if len(now.voters) - 1 < majority(len(scene.names) - len(scene.spares)):
            return []
        return [now.leader] if rng.below(3) == 0 and now.leader in found else found[:1]

    def wanted(self, scene: HostScene, fault: Fault, rng: Rng) -> dict[str, str]:
        return dict.fromkeys(fault.targets, OUT)

    async def change(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        for host in scene.hosts(fault.targets):
            await do(scene, host.name, tools(scene).leaving(scene.test, host))


@dataclass(frozen=True)
class MemberReplace(Membership):
    """One leaves and one joins in the same change; later a new node takes the first place back."""

    name: str = "member-replace"
    cls: str = "membership"
    needs_spares = True

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        old = free(scene, fault, self.founders(scene, now), rng)[:1]
        new = free(scene, fault, self.outsiders(scene, now), rng)[:1]
        return old + new if old and new else []

    def wanted(self, scene: HostScene, fault: Fault, rng: Rng) -> dict[str, str]:
        if len(fault.targets) != 2:
            raise FaultError("targets: expected who leaves, then who joins")
        return dict(zip(fault.targets, (OUT, VOTER), strict=True))

    async def change(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        old, new = (scene.hosts([name])[0] for name in fault.targets)
        await do(scene, new.name, tools(scene).replacing(scene.test, old, new))
        await do(scene, old.name, tools(scene).leaving(scene.test, old))


@dataclass(frozen=True)
class MemberChurn(Membership):
    """Many at once: voters leave or become learners, spares become learners or voters."""

    name: str = "member-churn"
    cls: str = "membership"
    min_voters = 3

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        founders = len(scene.names) - len(scene.spares)
        most = len(now.voters) - majority(founders)
        found = free(scene, fault, self.founders(scene, now), rng)
        going = found[:1 + rng.below(most)] if most > 0 else []
        return going + free(scene, fault, self.outsiders(scene, now), rng)

    def wanted(self, scene: HostScene, fault: Fault, rng: Rng) -> dict[str, str]:
        return {name: rng.choice((VOTER, LEARNER) if name in scene.spares else (LEARNER, OUT))
                for name in fault.targets}

    async def change(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        wanted: Mapping[str, str] = scene.readings[fault.id]
        ways: dict[tuple[bool, str], Any] = {
            (True, VOTER): tools(scene).joining,
            (True, LEARNER): lambda test, host: tools(scene).joining(test, host, learner=True),
            (False, LEARNER): tools(scene).demoting,
            (False, OUT): tools(scene).leaving}
        await everywhere(scene.hosts(fault.targets), lambda host: do(
            scene, host.name,
            ways[host.name in scene.spares, wanted[host.name]](scene.test, host)))


@dataclass(frozen=True)
class TransferLeader(Work):
    """Whoever leads is asked to let another voter lead."""

    name: str = "transfer-leader"
    cls: str = "membership"

    def choose(self, scene: HostScene, fault: Fault, now: Members, rng: Rng) -> list[str]:
        found = free(scene, fault, sorted(now.voters & now.behind.keys()), rng)
        return [name for name in found if name != now.leader][:1]

    async def work(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        now = await leading(scene, scene.prove_s)
        scene.readings[fault.id] = now.term
        to = scene.hosts(fault.targets)[0]
        await do(scene, now.leader, tools(scene).handing_over(
            scene.test, scene.hosts([now.leader])[0], to))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        async def leads() -> bool:
            now = await scene.members()
            return (now is not None and now.term > scene.readings[fault.id]
                    and now.leader == fault.targets[0])

        await until(leads, scene.prove_s, f"{fault.targets[0]} does not lead")

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await leading(scene, scene.recover_s)


KINDS: tuple[Kind[Any], ...] = (
    MemberAdd(), MemberRemove(), MemberReplace(), MemberChurn(), TransferLeader())
