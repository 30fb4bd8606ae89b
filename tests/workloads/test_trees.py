"""Work on our node's tree of domains: each piece is a ``domain`` command that the node knows."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from seatrial.core import domain_commands
from seatrial.core.__main__ import parser
from seatrial.core.domain_administration import TreeRequest, describe_tree, step
from seatrial.core.errors import ConfigError
from seatrial.core.tree import BadTree, Domain, Tree
from seatrial.harness.administration import DomainState
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document
from seatrial.workloads.systems.node import NodeOptions, NodeSystem
from seatrial.workloads.systems.trees import GONE, NOTHING, THERE, NodeTrees, states

S, MS = 1_000_000_000, 1_000_000
TREE = Tree({
    1: Domain("a", any_k=1, nodes=((1, "h1:1"),)),
    2: Domain("b", 1, sync=True, included=True, include_rindex=9, nodes=((2, "h2:1"),)),
    3: Domain("c", 1, sync=True, held=True, block=True, any_k=255, nodes=((3, "h3:1"),),
              exclude_after_ns=1500 * MS, max_lag_ns=5 * S, on_lag="throttle"),
    4: Domain("d", 2, nodes=((4, "h4:1"), (14, "[fd00::4]:1")), max_lag_entries=1000,
              max_lag_bytes=1 << 20, max_lag_ns=2500 * MS, on_lag="stall", readmit_throttle=True),
    5: Domain("e", 2, nodes=((5, "h5:1"),), max_lag_entries=70, max_lag_ns=9 * S),
}, 1)


def told(tree: Tree, **links: int) -> dict[str, DomainState]:
    """Return what the root's leader shows; links: whose node a leader gets entries from."""
    leading = {name: {"domain": {"uplink": {"state": "streaming", "node": node}}}
               for name, node in links.items()}
    return states(msgspec.json.decode(msgspec.json.encode(describe_tree(tree))), leading)


