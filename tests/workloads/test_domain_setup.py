"""When a tree of domains on hosts serves, so that clients can begin."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from seatrial.core.domain_administration import describe_tree
from seatrial.core.tree import Domain, Tree
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document
from seatrial.workloads.systems.domains import not_serving

TEXT = """
name: t
workload: {name: register}
topology:
  domains:
    A: {nodes: 1}
    B: {nodes: 1, parent: A, mode: sync, exclusion: block}
    C: {nodes: 1, parent: A, mode: async}
"""
TREE = Tree({1: Domain("A", nodes=((1, "h1:1"),)),
             2: Domain("B", 1, sync=True, block=True, nodes=((2, "h2:1"),)),
             3: Domain("C", 1, nodes=((3, "h3:1"),))}, 1)


def missing(shown: Tree | None, committed: int = 9, **states: str) -> list[str]:
    """What is missing where the root shows this tree. states: of links; of who has none, nobody
    leads."""
    tree = validated(Document.parse("t.yml", TEXT))[1].topology.tree()
    hosts: Any = [SimpleNamespace(name=f"n{at + 1}", index=at) for at in range(3)]
    said: dict[int, Any] = {0: {"role": "leader", "term": 1, "tree": msgspec.json.decode(
        msgspec.json.encode(describe_tree(shown))), "domain": {"committed": committed}}}
    for at, name in ((1, "B"), (2, "C")):
        said[at] = {"role": "leader" if name in states else "follower", "term": 1,
                    "domain": {"uplink": {"state": states.get(name)}}}
    return not_serving(tree, hosts, said)


def test_every_domain_is_led_and_linked() -> None:
    included = TREE.readmit(2, 9)
    assert missing(included, B="streaming", C="streaming") == []
    assert missing(included, B="attaching", C="streaming") == ["B is attaching"]
    assert missing(included, B="streaming") == ["nobody leads C"]


def test_writes_wait_for_a_sync_domain_before_clients_begin() -> None:
    """Or else a write that it did not confirm would be taken for one that had to wait for it."""
    linked = {"B": "streaming", "C": "streaming"}
    assert missing(TREE, **linked) == ["B is not included yet"]
    assert missing(TREE.readmit(2, 10), **linked) == ["B is not included yet"], "it may be lost yet"
    assert missing(None, **linked) == ["B is not included yet"]
