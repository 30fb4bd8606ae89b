"""The section ``domain`` of a node's configuration: whose member it is, and where in the tree.

A node of the root, with the tree as it is before its log says another (all that follows is log
content, changed by ``python -m seatrial.core domain``):

    domain:
      id: 1
      name: a
      lease_ms: 300
      tree:
        2: {name: b, parent: a, mode: sync, nodes: {4: "198.18.0.4:7000"}}
        3: {name: c, parent: b, nodes: {5: "198.18.0.5:7000"}, max_lag: {entries: 1000}}

A node of any other domain knows its parent's nodes, and learns the rest from the log:

    domain: {id: 2, name: b, parent: {nodes: {1: "198.18.0.1:7000"}}}

Both have ``keys: {link: FILE}``, the secret of links, or ``links: {2: FILE}``, that of a domain.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from seatrial.core.errors import ConfigError
from seatrial.core.tree import ALL, NONE, BadTree, Domain, Tree

MS = 1_000_000
LEASE_MS = 300
DomainId = Annotated[int, Meta(ge=1, le=65535)]
NodeId = Annotated[int, Meta(ge=1, le=65535)]
Nodes = Annotated[dict[NodeId, str], Meta(min_length=1, max_length=32)]
Millis = Annotated[int, Meta(ge=1, le=24 * 3600 * 1000)]
Count = Annotated[int, Meta(ge=1, le=1 << 53)]


class Strict(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A part of the file; what is not named here may not be there."""


class Parent(Strict, frozen=True):
    """Whom a child's leader dials until its log says otherwise."""

    nodes: Nodes


class MaxLag(Strict, frozen=True):
    """How far a domain may be behind, and what happens beyond that."""

    entries: Count | None = None
    bytes: Annotated[int, Meta(ge=1, lt=1 << 48)] | None = None
    ms: Millis | None = None
    then: Literal["none", "throttle", "exclude", "stall"] = "throttle"


class Member(Strict, frozen=True):
    """A domain of the initial tree, or one that is added to it later."""

    name: str
    parent: str
    nodes: Nodes
    mode: Literal["sync", "async"] = "async"
    policy: str = "all"
    exclusion: Literal["exclude", "block"] = "exclude"
    exclude_after_ms: Millis = 1000
    max_lag: MaxLag | None = None
    readmit_throttle: bool = False


class DomainSection(Strict, frozen=True):
    """The section."""

    id: DomainId
    name: str = ""                      # "": its id
    parent: Parent | None = None
    lease_ms: Millis | None = None      # 300
    policy: str | None = None           # all
    tree: dict[DomainId, Member] = {}


def parse_policy(text: str) -> int:
    """Return what a policy's text means in a tree: all, none, or any K. Raises ValueError."""
    words = text.split()
    if words in (["all"], ["none"]):
        return ALL if words == ["all"] else NONE
    if len(words) == 2 and words[0] == "any" and words[1].isdigit() and 0 < int(words[1]) < 64:
        return int(words[1])
    raise ValueError(f"policy {text!r}: expected all, none or any K, with K from 1 to 63")


def policy_text(any_k: int) -> str:
    """Return a policy as people write it."""
    return {ALL: "all", NONE: "none"}.get(any_k, f"any {any_k}")


def domain_of(member: Member, parent: int) -> Domain:
    """Return a domain as the tree holds it. Raises ValueError."""
    lag = member.max_lag or MaxLag(then="none")
    return Domain(
        member.name, parent, member.mode == "sync", block=member.exclusion == "block",
        any_k=parse_policy(member.policy), exclude_after_ns=member.exclude_after_ms * MS,
        max_lag_entries=lag.entries or 0, max_lag_ns=(lag.ms or 0) * MS, on_lag=lag.then,
        max_lag_bytes=lag.bytes or 0, readmit_throttle=member.readmit_throttle,
        nodes=tuple(member.nodes.items()))


def behind_async(tree: Tree) -> str:
    """Say of a sync domain that no write could ever wait for it; "": there is none."""
    for id, domain in tree.domains.items():
        for above in tree.path(id)[1:-1] if domain.sync else ():
            if not tree.domains[above].sync:
                return (f"domain {id} ({domain.name}) is sync, but could never be waited for:"
                        f" {tree.domains[above].name} above it is async")
    return ""


def initial_tree(section: DomainSection, nodes: Mapping[int, str]) -> Tree:
    """Return the tree that a node of the root begins with. Raises ConfigError naming the key."""
    if section.id in section.tree:
        raise ConfigError(f"domain.tree.{section.id}: this is the node's own domain: its nodes"
                          " are `members`, the rest is said in `domain`")
    name = section.name or str(section.id)
    ids = {name: section.id}
    for id, member in section.tree.items():
        if ids.setdefault(member.name, id) != id:
            raise ConfigError(f"domain.tree.{id}.name: domain {ids[member.name]} is called"
                              f" {member.name!r}, too")
    try:
        found = {section.id: Domain(name, any_k=parse_policy(section.policy or "all"),
                                    nodes=tuple(nodes.items()))}
    except ValueError as error:
        raise ConfigError(f"domain.policy: {error}") from None
    for id, member in section.tree.items():
        where = f"domain.tree.{id}"
        if member.parent not in ids:
            raise ConfigError(f"{where}.parent: there is no domain called {member.parent!r}:"
                              f" {', '.join(ids)}")
        try:
            found[id] = domain_of(member, ids[member.parent])
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
    try:
        tree = Tree(found, section.id, lease_ns=(section.lease_ms or LEASE_MS) * MS)
    except BadTree as error:
        raise ConfigError(f"domain.tree: {error}") from None
    if line := behind_async(tree):
        raise ConfigError(f"domain.tree: {line}")
    return tree


def check_section(section: DomainSection, members: Mapping[int, str]) -> None:
    """Refuse what can't be of a domain's node."""
    if section.parent is None:
        return
    for key in ("tree", "lease_ms", "policy"):
        if getattr(section, key):
            raise ConfigError(f"domain.{key}: only the root's nodes are told; a domain with a"
                              " parent learns it from the log")
    for node in section.parent.nodes:
        if node in members:
            raise ConfigError(f"domain.parent.nodes.{node}: it is among `members` too: a node is"
                              " in one domain")
