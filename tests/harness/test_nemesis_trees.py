"""Changes of the tree of domains as faults on hosts: what is asked for, what proves it, and what
brings it back. The tree is the core's own, by whose rules every command is done or refused."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from seatrial.core.domain_administration import TreeRequest, describe_tree, step
from seatrial.core.tree import BadTree, Domain, Tree
from seatrial.harness import topology
from seatrial.harness.administration import DomainState
from seatrial.harness.errors import HarnessFailure
from seatrial.harness.nemesis import FaultNemesis, trees
from seatrial.harness.nemesis.fault import Fault
from seatrial.harness.op import NEMESIS, Op
from seatrial.harness.yamlfile import Document
from seatrial.workloads.systems.trees import GONE, THERE, states

from .test_nemesis_work import Host

NAMES = [kind.name for kind in trees.KINDS]
LAYERS = """
domains:
  A: {nodes: 2, policy: 'any 1 of [B, C]'}
  B: {nodes: 2, parent: A, mode: sync}
  C: {nodes: 2, parent: A, mode: sync}
  D: {nodes: 2, parent: C, mode: sync, exclusion: block}
  E: {nodes: 1, parent: C, mode: async, max_lag: {entries: 99, time: 1.5, then: stall}}
"""
ASYNC = """
domains:
  A: {nodes: 2}
  B: {nodes: 1, parent: A, mode: async}
"""
PAIR = """
domains:
  A: {nodes: 2}
  B: {nodes: 1, parent: A, mode: sync}
"""


class Root:
    """The root's leader, and an administrator's tools, which need no time. stuck: changes that
    fail; deaf: whether what is done goes nowhere; links: domain -> whose entries it gets, where
    that is not as the tree says."""

    trees: Any

    def __init__(self, drawn_up: topology.Tree) -> None:
        values = topology.tree_values(drawn_up, address=lambda domain, node: f"{node.name}:7400")
        self.now = Tree({id: Domain(**fields) for id, fields in values["domains"].items()},
                        values["root"], lease_ns=values["lease_ns"])
        self.catch_up()
        self.first = self.now
        names = [node.name for node in drawn_up.nodes]
        self.hosts = [Host(name, index, self) for index, name in enumerate(names)]  # type: ignore[arg-type]
        self.journal: dict[str, dict[str, list[str]]] = {name: {} for name in names}
        self.done: list[str] = []
        self.stuck = ""
        self.deaf = False
        self.links: dict[str, str | None] = {}
        self.trees = self

    def catch_up(self) -> None:
        """Include whoever is not held."""
        for id, domain in self.now.domains.items():
            if domain.sync and not domain.included and not domain.held:
                self.now = self.now.readmit(id, 7)

    def act(self, name: str, what: str, *words: str) -> None:
        """Do what a host was told: JSON of the request that the node's command makes."""
        asked = msgspec.json.decode(what, type=TreeRequest)
        self.done.append(f"{name} {asked.change} {asked.domain}")
        if asked.change == self.stuck:
            raise HarnessFailure("not done within 15 s")
        if self.deaf:
            return
        try:
            self.now = step(asked)(self.now)
        except BadTree as refusal:
            if not words or words[0] not in str(refusal):
                raise HarnessFailure(str(refusal)) from None
        self.catch_up()

    async def tree(self, test: Any) -> Mapping[str, DomainState] | None:
        told = msgspec.json.decode(msgspec.json.encode(describe_tree(self.now)))
        return {name: replace(state, linked_to=self.links.get(name, state.parent))
                for name, state in states(told, {}).items()}

    # the commands, as ``act`` reads them

    def ask(self, change: Any, domain: str, fine: str = "", **more: Any) -> list[str]:
        request = TreeRequest(change, domain, **more)
        return ["act", msgspec.json.encode(request).decode(), *([fine] if fine else [])]

    def excluding(self, test: Any, host: Any, domain: str) -> Sequence[str]:
        return self.ask("exclude", domain)

    def readmitting(self, test: Any, host: Any, domain: str) -> Sequence[str]:
        return self.ask("readmit", domain)

    def switching(self, test: Any, host: Any, domain: str, *, sync: bool) -> Sequence[str]:
        return self.ask("mode", domain, sync=sync)

    def counting(self, test: Any, host: Any, domain: str, policy: str) -> Sequence[str]:
        return self.ask("policy", domain, policy=policy)

    def blocking(self, test: Any, host: Any, domain: str, *, block: bool) -> Sequence[str]:
        return self.ask("block", domain, block=block)

    def moving(self, test: Any, host: Any, domain: str, parent: str) -> Sequence[str]:
        return self.ask("reparent", domain, parent=parent)

    def removing(self, test: Any, host: Any, domain: str) -> Sequence[str]:
        return self.ask("remove", domain, GONE)

    def adding(self, test: Any, host: Any, domain: DomainState) -> Sequence[str]:
        assert domain.parent is not None
        member = {"name": domain.name, "parent": domain.parent,
                  "nodes": {str(node): where for node, where in domain.nodes.items()},
                  "mode": "sync" if domain.sync else "async", "policy": domain.policy,
                  "exclusion": "block" if domain.block else "exclude",
                  "exclude_after_ms": domain.exclude_after_ms, "max_lag": domain.max_lag and {
                      unit: round(bound) if unit != "then" else bound
                      for unit, bound in domain.max_lag.items() if bound},
                  "readmit_throttle": domain.readmit_throttle}
        body = {"change": "add", "domain": domain.name, "id": domain.id, "member": member}
        return ["act", msgspec.json.encode(body).decode(), THERE]


