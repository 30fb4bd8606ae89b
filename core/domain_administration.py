"""Changes of the tree of domains that an administrator may ask of the root's leader.

The request's body is JSON. It is answered when the changed tree is committed by the root's rule:
done, "not the leader" with its number, "busy", or a line that says what is wrong (core/tree knows
most of that). The patient side is domain_commands.py.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from seatrial.core.config import parse_address
from seatrial.core.domain_config import (
    DomainId,
    Member,
    Nodes,
    behind_async,
    domain_of,
    parse_policy,
    policy_text,
)
from seatrial.core.tree import BadTree, Domain, Tree

MS = 1_000_000
Step = Callable[[Tree], Tree]


class TreeRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of op tree: one change of one domain, which is named, or given by its id."""

    change: Literal["add", "remove", "mode", "policy", "block", "reparent", "relocate", "exclude",
                    "readmit"]
    domain: str
    id: DomainId | None = None          # add
    member: Member | None = None
    sync: bool | None = None            # mode
    policy: str | None = None
    block: bool | None = None
    parent: str | None = None           # reparent
    nodes: Nodes | None = None          # relocate


def step(asked: TreeRequest) -> Step:
    """Return the change; it raises BadTree."""
    def change(tree: Tree) -> Tree:
        after = _changed(tree, asked)
        line = behind_async(after)
        if line and not behind_async(tree):
            raise BadTree(line)
        return after

    return change


def _changed(tree: Tree, asked: TreeRequest) -> Tree:
    if asked.change == "add":
        return _added(tree, asked)
    id = find(tree, asked.domain)
    if asked.change == "mode":
        return tree.mode(id, _given(asked, "sync"))
    if asked.change == "policy":
        return tree.policy(id, _policy(_given(asked, "policy")))
    if asked.change == "block":
        return tree.block(id, _given(asked, "block"))
    if asked.change == "reparent":
        return tree.reparent(id, find(tree, _given(asked, "parent")))
    if asked.change == "relocate":
        return tree.relocate(id, checked_nodes(_given(asked, "nodes")).items())
    if asked.change == "readmit":       # (by the root, as soon as it has caught up)
        return tree.release(id)
    return tree.exclude(id, held=True) if asked.change == "exclude" else tree.remove(id)


def _added(tree: Tree, asked: TreeRequest) -> Tree:
    member: Member = _given(asked, "member")
    if member.name != asked.domain:
        raise BadTree(f"add {asked.domain}: its member is called {member.name!r}")
    checked_nodes(member.nodes)
    try:
        domain = domain_of(member, find(tree, member.parent))
    except BadTree:
        raise
    except ValueError as error:
        raise BadTree(str(error)) from None
    return tree.add(_given(asked, "id"), domain)


def _given(asked: TreeRequest, key: str) -> Any:
    value = getattr(asked, key)
    if value is None:
        raise BadTree(f"{asked.change}: `{key}` is missing")
    return value


def _policy(text: str) -> int:
    try:
        return parse_policy(text)
    except ValueError as error:
        raise BadTree(str(error)) from None


def checked_nodes(nodes: dict[int, str]) -> dict[int, str]:
    """Return nodes whose addresses can be dialled. Raises BadTree."""
    for node, where in nodes.items():
        try:
            parse_address(where)
        except ValueError as error:
            raise BadTree(f"node {node}: {error}") from None
    return nodes


def find(tree: Tree, text: str) -> int:
    """Return the id of the domain that a name, else a number, means. Raises BadTree."""
    try:
        return tree.called(text)
    except BadTree:
        if text.isascii() and text.isdigit() and int(text) in tree.domains:
            return int(text)
        raise


# -- for status -----------------------------------------------------------------------------------


def describe_tree(tree: Tree | None) -> dict[str, Any] | None:
    """Return a tree as JSON holds it; None: this node knows of none."""
    if tree is None:
        return None
    return {"root": tree.root, "epoch": tree.epoch, "lease_ms": tree.lease_ns / MS,
            "gating": sorted(tree.gating()),
            "domains": {id: describe_domain(domain) for id, domain in tree.domains.items()}}


def describe_domain(domain: Domain) -> dict[str, Any]:
    """Return one domain of it, in the words of the configuration file."""
    found: dict[str, Any] = {
        "name": domain.name, "policy": policy_text(domain.any_k), "nodes": dict(domain.nodes)}
    if domain.parent == 0:
        return found
    lag = {"entries": domain.max_lag_entries, "bytes": domain.max_lag_bytes,
           "ms": domain.max_lag_ns / MS}
    return found | {
        "parent": domain.parent, "mode": "sync" if domain.sync else "async",
        "included": domain.included, "include_rindex": domain.include_rindex,
        "held": domain.held, "readmit_throttle": domain.readmit_throttle,
        "exclusion": "block" if domain.block else "exclude",
        "exclude_after_ms": domain.exclude_after_ns / MS,
        "max_lag": lag | {"then": domain.on_lag} if any(lag.values()) else None}
