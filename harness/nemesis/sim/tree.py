"""The tree of domains is changed while clients run, as an administrator would, again and again.

Requests reach the root's leader directly; nobody waits for a good moment. When such a fault ends,
the tree becomes again what it was at the beginning.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from seatrial.harness.sim.trees import BadTree, Domain, Tree

from ...rng import Rng
from ...sim.domain_world import DomainWorld
from ..domains import no_children
from ..fault import Fault, FaultError
from ..kind import Kind, ranges, until
from .patterns import ARRANGE_S, LOOK_S, rest
from .scene import UP, SimScene

Change = Callable[[Tree], Tree]
DONE_S = 1.0                # how long a change is waited for
RESTORE_S = 0.05
NO_CHILD = 255              # policy `none`


def world_of(scene: SimScene) -> DomainWorld:
    """Return the world, which has domains."""
    assert isinstance(scene.world, DomainWorld)
    return scene.world


def tree_of(scene: SimScene) -> Tree:
    """Return the newest tree that the root has committed; FaultError before there is any."""
    tree = world_of(scene).tree()
    if tree is None:
        raise FaultError("no tree was committed yet")
    return tree


def children(tree: Tree) -> list[tuple[int, int]]:
    """Return (domain, parent) of each domain that has a parent."""
    return [(id, domain.parent) for id, domain in tree.domains.items() if domain.parent]


def leader_of(scene: SimScene, domain: int) -> int | None:
    """Return the host whose node leads a domain; None while nobody does."""
    for _, host in world_of(scene).leaders_of(domain):
        if scene.state(host) == UP:
            return host
    return None


def ask(scene: SimScene, change: Change) -> bool:
    """Ask the root's leader for another tree; return whether it set about it."""
    tree = world_of(scene).tree()
    leader = None if tree is None else leader_of(scene, tree.root)
    if leader is None:
        return False
    try:
        return world_of(scene).change_tree(leader, change)
    except BadTree:
        return False


