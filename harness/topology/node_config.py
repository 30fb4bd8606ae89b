"""What each node is told of the tree: plain values for its configuration file.

A node knows its own domain's members, the addresses of its parent's nodes (any of them, as a
client would), its link's key, and of every other domain only number, parent, mode and policy: a
parent recognises a child by its domain's number and key, never by its nodes.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .tree import Domain, MaxLag, Node, Tree

MS = 1000
Address = Callable[[Domain, Node], str]
KeyFile = Callable[[Domain], str]


def written(domain: Domain, node: Node) -> str:
    """Return the address that the file gives a node; ValueError where it gives none."""
    if node.address is None:
        raise ValueError(f"{domain.name}: no address is known of {node.name}")
    return node.address


def key_file(domain: Domain) -> str:
    """Return the file with the key of a domain's link: the one given, else by its number."""
    return domain.key or f"link-{domain.number}.key"


def node_config(tree: Tree, domain: Domain, node: Node, *, address: Address = written,
                keys: KeyFile = key_file) -> dict[str, Any]:
    """Return what the tree says of one node: parts of its file, to be merged into the rest."""
    return {
        "node": node.number,
        "members": {member.number: address(domain, member) for member in domain.members},
        "domain": domain_config(tree, domain, address=address, keys=keys),
    }


def domain_config(tree: Tree, domain: Domain, *, address: Address = written,
                  keys: KeyFile = key_file) -> dict[str, Any]:
    """Return the section ``domain``: the same on all nodes of one domain."""
    found: dict[str, Any] = {"id": domain.number, "name": domain.name}
    if domain.parent is not None:
        parent = tree.by_name[domain.parent]
        found["parent"] = {
            "id": parent.number,
            "addresses": [address(parent, node) for node in parent.members],
            "key": keys(domain),
        }
    if children := tree.children(domain.name):
        found["children"] = {child.number: keys(child) for child in children}
    found["tree"] = [entry(tree, each) for each in tree.walk()]
    timers = tree.timers
    found |= {"lease_ms": round(timers.lease * MS), "promise_ms": round(timers.promise * MS),
              "exclude_after_ms": round(timers.exclude_after * MS), "drift": timers.drift}
    return found


def entry(tree: Tree, domain: Domain) -> dict[str, Any]:
    """Return what everybody knows of one domain: what the root's log will hold of it."""
    found: dict[str, Any] = {"id": domain.number, "name": domain.name,
                             "policy": domain.policy.kind}
    if domain.policy.kind == "any":
        found["needed"] = domain.policy.needed
        found["among"] = [tree.by_name[name].number for name in domain.policy.among]
    if domain.parent is not None:
        found |= {"parent": tree.by_name[domain.parent].number, "mode": domain.mode}
        if domain.mode == "sync":
            found["exclusion"] = domain.exclusion
    if domain.max_lag is not None:
        found["max_lag"] = lag(domain.max_lag)
    return found


def lag(bound: MaxLag) -> dict[str, Any]:
    """Return a lag bound without what is not bounded."""
    values = {"entries": bound.entries, "bytes": bound.bytes,
              "ms": None if bound.time is None else round(bound.time * MS),
              "then": bound.then, "settle_ms": round(bound.settle * MS)}
    return {name: value for name, value in values.items() if value is not None}
