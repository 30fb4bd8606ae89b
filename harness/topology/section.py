"""The keys of a topology in a file: names, types and ranges, and the tree that they make.

Whether domains fit together is judged by rules.py, so that a complaint can name the key. Times
are in seconds, as everywhere in a test file.
"""
from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from ..yamlfile import Section
from . import nodes, policy, tree

DOMAINS_MAX = 64
TIMERS = tree.Timers()
Seconds = Annotated[float, Field(gt=0, le=24 * 3600)]
Bound = Annotated[int, Field(ge=1, le=1 << 53)]
DomainName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,29}'{0,2}$")]
PoolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class MaxLagSection(Section):
    """How far behind a domain may be, and what happens once it is further."""

    entries: Bound | None = None
    bytes: Bound | None = None
    time: Seconds | None = None
    then: tree.Consequence = "throttle"
    settle: Seconds = 5.0


class DomainSection(Section):
    """One domain. nodes: how many, or their hosts by name, or host -> address."""

    nodes: Any
    spares: Annotated[int, Field(ge=0, le=nodes.NODES_MAX - 1)] = 0
    id: Annotated[int, Field(ge=1, le=65535)] | None = None
    parent: str | None = None
    mode: tree.Mode | None = None
    policy: str = "all"
    exclusion: tree.Exclusion | None = None
    max_lag: MaxLagSection | None = None
    readmit_throttle: bool = False
    promotion: tree.Promotion | None = None
    key: Annotated[str, Field(min_length=1, max_length=255)] | None = None

    @field_validator("nodes")
    @classmethod
    def _counted_or_named(cls, given: Any) -> Any:
        return nodes.checked(given)

    @field_validator("policy")
    @classmethod
    def _is_a_policy(cls, given: str) -> str:
        policy.parse(given)
        return given

    @property
    def hosts(self) -> list[str] | None:
        """The hosts by name; None where they are only counted."""
        return None if isinstance(self.nodes, int) else list(self.nodes)

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return self.nodes if isinstance(self.nodes, int) else len(self.nodes)


class PoolSection(Section):
    """Clients with addresses of their own; by default those that the world gives them."""

    domain: str
    does: tree.Does = "all"
    addresses: Annotated[list[str], Field(min_length=1, max_length=64)] | None = None

    @field_validator("addresses")
    @classmethod
    def _are_addresses(cls, given: list[str] | None) -> list[str] | None:
        for text in given or ():
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise ValueError(f"expected IP addresses, got {text!r}") from None
        return given


class TimersSection(Section):
    """Leases, promises and exclusion."""

    lease: Seconds = TIMERS.lease
    promise: Seconds = TIMERS.promise
    exclude_after: Seconds = TIMERS.exclude_after
    drift: Annotated[float, Field(ge=0, lt=1)] = TIMERS.drift


Domains = Annotated[dict[DomainName, DomainSection],
                    Field(min_length=1, max_length=DOMAINS_MAX)]


class TreeParts(Section):
    """What a topology has besides its domains.

    shared_hosts: whether a host may be in several domains. observer: its place is kept.
    """

    pools: dict[PoolName, PoolSection] = Field(default_factory=dict)
    timers: TimersSection = TimersSection()
    shared_hosts: bool = False
    observer: Any = None

    @field_validator("observer")
    @classmethod
    def _not_yet(cls, given: Any) -> None:
        if given is not None:
            raise ValueError("there is no observer yet: leave it out")


class TreeSection(TreeParts):
    """A topology in a file of its own."""

    domains: Domains


def made(domains: Mapping[str, DomainSection], pools: Mapping[str, PoolSection],
         timers: TimersSection) -> tree.Tree:
    """Return the tree of sections that obey the rules."""
    nodes = numbered(domains)
    ids = numbers(domains)
    return tree.Tree(
        tuple(tree.Domain(
            name, ids[name], nodes[name], given.parent, given.mode, policy.parse(given.policy),
            given.exclusion or "exclude",
            tree.MaxLag(**given.max_lag.model_dump()) if given.max_lag is not None else None,
            given.readmit_throttle, given.promotion or "manual", given.key,
        ) for name, given in domains.items()),
        tuple(tree.Pool(name, pool.domain, pool.does, tuple(pool.addresses or ()))
              for name, pool in pools.items()),
        tree.Timers(**timers.model_dump()),
    )


def numbers(domains: Mapping[str, DomainSection]) -> dict[str, int]:
    """Return each domain's id: the one given, else the lowest that is free."""
    taken = {given.id for given in domains.values() if given.id is not None}
    free: Iterator[int] = (number for number in range(1, 65536) if number not in taken)
    return {name: given.id if given.id is not None else next(free)
            for name, given in domains.items()}


def numbered(domains: Mapping[str, DomainSection]) -> dict[str, tuple[tree.Node, ...]]:
    """Return each domain's nodes. Hosts that are counted only are called n1, n2, ..."""
    found = {}
    before = 0
    for name, given in domains.items():
        names = given.hosts or [f"n{before + i}" for i in range(1, given.count + 1)]
        addresses = given.nodes if isinstance(given.nodes, dict) else {}
        first_spare = len(names) - given.spares
        found[name] = tuple(
            tree.Node(host, before + at + 1, addresses.get(host), spare=at >= first_spare)
            for at, host in enumerate(names))
        before += len(names)
    return found
