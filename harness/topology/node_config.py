"""What each node is told of the tree: plain values for its configuration file.

A node of the root is told the tree with which its log begins; a node of any other domain only who
it is and where its parent's nodes are: all else comes down the log. Both know the secrets of the
links that end in their domain. ``tree_values`` has the same tree in the fields of the core's own
value (core/tree.pyx: times in ns, policies as numbers), for who drives the core without files.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .policy import Policy
from .tree import Domain, MaxLag, Node, Tree

MS, NS = 1000, 1_000_000_000
ALL, NONE = 0, 255              # policies: else any so many of the sync children
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
    """Return what the tree says of one node: keys of its file, to be merged into the rest, and
    ``keys`` into the other keys there."""
    ends = [domain] * (domain.parent is not None) + list(tree.children(domain.name))
    return {
        "node": node.number,
        "members": _nodes(domain, address),
        "keys": {"links": {end.number: keys(end) for end in ends}} if ends else {},
        "domain": _section(tree, domain, address),
    }


def _section(tree: Tree, domain: Domain, address: Address) -> dict[str, Any]:
    """Return the section ``domain``: the same on all nodes of one domain."""
    found: dict[str, Any] = {"id": domain.number, "name": domain.name}
    if domain.parent is not None:
        return found | {"parent": {"nodes": _nodes(tree.by_name[domain.parent], address)}}
    return found | {
        "lease_ms": _ms(tree.timers.lease),
        "policy": _policy(domain.policy),
        "tree": {other.number: _member(tree, other, address)
                 for other in tree.walk() if other is not domain},
    }


def _member(tree: Tree, domain: Domain, address: Address) -> dict[str, Any]:
    """Return what the root is told of another domain."""
    found: dict[str, Any] = {
        "name": domain.name, "parent": domain.parent, "nodes": _nodes(domain, address),
        "mode": domain.mode, "policy": _policy(domain.policy), "exclusion": domain.exclusion,
        "exclude_after_ms": _ms(tree.timers.exclude_after)}
    if domain.readmit_throttle:
        found["readmit_throttle"] = True
    return found | ({"max_lag": _lag(domain.max_lag)} if domain.max_lag is not None else {})


def _nodes(domain: Domain, address: Address) -> dict[int, str]:
    return {node.number: address(domain, node) for node in domain.members}


def _policy(policy: Policy) -> str:
    """Return a policy without the names: it is always about all sync children (rules.py)."""
    return f"any {policy.needed}" if policy.kind == "any" else policy.kind


def _lag(bound: MaxLag) -> dict[str, Any]:
    values = {"entries": bound.entries, "bytes": bound.bytes,
              "ms": None if bound.time is None else _ms(bound.time), "then": bound.then}
    return {name: value for name, value in values.items() if value is not None}


def _ms(seconds: float) -> int:
    return max(1, round(seconds * MS))


def tree_values(tree: Tree, *, address: Address = written) -> dict[str, Any]:
    """Return the whole tree: the root's id, the length of leases, and each domain by id."""
    return {"root": tree.root.number, "lease_ns": _ns(tree.timers.lease),
            "domains": {each.number: _fields(tree, each, address) for each in tree.walk()}}


def _fields(tree: Tree, domain: Domain, address: Address) -> dict[str, Any]:
    lag = domain.max_lag
    fields: dict[str, Any] = {
        "name": domain.name,
        "parent": 0 if domain.parent is None else tree.by_name[domain.parent].number,
        "sync": domain.mode == "sync",
        "block": domain.exclusion == "block",
        "any_k": _number(domain.policy),
        "max_lag_entries": lag.entries or 0 if lag is not None else 0,
        "max_lag_bytes": lag.bytes or 0 if lag is not None else 0,
        "max_lag_ns": _ns(lag.time or 0) if lag is not None else 0,
        "readmit_throttle": domain.readmit_throttle,
        "on_lag": lag.then if lag is not None else "none",
        "nodes": [(node.number, address(domain, node)) for node in domain.members],
    }
    if domain.parent is not None:
        fields["exclude_after_ns"] = _ns(tree.timers.exclude_after)
    return fields


def _number(policy: Policy) -> int:
    return {"all": ALL, "none": NONE, "any": policy.needed}[policy.kind]


def _ns(seconds: float) -> int:
    return round(seconds * NS)
