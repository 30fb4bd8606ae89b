"""What each node is told of the tree: plain values for its configuration file.

The tree itself is the root's log content; ``tree_values`` has what its first entry says, in the
fields of ``core/tree.pyx`` (times in ns, policies as numbers). Besides, a node is told its own
domain, its members, and the files with the keys of its link and of its children's.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .policy import Policy
from .tree import Domain, Node, Tree

NS = 1_000_000_000
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
        found |= {
            "mode": domain.mode,
            "parent": {"id": parent.number, "key": keys(domain),
                       "addresses": [address(parent, node) for node in parent.members]},
        }
    if children := tree.children(domain.name):
        found["children"] = {child.number: keys(child) for child in children}
    return found | {"tree": tree_values(tree, address=address)}


def tree_values(tree: Tree, *, address: Address = written) -> dict[str, Any]:
    """Return the whole tree: the root's id, the length of leases, and each domain by id."""
    return {"root": tree.root.number, "lease_ns": _ns(tree.timers.lease),
            "domains": {each.number: _fields(tree, each, address) for each in tree.walk()}}


def _fields(tree: Tree, domain: Domain, address: Address) -> dict[str, Any]:
    lag = domain.max_lag
    return {
        "name": domain.name,
        "parent": 0 if domain.parent is None else tree.by_name[domain.parent].number,
        "sync": domain.mode == "sync",
        "block": domain.exclusion == "block",
        "any_k": _number(domain.policy),
        "exclude_after_ns": _ns(tree.timers.exclude_after),
        "max_lag_entries": lag.entries or 0 if lag is not None else 0,
        "max_lag_ns": _ns(lag.time or 0) if lag is not None else 0,
        "on_lag": lag.then if lag is not None else "none",
        "nodes": [(node.number, address(domain, node)) for node in domain.members],
    }


def _number(policy: Policy) -> int:
    return {"all": ALL, "none": NONE, "any": policy.needed}[policy.kind]


def _ns(seconds: float) -> int:
    return round(seconds * NS)
