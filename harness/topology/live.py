"""A running tree, as its nodes themselves tell it: which tree it is, and how each domain is.

What a node says is the JSON of ``python -m seatrial.core status``. The newest tree is the one that
the root's leader holds; where nobody says to lead the root, the one of whoever has most of its log.
A cluster that was told of no tree is one domain.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .policy import ALL, NONE, Policy
from .status import DomainStatus, gather, said
from .tree import Domain, MaxLag, Node, Tree

MS = 1000
Words = Mapping[str, Any]       # of one node


@dataclass(frozen=True)
class Heard:
    """What asking came to. words: of each node that answered, by number; names: how its host is
    called, by number and by address; silent: who said nothing, and why."""

    words: Mapping[int, Words]
    names: Mapping[int | str, str]
    silent: Mapping[str, str]

    def name(self, number: int, address: str) -> str:
        """Return how to call a node."""
        where = address.rpartition(":")[0].strip("[]")
        return self.names.get(number) or self.names.get(where) or f"node {number}"


def running(heard: Heard) -> tuple[Tree, dict[str, DomainStatus]] | None:
    """Return the tree and what is known of each domain, by name; None: nobody knows the tree."""
    shown = newest_tree(heard.words)
    if shown is None:
        return None
    tree = tree_shown(shown, heard)

    def ask(_: Domain, node: Node) -> Any:
        words = heard.words.get(node.number)
        return None if words is None else said(words)

    found = gather(tree, ask)
    for id, domain in shown["domains"].items():
        if domain.get("mode") == "sync":
            name = domain["name"]
            found[name] = replace(found[name], included=bool(domain["included"]),
                                  held=bool(domain.get("held")))
            assert tree.by_name[name].number == int(id)
    return tree, found


def newest_tree(words: Mapping[int, Words]) -> Words | None:
    """Return the newest tree that anybody holds, as a status shows it."""
    best: tuple[tuple[int, ...], Words] | None = None
    for one in words.values():
        domain, tree = one.get("domain"), one.get("tree")
        if domain is None:
            return {"root": 1, "domains": {"1": {
                "name": one["cluster"], "nodes": one["members"], "policy": "all"}}}
        if tree is None:
            continue
        leads = one["role"] == "leader" and domain["root"]
        rank = (int(leads), int(one["term"]) if leads else 0, int(domain["mirror_end"]))
        if best is None or rank > best[0]:
            best = rank, tree
    return None if best is None else best[1]


def tree_shown(shown: Words, heard: Heard) -> Tree:
    """Return the tree that a status shows; timers are left as they are by default."""
    domains = {int(id): domain for id, domain in shown["domains"].items()}
    return Tree(tuple(_domain(id, domain, domains, heard)
                      for id, domain in sorted(domains.items())))


def _domain(id: int, shown: Words, domains: Mapping[int, Words], heard: Heard) -> Domain:
    nodes = tuple(Node(heard.name(int(number), address), int(number), address)
                  for number, address in sorted(shown["nodes"].items(), key=lambda at: int(at[0])))
    policy = _policy(shown["policy"], [
        other["name"] for other in domains.values()
        if other.get("parent") == id and other["mode"] == "sync"])
    if "mode" not in shown:
        return Domain(shown["name"], id, nodes, policy=policy)
    return Domain(shown["name"], id, nodes, domains[shown["parent"]]["name"], shown["mode"],
                  policy, shown["exclusion"], _bound(shown.get("max_lag")),
                  bool(shown.get("readmit_throttle")))


def _policy(text: str, sync: list[str]) -> Policy:
    if text in ("all", "none"):
        return ALL if text == "all" else NONE
    return Policy("any", int(text.removeprefix("any ")), tuple(sync))


def _bound(shown: Words | None) -> MaxLag | None:
    if shown is None:
        return None
    return MaxLag(shown.get("entries") or None, shown.get("bytes") or None,
                  shown["ms"] / MS if shown.get("ms") else None, shown["then"], settle=0.0)