class Asked:
    """The request that a command makes, caught on its way to the root."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(domain_commands, "root_cluster", lambda options: self)
        monkeypatch.setattr(domain_commands, "print_tree", lambda options, status: None)
        self.request: TreeRequest
        self.tree = TREE

    def change_tree(self, body: Any, goal: Any) -> None:
        self.request = msgspec.json.decode(msgspec.json.encode(body), type=TreeRequest)

    def until_tree(self, goal: Any, why: Any) -> None:
        pass

    def of(self, command: list[str]) -> tuple[str, Tree | None]:
        """Return what a command takes for done, and the tree that it makes of it."""
        fine, *words = command
        options = parser().parse_args(["domain", *words, "--config", "node.yml"])
        options.run(options)
        try:
            return fine, step(self.request)(self.tree)
        except BadTree as refusal:
            return (fine if fine in str(refusal) else str(refusal)), None


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def tools(system: Any = None) -> Any:
    return NodeTrees(system, lambda fine, *words: [fine, *words])


@pytest.mark.parametrize(("ask", "after"), [
    (lambda by: by.excluding(None, None, "b"), TREE.exclude(2, held=True)),
    (lambda by: by.readmitting(None, None, "c"), TREE.release(3)),
    (lambda by: by.switching(None, None, "b", sync=False), TREE.mode(2, sync=False)),
    (lambda by: by.switching(None, None, "d", sync=True), TREE.mode(4, sync=True)),
    (lambda by: by.counting(None, None, "a", "any 2"), TREE.policy(1, 2)),
    (lambda by: by.counting(None, None, "a", "none"), TREE.policy(1, 255)),
    (lambda by: by.blocking(None, None, "b", block=True), TREE.block(2, block=True)),
    (lambda by: by.blocking(None, None, "c", block=False), TREE.block(3, block=False)),
    (lambda by: by.moving(None, None, "d", "c"), TREE.reparent(4, 3)),
])
def test_every_piece_of_work_is_a_command_that_can_be_given_again(
    ask: Any, after: Tree, asked: Asked,
) -> None:
    assert asked.of(ask(tools())) == (NOTHING, after)
    assert step(asked.request)(after) == after


@pytest.mark.parametrize("name", ["b", "c", "d", "e"])
def test_a_domain_that_comes_back_is_what_it_was(name: str, asked: Asked) -> None:
    id = TREE.called(name)
    asked.tree = bare = TREE.reparent(4, 1).reparent(5, 1) if name == "b" else TREE
    was = told(bare)[name]
    gone = bare.remove(id)
    assert asked.of(tools().removing(None, None, name))[0] == GONE
    with pytest.raises(BadTree, match=GONE):
        step(asked.request)(gone)
    assert asked.of(tools().adding(None, None, was)) == (THERE, None)       # it is there already
    back = step(asked.request)(gone)
    assert back.domains[id] == bare.domains[id]._replace(
        included=False, include_rindex=0, held=False)


def test_what_the_node_tells_of_its_tree() -> None:
    found = told(TREE, d=2, b=7)
    assert list(found) == ["a", "b", "c", "d", "e"]
    assert found["a"] == DomainState("a", 1, None, {1: "h1:1"}, "any 1")
    assert (found["b"].included, found["b"].sync, found["b"].held) == (True, True, False)
    assert (found["c"].included, found["c"].held, found["c"].block) == (False, True, True)
    assert (found["c"].policy, found["c"].exclude_after_ms) == ("none", 1500)
    assert [domain.linked_to for domain in found.values()] == [None, None, None, "b", None]
    assert found["d"].alike(told(TREE)["d"])
    assert not found["d"].alike(told(TREE.reparent(4, 3))["d"])
    waiting = {"b": {"domain": {"uplink": {"state": "catching-up", "node": 1}}}}
    shown = msgspec.json.decode(msgspec.json.encode(describe_tree(TREE)))
    assert states(shown, waiting)["b"].linked_to is None


def test_the_newest_leader_of_the_root_is_believed() -> None:
    text = ("name: t\nworkload: {name: register}\ntopology:\n  domains:\n    a: {nodes: 2}\n"
            "    b: {nodes: 1, parent: a, mode: sync}\n")
    nodes = [SimpleNamespace(name=f"n{at + 1}", index=at) for at in range(3)]
    test: Any = SimpleNamespace(nodes=nodes, spec=validated(Document.parse("t.yml", text))[1])

    def says(role: str, term: int, tree: Tree | None) -> dict[str, Any]:
        return {"role": role, "term": term, "domain": {"uplink": {"state": "streaming", "node": 1}},
                "tree": msgspec.json.decode(msgspec.json.encode(describe_tree(tree)))}

    def found(*said: dict[str, Any]) -> Any:
        async def statuses(test: Any) -> dict[int, Any]:
            return dict(enumerate(said))

        return asyncio.run(tools(SimpleNamespace(statuses=statuses)).tree(test))

    newer = TREE.exclude(2)
    tree = found(says("leader", 3, TREE), says("leader", 4, newer), says("leader", 9, TREE))
    assert tree == told(newer) | {"b": told(newer, b=1)["b"]}
    assert found(says("follower", 3, TREE), says("follower", 3, TREE),
                 says("leader", 9, TREE)) is None
    assert found(says("leader", 3, None)) is None


def test_there_is_no_tree_where_all_hosts_are_one_domain() -> None:
    test: Any = SimpleNamespace(spec=SimpleNamespace(topology=SimpleNamespace(domains=None)))
    assert asyncio.run(NodeSystem(NodeOptions()).administration.trees.tree(test)) is None


def test_words_that_the_node_does_not_know_are_refused_here(asked: Asked) -> None:
    with pytest.raises(ConfigError, match="expected all, none or any K"):
        asked.of(tools().counting(None, None, "a", "most"))