async def done(scene: SimScene, before: Tree) -> bool:
    """Wait, but not for long, until the root has committed another tree."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DONE_S):
            while world_of(scene).tree() == before:
                await asyncio.sleep(LOOK_S)
            return True
    return False


class TreeChange(Kind[SimScene]):
    """Some change is asked for, over and over. ``readings``: how often one was made."""

    cls = "membership"
    parameters = ranges(rest_ms=(20, 2000), draws=(0, 1 << 32))

    def impossible(self, scene: SimScene) -> str | None:
        return no_children(scene)

    async def aim(self, scene: SimScene, fault: Fault, rng: Rng) -> None:
        fault.targets = list(scene.names)

    async def start(self, scene: SimScene, fault: Fault) -> None:
        tree_of(scene)
        scene.readings[fault.id] = 0
        scene.goes_on(fault, self._repeat(scene, fault))

    async def _repeat(self, scene: SimScene, fault: Fault) -> None:
        rng = Rng(fault.parameters["draws"])
        while True:
            before = tree_of(scene)
            change = self.change(scene, before, rng)
            if change is not None and ask(scene, change):
                scene.readings[fault.id] += await done(scene, before)
            await rest(rng, fault.parameters["rest_ms"])

    def change(self, scene: SimScene, now: Tree, rng: Rng) -> Change | None:
        """Return what to ask for next; None: nothing, for now."""
        raise NotImplementedError

    async def prove(self, scene: SimScene, fault: Fault) -> None:
        async def has_happened() -> bool:
            return int(scene.readings[fault.id]) > 0

        await until(has_happened, ARRANGE_S, "no change of the tree was committed")

    async def stop(self, scene: SimScene, fault: Fault) -> None:
        await scene.end_task(fault.id)

    async def prove_recovery(self, scene: SimScene, fault: Fault) -> None:
        if not any(other.name in NAMES for other in scene.others(fault)):
            await restored(scene, scene.recover_s)


async def restored(scene: SimScene, limit_s: float) -> None:
    """Bring the tree back that the world began with; FaultError if that can't be done in time.

    What the root has committed and the newest tree in its leader's log: what was asked for last may
    be committed yet."""
    deadline_ns = scene.world.now_ns + int(limit_s * 1e9)
    first = world_of(scene).first_tree()
    while (missing(first, tree_of(scene)) is not None or (now := newest(scene)) is None
           or missing(first, now) is not None):
        if scene.world.now_ns > deadline_ns:
            raise FaultError("the tree is not what it was at the beginning")
        ask(scene, partial(nearer, first))
        await asyncio.sleep(RESTORE_S)


def newest(scene: SimScene) -> Tree | None:
    """Return the newest tree in the log of the root's leader; None while it can't be asked."""
    seen: list[Tree] = []

    def look(tree: Tree) -> Tree:
        seen.append(tree)
        raise BadTree("only looked at")

    ask(scene, look)
    return seen[0] if seen else None


def nearer(first: Tree, now: Tree) -> Tree:
    """Return a tree more like the first one. Raises BadTree if it is that already."""
    wish = missing(first, now)
    if wish is None:
        raise BadTree("it is as it was at the beginning")
    return wish(now)


def missing(first: Tree, now: Tree) -> Change | None:
    """Return one change that makes a tree more like the first one; None: none is needed. Who is
    excluded, and not held, is included again by the root itself, once it has caught up."""
    for id, given in first.domains.items():
        found = now.domains.get(id)
        if found is not None:
            found = found._replace(included=False, include_rindex=0)
        if found != given._replace(included=False, include_rindex=0):
            return partial(more_alike, id, found, given)
    return None


def more_alike(id: int, found: Domain | None, given: Domain, tree: Tree) -> Tree:
    """Return the tree with one difference less."""
    if found is None:
        return tree.add(id, given._replace(included=False, include_rindex=0))
    if found.held:
        return tree.release(id)
    if found.parent != given.parent:
        return tree.reparent(id, given.parent)
    if found.sync != given.sync:
        return tree.mode(id, given.sync)
    if found.any_k != given.any_k:
        return tree.policy(id, given.any_k)
    return tree.block(id, given.block)


@dataclass(frozen=True)
class DomainExclude(TreeChange):
    """A sync domain is excluded, though it may be in the best of health, and readmitted."""

    name: str = "domain-exclude"

    def change(self, scene: SimScene, now: Tree, rng: Rng) -> Change | None:
        found = [id for id, domain in now.domains.items() if domain.sync]
        if not found:
            return None
        id = rng.choice(found)
        if now.domains[id].held:
            return lambda tree: tree.release(id)
        return lambda tree: tree.exclude(id, held=True)


@dataclass(frozen=True)
class DomainMode(TreeChange):
    """A sync domain becomes async, or an async one sync."""

    name: str = "domain-mode"

    def change(self, scene: SimScene, now: Tree, rng: Rng) -> Change | None:
        if not (found := children(now)):
            return None
        id, _ = rng.choice(found)
        sync = not now.domains[id].sync
        return lambda tree: tree.mode(id, sync)


@dataclass(frozen=True)
class DomainPolicy(TreeChange):
    """A parent counts all of its sync children, one of them, or none; or one is never excluded."""

    name: str = "domain-policy"

    def change(self, scene: SimScene, now: Tree, rng: Rng) -> Change | None:
        if not (found := children(now)):
            return None
        id, parent = rng.choice(found)
        if rng.below(3) == 0:
            block = not now.domains[id].block
            return lambda tree: tree.block(id, block)
        k = rng.choice((0, 1, NO_CHILD))
        return lambda tree: tree.policy(parent, k)


@dataclass(frozen=True)
class DomainReparent(TreeChange):
    """A domain gets another parent."""

    name: str = "domain-reparent"

    def change(self, scene: SimScene, now: Tree, rng: Rng) -> Change | None:
        if not (found := children(now)):
            return None
        id, parent = rng.choice(found)
        others = [other for other in now.domains if other not in (id, parent)]
        if not others:
            return None
        to = rng.choice(others)
        return lambda tree: tree.reparent(id, to)


@dataclass(frozen=True)
class DomainLeave(TreeChange):
    """A domain without children leaves the tree, and comes back."""

    name: str = "domain-leave"

    def change(self, scene: SimScene, now: Tree, rng: Rng) -> Change | None:
        gone = [id for id in world_of(scene).first_tree().domains if id not in now.domains]
        if gone:
            return missing(world_of(scene).first_tree(), now)
        found = [id for id, domain in now.domains.items()
                 if domain.parent and not now.children(id)]
        if not found:
            return None
        id = rng.choice(found)
        return lambda tree: tree.remove(id)


KINDS: tuple[Kind[SimScene], ...] = (
    DomainExclude(), DomainMode(), DomainPolicy(), DomainReparent(), DomainLeave())
NAMES = tuple(kind.name for kind in KINDS)
