"""The section ``domain``: a child knows its parent's nodes, the root's nodes the tree."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seatrial.core.config import Address, load
from seatrial.core.domain_config import parse_policy, policy_text
from seatrial.core.errors import ConfigError
from seatrial.core.tree import ALL, NONE, Domain, Tree

from .test_config import GOOD, folder, write

__all__ = ["folder"]

MS = 1_000_000
KEYS = GOOD["keys"] | {"link": "peer.key"}
MEMBERS = ((1, "198.18.0.1:7000"), (2, "[fd00::2]:7000"), (3, "three.example:7000"))
B = {"name": "b", "parent": "a", "mode": "sync", "nodes": {4: "h:4", 5: "h:5"}}
C = {"name": "c", "parent": "b", "nodes": {6: "h:6"}, "policy": "none",
     "max_lag": {"entries": 9, "ms": 2000, "then": "stall"}, "exclusion": "block"}
ROOT = {"id": 1, "name": "a", "lease_ms": 200, "tree": {2: B, 3: C}}
CHILD = {"id": 2, "name": "b", "parent": {"nodes": {7: "h:7", 8: "[::1]:8"}}}


def test_a_node_without_the_section_is_of_the_one_domain(folder: Path) -> None:
    settings = load(write(folder))
    assert (settings.domain, settings.parent, settings.tree) == (1, {}, None)
    assert sorted(settings.keys) == ["admin", "client", "peer"]


def test_a_node_of_the_root_begins_with_the_tree_of_its_file(folder: Path) -> None:
    settings = load(write(folder, keys=KEYS, domain=ROOT))
    assert settings.tree == Tree({
        1: Domain("a", nodes=MEMBERS),
        2: Domain("b", 1, sync=True, nodes=((4, "h:4"), (5, "h:5"))),
        3: Domain("c", 2, block=True, any_k=NONE, max_lag_entries=9, max_lag_ns=2000 * MS,
                  on_lag="stall", nodes=((6, "h:6"),)),
    }, 1, lease_ns=200 * MS)
    assert settings.keys["link"] == b"the secret of peers"


def test_a_root_alone_is_a_tree_of_one(folder: Path) -> None:
    settings = load(write(folder, keys=KEYS, domain={"id": 9}))
    assert settings.tree == Tree({9: Domain("9", nodes=MEMBERS)}, 9)


def test_a_node_of_a_child_knows_its_parents_nodes(folder: Path) -> None:
    (folder / "b.key").write_text("the secret of domain two")
    settings = load(write(folder, keys=GOOD["keys"] | {"links": {2: "b.key"}}, domain=CHILD))
    assert settings.parent == {7: Address("h", 7), 8: Address("::1", 8)}
    assert (settings.domain, settings.tree) == (2, None)
    assert settings.keys["link 2"] == b"the secret of domain two"


def root(**changes: Any) -> dict[str, Any]:
    return ROOT | changes


def b(**changes: Any) -> dict[str, Any]:
    return root(tree={2: B | changes, 3: C})


@pytest.mark.parametrize(("domain", "message"), [
    ({}, "missing required field `id`"),
    ({"id": 0}, r">= 1 - at `\$.domain.id`"),
    (root(colour=1), r"unknown field `colour` - at `\$.domain`"),
    (root(tree={1: B}), r"domain.tree.1: this is the node's own domain"),
    (root(name="!", tree={}), r"domain.tree: domain 1: its name '!': expected 1 to 32"),
    (root(policy="some"), "domain.policy: policy 'some': expected all, none or any K"),
    (root(policy="any 2"), r"domain.tree: domain 1 \(a\): policy any 2 could never be met by 1"),
    (b(parent="x"), r"domain.tree.2.parent: there is no domain called 'x': a, b, c"),
    (b(parent="c"), r"domain.tree: domain 2 \(b\) is its own ancestor: 2 under 3 under 2"),
    (b(parent="b"), r"domain.tree: domain 2 \(b\) is its own ancestor"),
    (b(name="a"), "domain.tree.2.name: domain 1 is called 'a', too"),
    (b(nodes={}), r"at `\$.domain.tree"),
    (b(nodes={4: "here"}), "domain.tree.2.nodes.4: 'here' is not host:port"),
    (b(nodes={1: "h:1"}), r"node 1 is in domain 1 \(a\) and domain 2 \(b\)"),
    (b(mode="lazy"), r"Invalid enum value 'lazy' - at `\$.domain.tree"),
    (b(policy="any 0"), "domain.tree.2: policy 'any 0': expected all, none or any K"),
    (b(exclude_after_ms=230), "excluded after 230000000 ns: expected more than a lease"),
    (b(max_lag={"then": "stall"}), "on_lag stall needs a lag bound, in entries, bytes or time"),
    (root(tree={2: B | {"mode": "async"}, 3: C | {"mode": "sync"}}),
     r"domain.tree: domain 3 \(c\) is sync, but could never be waited for: b above it is async"),
    (b(max_lag={"entries": 0}), r">= 1 - at"),
    (CHILD | {"tree": {3: C}}, "domain.tree: only the root's nodes are told"),
    (CHILD | {"lease_ms": 100}, "domain.lease_ms: only the root's nodes are told"),
    (CHILD | {"parent": {"nodes": {}}}, r"at `\$.domain.parent.nodes`"),
    (CHILD | {"parent": {"nodes": {2: "h:1"}}},
     "domain.parent.nodes.2: it is among `members` too: a node is in one domain"),
    (CHILD | {"parent": {"nodes": {7: "h"}}}, "domain.parent.nodes.7: 'h' is not host:port"),
])
def test_a_section_that_can_not_be_is_refused(
    folder: Path, domain: dict[str, Any], message: str
) -> None:
    path = write(folder, keys=KEYS, domain=domain)
    with pytest.raises(ConfigError, match=message) as refusal:
        load(path)
    assert str(refusal.value).startswith(f"configuration {path}: ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("keys", "domain", "message"), [
    ({}, ROOT, "keys.link: expected the file with the secret of links, or keys.links.ID"),
    ({}, CHILD, "keys.link: .* or keys.links.2"),
    ({"links": {3: "peer.key"}}, CHILD, "keys.link: .* or keys.links.2"),
    ({"link": "none.key"}, ROOT, "can't read key file"),
    ({"links": {0: "peer.key"}}, ROOT, r">= 1 - at `key` in `\$.keys.links`"),
    ({"link": "peer.key"}, None, "keys.link, keys.links: a node without a section `domain`"),
])
def test_the_key_of_links_is_demanded_where_there_are_links(
    folder: Path, keys: dict[str, Any], domain: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(folder, keys=GOOD["keys"] | keys, domain=domain))


@pytest.mark.parametrize(("text", "any_k"), [("all", ALL), ("none", NONE), ("any 3", 3)])
def test_a_policy_is_written_as_it_is_read(text: str, any_k: int) -> None:
    assert parse_policy(text) == any_k
    assert policy_text(any_k) == text
