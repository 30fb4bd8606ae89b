"""The tree of domains changes, on hosts: who counts, who follows whom, who belongs to it.

The names are those of the simulated world (sim/tree.py). There a fault goes on asking for other
trees as long as it is in force; here it asks for one change, waits as an administrator does, and
takes it back at its end. The targets are all hosts of the domain that is changed. One of them does
the work, and what takes it back is journalled there.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..administration import DomainState, TreeAdministration
from ..protocols import Host
from ..rng import Rng
from .domains import hosts, no_children
from .domains import tree as drawn_up
from .fault import Fault, FaultError
from .kind import Kind, ranges, until
from .work import Work, do, drawn

if TYPE_CHECKING:
    from .hosts import HostScene

Tree = Mapping[str, DomainState]
Command = Callable[[TreeAdministration, Any, Host], Sequence[str]]
POLICIES = ("all", "any 1", "none")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one domain. after: as what the tree shows it while it is in force; None: it is
    gone. concerns: all domains for which it may matter; host: who asks for it, once that is drawn.
    """

    before: DomainState
    after: DomainState | None
    ask: Command
    undo: Command
    concerns: frozenset[str]
    host: str = ""


class TreeChange(Work):
    """One change of the tree. ``readings`` of a fault: its Change."""

    cls = "membership"
    parameters = ranges(rest_ms=(20, 2000), draws=(0, 1 << 32))     # as in the simulated world
    needs = ""                  # which domain there must be

    def impossible(self, scene: HostScene) -> str | None:
        if trees_of(scene) is None:
            return "this system has no tree of domains that could be changed"
        if few := no_children(scene):
            return few
        first = {domain.name: DomainState(
            domain.name, domain.number, domain.parent, {},
            "any " + str(domain.policy.needed) if domain.policy.kind == "any"
            else domain.policy.kind, domain.mode == "sync", domain.mode == "sync",
            block=domain.exclusion == "block") for domain in drawn_up(scene).domains}
        return None if any(self.legal(first, name) for name in first) else f"needs {self.needs}"

    def changes(self, tree: Tree, of: DomainState) -> list[Change]:
        """Return what could be done to one domain, legal or not."""
        raise NotImplementedError

    def legal(self, tree: Tree, name: str) -> list[Change]:
        """Return what could be done to one domain of a tree."""
        return [change for change in self.changes(tree, tree[name])
                if is_legal(changed(tree, change))]

    def open(self, scene: HostScene, fault: Fault, tree: Tree, name: str) -> list[Change]:
        """Return what could be done now, beside what other faults do."""
        theirs = [reading for other in scene.others(fault)
                  if isinstance(reading := scene.readings.get(other.id), Change)]
        return [change for change in self.legal(tree, name)
                if all(change.concerns.isdisjoint(other.concerns) for other in theirs)]

    async def aim(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        now = await told(scene)
        # From here to the fault's being in force nothing is awaited: lanes can't choose the same.
        fault.gentle = True
        taken = scene.taken(fault)
        found = [domain for domain in drawn_up(scene).domains
                 if domain.name in now and taken.isdisjoint(hosts(domain))
                 and self.open(scene, fault, now, domain.name)]
        if not found:
            raise FaultError("no domain is left for it")
        fault.targets = hosts(drawn(fault).choice(found))

    async def look(self, scene: HostScene, fault: Fault) -> None:
        named = [domain.name for domain in drawn_up(scene).domains
                 if not set(hosts(domain)).isdisjoint(fault.targets)]
        if len(named) != 1:
            raise FaultError("targets: expected the nodes of one domain")
        now = await told(scene)
        found = self.open(scene, fault, now, named[0]) if named[0] in now else []
        if not found:
            raise FaultError(f"{named[0]}: there is nothing to be changed")
        rng = drawn(fault)
        scene.readings[fault.id] = replace(rng.choice(found), host=rng.choice(fault.targets))

    def undo(self, scene: HostScene, fault: Fault, host: Host) -> Sequence[str]:
        change: Change = scene.readings[fault.id]
        if host.name != change.host:
            return []
        return change.undo(tools(scene), scene.test, host)

    async def work(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        change: Change = scene.readings[fault.id]
        host = scene.hosts([change.host])[0]
        await do(scene, host.name, change.ask(tools(scene), scene.test, host))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        change: Change = scene.readings[fault.id]
        name, after = change.before.name, change.after

        async def is_so() -> bool:
            now = await tools(scene).tree(scene.test)
            if now is None or after is None:
                return now is not None and name not in now
            return name in now and now[name].alike(after) and in_place(now[name])

        await until(is_so, scene.recover_s, f"the root's leader does not show {name} "
                    + ("to be gone" if after is None else "as it was asked for"))

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        change: Change | None = scene.readings.get(fault.id)
        if change is None:
            return                          # nothing was begun
        before = change.before

        async def is_as_before() -> bool:
            now = await tools(scene).tree(scene.test)
            if now is None or before.name not in now:
                return False
            found = now[before.name]
            return (found.alike(before) and in_place(found)
                    and (found.included or not before.included))

        await until(is_as_before, scene.recover_s,
                    f"the root's leader does not show {before.name} as before")


def trees_of(scene: HostScene) -> TreeAdministration | None:
    """Return the system's tools for trees, if it has any."""
    return getattr(scene.administration, "trees", None)


def tools(scene: HostScene) -> TreeAdministration:
    """Return the system's tools for trees."""
    found = trees_of(scene)
    assert found is not None
    return found


async def told(scene: HostScene) -> Tree:
    """Return the tree as the root's leader tells it; waits a little while nobody does."""
    found = await until(lambda: tools(scene).tree(scene.test), scene.prove_s,
                        "nobody leads the root, or knows of a tree")
    assert found is not None
    return found


def in_place(domain: DomainState) -> bool:
    """Tell whether a domain gets its entries where the tree says."""
    return domain.linked_to == domain.parent


# ---- what may be asked for


def below(tree: Tree, name: str) -> set[str]:
    """Return a domain and all below it."""
    found = {name}
    while more := {child for child, domain in tree.items() if domain.parent in found} - found:
        found |= more
    return found


def changed(tree: Tree, change: Change) -> Tree:
    """Return the tree with a change."""
    rest = {name: domain for name, domain in tree.items() if name != change.before.name}
    return rest if change.after is None else rest | {change.before.name: change.after}


def is_legal(tree: Tree) -> bool:
    """Tell whether there can be such a tree: every domain is below the root, no sync domain below
    an async one, and every policy can be met."""
    root = next(name for name, domain in tree.items() if domain.parent is None)
    if below(tree, root) != set(tree):
        return False
    for name, domain in tree.items():
        children = [child for child in tree.values() if child.parent == name]
        synced = sum(child.sync for child in children)
        if synced and not domain.sync and domain.parent is not None:
            return False
        kind, _, needed = domain.policy.partition(" ")
        if kind == "any" and int(needed) > synced:
            return False
    return True


def around(tree: Tree, name: str, *others: str) -> frozenset[str]:
    """Return the domains for which it matters where one is: its parent, those below it, others."""
    return frozenset({*filter(None, [tree[name].parent]), *below(tree, name), *others})


# ---- the kinds


@dataclass(frozen=True)
class DomainExclude(TreeChange):
    """An operator excludes a sync domain, and readmits it."""

    name: str = "domain-exclude"
    needs = "a sync domain (topology.domains)"

    def changes(self, tree: Tree, of: DomainState) -> list[Change]:
        if not of.included:
            return []
        return [Change(of, replace(of, included=False, held=True),
                       lambda by, test, host: by.excluding(test, host, of.name),
                       lambda by, test, host: by.readmitting(test, host, of.name),
                       frozenset({of.name}))]


@dataclass(frozen=True)
class DomainMode(TreeChange):
    """A sync domain becomes async, or an async one sync, and back."""

    name: str = "domain-mode"
    needs = "a domain that could have the other mode (topology.domains)"

    def changes(self, tree: Tree, of: DomainState) -> list[Change]:
        if of.parent is None or of.held:
            return []

        def switch(sync: bool, by: TreeAdministration, test: Any, host: Host) -> Sequence[str]:
            return by.switching(test, host, of.name, sync=sync)

        return [Change(of, replace(of, sync=not of.sync, included=False),
                       partial(switch, not of.sync), partial(switch, of.sync),
                       around(tree, of.name))]


@dataclass(frozen=True)
class DomainPolicy(TreeChange):
    """A parent counts all of its sync children, one, or none; or a sync domain is never excluded,
    or may be; and back."""

    name: str = "domain-policy"
    needs = "a sync domain (topology.domains)"

    def changes(self, tree: Tree, of: DomainState) -> list[Change]:
        def count(policy: str, by: TreeAdministration, test: Any, host: Host) -> Sequence[str]:
            return by.counting(test, host, of.name, policy)

        def block(wanted: bool, by: TreeAdministration, test: Any, host: Host) -> Sequence[str]:
            return by.blocking(test, host, of.name, block=wanted)

        found = []
        if any(child.sync and child.parent == of.name for child in tree.values()):
            found += [Change(of, replace(of, policy=policy), partial(count, policy),
                             partial(count, of.policy), around(tree, of.name))
                      for policy in POLICIES if policy != of.policy]
        if of.sync:
            found.append(Change(of, replace(of, block=not of.block), partial(block, not of.block),
                                partial(block, of.block), frozenset({of.name})))
        return found


@dataclass(frozen=True)
class DomainReparent(TreeChange):
    """A domain gets another parent, and the first one back."""

    name: str = "domain-reparent"
    needs = "a domain that could have another parent (topology.domains)"

    def changes(self, tree: Tree, of: DomainState) -> list[Change]:
        if (first := of.parent) is None:
            return []

        def move(parent: str, by: TreeAdministration, test: Any, host: Host) -> Sequence[str]:
            return by.moving(test, host, of.name, parent)

        return [Change(of, replace(of, parent=parent, included=False), partial(move, parent),
                       partial(move, first), around(tree, of.name, parent))
                for parent in tree if parent not in (of.name, first)]


@dataclass(frozen=True)
class DomainLeave(TreeChange):
    """A domain without children leaves the tree, and comes back as what it was."""

    name: str = "domain-leave"
    needs = "a domain without children that the others' policies don't need (topology.domains)"

    def changes(self, tree: Tree, of: DomainState) -> list[Change]:
        if of.parent is None or of.held or below(tree, of.name) != {of.name}:
            return []
        return [Change(of, None, lambda by, test, host: by.removing(test, host, of.name),
                       lambda by, test, host: by.adding(test, host, of),
                       around(tree, of.name))]


KINDS: tuple[Kind[Any], ...] = (
    DomainExclude(), DomainMode(), DomainPolicy(), DomainReparent(), DomainLeave())