class Play:
    """A nemesis and a root."""

    def __init__(self, text: str, *, tools: bool = True) -> None:
        drawn_up = topology.tree_of(Document.parse("t.yml", text))
        self.root = Root(drawn_up)
        self.nemesis = FaultNemesis(NAMES, targets=["one"])
        self.events: list[Op] = []
        system: Any = SimpleNamespace(administration=self.root if tools else SimpleNamespace())
        spec = SimpleNamespace(topology=SimpleNamespace(tree=lambda: drawn_up, spares=0))
        self.test: Any = SimpleNamespace(
            nodes=self.root.hosts, now_ns=lambda: len(self.events), spec=spec, system=system,
            world=SimpleNamespace(name="local"))

    @property
    def scene(self) -> Any:
        return self.nemesis._scene

    async def start(self, name: str, seed: int = 1, id: str = "0-0", **more: Any) -> Fault:
        await self.nemesis.invoke(self.test, Op(name, {
            "action": "start", "id": id, "seed": seed,
            "parameters": {"rest_ms": 1, "draws": seed}, **more}, process=NEMESIS))
        return self.nemesis.faults[-1]

    async def stop(self, fault: Fault) -> None:
        await self.nemesis.invoke(self.test, Op(
            fault.name, {"action": "stop", "id": fault.id}, process=NEMESIS))

    async def heal(self) -> None:
        await self.nemesis.invoke(self.test, Op("heal", process=NEMESIS, value={}))


def play(body: Callable[[Play], Awaitable[None]], text: str = LAYERS, *,
         tools: bool = True) -> Play:
    stage = Play(text, tools=tools)

    async def run() -> None:
        await stage.nemesis.setup(stage.test, stage.events.append)
        stage.scene.prove_s = stage.scene.recover_s = 0.1
        try:
            await body(stage)
        finally:
            await stage.nemesis.teardown(stage.test)

    asyncio.run(run())
    return stage


def difference(before: Tree, now: Tree) -> str:
    """Say in which words two trees differ; domains that start to count are none."""
    found = []
    for id, was in before.domains.items():
        became = now.domains.get(id)
        if became is None:
            found.append(f"{was.name} gone")
        else:
            found += [f"{was.name} {field}" for field in was._fields
                      if field not in ("included", "include_rindex")
                      and getattr(was, field) != getattr(became, field)]
    return ", ".join(found)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", NAMES)
def test_each_kind_changes_one_thing_and_brings_the_tree_back(name: str, seed: int) -> None:
    async def body(stage: Play) -> None:
        root = stage.root
        fault = await stage.start(name, seed)
        assert fault.error is None
        assert fault.effective_ns is not None
        changed = difference(root.first, root.now)
        assert changed
        assert "," not in changed
        assert changed.split()[1] in {
            "domain-exclude": "held", "domain-mode": "sync", "domain-reparent": "parent",
            "domain-leave": "gone", "domain-policy": "any_k block"}[name]
        # the targets are the nodes of the domain that is changed, and one of them works
        domain = root.first.domains[root.first.called(changed.split()[0])]
        assert fault.targets == [where.partition(":")[0] for _, where in domain.nodes]
        undone_by = [host for host, entries in root.journal.items() if entries.get(fault.id)]
        assert len(undone_by) == 1
        assert all(line.startswith(undone_by[0]) for line in root.done)
        assert all(fault.id in root.journal[host] for host in fault.targets)
        await stage.stop(fault)
        assert fault.error is None
        assert fault.recovered_ns is not None
        assert root.now == root.first
        assert len(root.done) == 2
        assert not any(root.journal.values())

    stage = play(body)
    assert all(event.value["gentle"] for event in stage.events)


