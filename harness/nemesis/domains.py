"""Faults of domains: links between them that are cut, and whole domains or leaders that fall.

Which nodes are one domain is the topology's word (``topology.domains``); who leads one is asked
as for any leader, of those that say so the newest term among the domain's own nodes. A domain is
hit with all its hosts. What is aimed here serves every world.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..rng import Rng
from ..topology.tree import Domain, Tree
from . import grudge as shapes
from .fault import Fault, FaultError
from .grudge import Grudge
from .kind import until
from .partition import Partition
from .power import PowerLoss
from .process import Kill
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

Aim = Callable[[Scene, Rng], Awaitable[list[str]]]


def tree(scene: Scene) -> Tree:
    """Return the domains of the test."""
    return scene.test.spec.topology.tree()


def hosts(domain: Domain) -> list[str]:
    """Return the hosts of a domain."""
    return [node.name for node in domain.nodes]


def no_children(scene: Scene) -> str | None:
    """Return why there is no link that could be hit, or None."""
    spec = getattr(scene.test, "spec", None)
    if spec is not None and len(spec.topology.tree().domains) > 1:
        return None
    return "needs a domain with a parent (topology.domains)"


def link(scene: Scene, rng: Rng) -> tuple[Domain, Domain]:
    """Draw a link; return its parent and its child."""
    if few := no_children(scene):
        raise FaultError(few)
    found = tree(scene)
    child = rng.choice([domain for domain in found.domains if domain.parent is not None])
    return found.by_name[str(child.parent)], child


async def leader(scene: Scene, domain: Domain) -> str:
    """Return who leads a domain; waits a little while nobody does."""
    own = set(hosts(domain))

    async def ask() -> str | None:
        leaders = await scene.test.system.primaries(scene.test)
        return next((host.name for host in leaders if host.name in own), None)

    found = await until(ask, scene.prove_s, f"nobody leads domain {domain.name}")
    assert found is not None
    return found


def untouched(scene: Scene, fault: Fault, names: Sequence[str]) -> list[str]:
    """Return these hosts if they can all be stopped now. From here to the fault's being in force
    nothing is awaited: lanes can't choose the same host."""
    taken = scene.taken(fault)
    if busy := [name for name in names if name in taken or not scene.can_be_hit(name)]:
        raise FaultError(f"not all can be hit, {', '.join(busy)} already is")
    return sorted(names)


# ---- cuts


@dataclass(frozen=True)
class DomainPartition(Partition):
    """A cut that follows the borders of domains. shape, min_nodes: not used."""

    def too_few(self, scene: Scene) -> str | None:
        return no_children(scene)

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.grudge, fault.targets = await self.cut(scene, rng)

    async def cut(self, scene: Scene, rng: Rng) -> tuple[Grudge, list[str]]:
        """Return who is to drop whose packets, and whom that hits."""
        raise NotImplementedError


@dataclass(frozen=True)
class DomainCut(DomainPartition):
    """A child and its parent lose sight of each other, with all their nodes."""

    async def cut(self, scene: Scene, rng: Rng) -> tuple[Grudge, list[str]]:
        parent, child = link(scene, rng)
        return shapes.between(hosts(parent), hosts(child)), hosts(child)


@dataclass(frozen=True)
class LinkCut(DomainPartition):
    """Only the two leaders of a link lose sight of each other."""

    async def cut(self, scene: Scene, rng: Rng) -> tuple[Grudge, list[str]]:
        parent, child = link(scene, rng)
        ends = [await leader(scene, parent), await leader(scene, child)]
        return shapes.between(ends[:1], ends[1:]), ends


@dataclass(frozen=True)
class DomainIsland(DomainPartition):
    """A domain loses sight of all others."""

    async def cut(self, scene: Scene, rng: Rng) -> tuple[Grudge, list[str]]:
        if few := no_children(scene):
            raise FaultError(few)
        domain = rng.choice(tree(scene).domains)
        alone = hosts(domain)
        others = [name for name in scene.names if name not in alone]
        return shapes.complete_grudge([alone, others]), alone


# ---- falls


async def whole(scene: Scene, rng: Rng) -> list[str]:
    """Draw a domain; return all its hosts."""
    if few := no_children(scene):
        raise FaultError(few)
    return hosts(rng.choice(tree(scene).domains))


async def of_child(scene: Scene, rng: Rng) -> list[str]:
    """Draw a link; return who leads the child."""
    return [await leader(scene, link(scene, rng)[1])]


async def both(scene: Scene, rng: Rng) -> list[str]:
    """Draw a link; return who leads its two ends."""
    parent, child = link(scene, rng)
    return [await leader(scene, parent), await leader(scene, child)]


FALLS: dict[str, Aim] = {
    "domain-kill": whole, "child-leader-kill": of_child, "both-leaders-kill": both}


@dataclass(frozen=True)
class DomainKill(Kill):
    """kill -9 on all that was aimed at, at the same time; started again when the fault ends."""

    name: str = "domain-kill"

    def impossible(self, scene: HostScene) -> str | None:
        return no_children(scene)

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = untouched(scene, fault, await FALLS[self.name](scene, rng))


@dataclass(frozen=True)
class DomainPowerLoss(PowerLoss):
    """All hosts of a domain lose power at the same time."""

    name: str = "domain-power-loss"

    def impossible(self, scene: HostScene) -> str | None:
        return no_children(scene) or super().impossible(scene)

    async def aim(self, scene: Scene, fault: Fault, rng: Rng) -> None:
        fault.targets = untouched(scene, fault, await whole(scene, rng))


KINDS = (
    DomainCut("domain-cut", shapes.one), LinkCut("link-cut", shapes.one),
    DomainIsland("domain-island", shapes.one), *(DomainKill(name) for name in FALLS),
    DomainPowerLoss())