def test_draws_decide_which_domain_and_what_becomes_of_it() -> None:
    seen: dict[str, set[str]] = {name: set() for name in NAMES}

    async def body(stage: Play) -> None:
        for seed in range(40):
            for name in NAMES:
                fault = await stage.start(name, seed, id=f"{name}-{seed}")
                seen[name].add(difference(stage.root.first, stage.root.now))
                await stage.stop(fault)

    play(body)
    assert seen == {
        "domain-exclude": {"B held", "C held", "D held"},
        "domain-mode": {"B sync", "D sync", "E sync"},      # D is below C: it would be behind it
        "domain-policy": {"A any_k", "B block", "C block", "D block", "C any_k"},
        "domain-reparent": {"B parent", "C parent", "D parent", "E parent"},
        "domain-leave": {"B gone", "D gone", "E gone"}}


@pytest.mark.parametrize(("text", "name", "reason"), [
    (ASYNC, "domain-exclude", "needs a sync domain (topology.domains)"),
    (ASYNC, "domain-policy", "needs a sync domain (topology.domains)"),
    (ASYNC, "domain-reparent", "needs a domain that could have another parent (topology.domains)"),
    (ASYNC, "domain-mode", None), (ASYNC, "domain-leave", None), (PAIR, "domain-exclude", None),
    ("domains: {A: {nodes: 3}}", "domain-mode", "needs a domain with a parent (topology.domains)"),
    (PAIR.replace("nodes: 2", "nodes: 2, policy: 'any 1 of [B]'"), "domain-leave",
     "needs a domain without children that the others' policies don't need (topology.domains)"),
])
def test_what_lacks_is_told_at_the_start(text: str, name: str, reason: str | None) -> None:
    async def body(stage: Play) -> None:
        assert stage.nemesis.impossible.get(name) == reason

    play(body, text)


def test_a_system_whose_tools_know_no_trees_says_so() -> None:
    async def body(stage: Play) -> None:
        assert stage.nemesis.impossible == dict.fromkeys(
            NAMES, "this system has no tree of domains that could be changed")

    play(body, tools=False)


def test_what_the_root_does_not_show_is_not_effective() -> None:
    async def body(stage: Play) -> None:
        stage.root.deaf = True
        for name in NAMES:
            fault = await stage.start(name, id=name)
            assert fault.effective_ns is None
            assert "the root's leader does not show " in str(fault.error)
            await stage.heal()

    play(body)


def test_a_domain_that_gets_its_entries_elsewhere_is_not_where_the_tree_says() -> None:
    async def body(stage: Play) -> None:
        stage.root.links["E"] = None
        fault = await stage.start("domain-reparent", targets=["n9"])
        assert (fault.effective_ns, fault.error) == (
            None, "the root's leader does not show E as it was asked for")
        await stage.stop(fault)
        assert fault.recovered_ns is None
        assert str(fault.error).endswith("does not show E as before")

    play(body)


def test_an_end_that_the_cluster_refuses_is_tried_again_when_all_is_healed() -> None:
    async def body(stage: Play) -> None:
        fault = await stage.start("domain-leave")
        stage.root.stuck = "add"
        await stage.stop(fault)
        assert (fault.ended_ns, fault.error) == (None, "not done within 15 s")
        stage.root.stuck = ""
        await stage.heal()
        assert fault.recovered_ns is not None
        assert stage.root.now == stage.root.first

    play(body)


def test_work_that_fails_says_who_tried_it_and_why() -> None:
    async def body(stage: Play) -> None:
        stage.root.stuck = "exclude"
        fault = await stage.start("domain-exclude", targets=["n3", "n4"])
        assert (fault.effective_ns, str(fault.error)[2:]) == (None, ": not done within 15 s")
        await stage.stop(fault)
        assert fault.recovered_ns is not None

    play(body)


@pytest.mark.parametrize("seed", range(8))
def test_two_changes_that_matter_to_each_other_are_not_made_at_once(seed: int) -> None:
    async def body(stage: Play) -> None:
        faults = [await stage.start(name, seed * 31 + at, id=f"{at}-0")
                  for at, name in enumerate(NAMES * 2)]
        good = [fault for fault in faults if fault.effective_ns is not None]
        assert good
        assert all(fault.error == "no domain is left for it"
                   for fault in faults if fault not in good)
        concerned = [stage.scene.readings[fault.id].concerns for fault in good]
        assert sum(map(len, concerned)) == len(frozenset().union(*concerned))
        for fault in reversed(good):
            await stage.stop(fault)
            assert fault.error is None
        assert stage.root.now == stage.root.first

    play(body)


@pytest.mark.parametrize(("targets", "told"), [
    (["n1", "n9"], "targets: expected the nodes of one domain"),
    (["n1"], "A: there is nothing to be changed")])
def test_targets_of_which_nothing_can_become_are_no_fault(targets: list[str], told: str) -> None:
    async def body(stage: Play) -> None:
        fault = await stage.start("domain-leave", targets=targets)
        assert (fault.effective_ns, fault.error) == (None, told)

    play(body)
