"""What makes a tree of domains impossible, told by the key that is to be changed.

Types and ranges are right already (section.py). Each rule yields (path of the key, what was
expected); the first complaint ends the reading of a file.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..yamlfile import At, suggestion
from . import policy
from .section import DomainSection, PoolSection, TimersSection
from .tree import Timers

Complaints = Iterator[tuple[At, str]]
Domains = Mapping[str, DomainSection]
OF_A_LINK = ("mode", "exclusion", "max_lag", "readmit_throttle", "promotion", "key")


def complaints(domains: Domains, pools: Mapping[str, PoolSection], timers: TimersSection,
               *, shared_hosts: bool) -> Complaints:
    """Yield what is wrong, the most basic first."""
    yield from ids(domains)
    yield from hosts(domains, shared_hosts=shared_hosts)
    yield from parents(domains)
    yield from roots(domains)
    yield from links(domains)
    yield from behind_async(domains)
    yield from policies(domains)
    yield from keys(domains)
    yield from clients(domains, pools)
    yield from times(timers)


def ids(domains: Domains) -> Complaints:
    """An id names one domain: in epochs, and where a child attaches."""
    seen: dict[int, str] = {}
    for name, given in domains.items():
        if given.id in seen:
            yield _at(name, "id"), f"{given.id} is the id of {seen[given.id]} already"
        elif given.id is not None:
            seen[given.id] = name


def hosts(domains: Domains, *, shared_hosts: bool) -> Complaints:
    """A host has one node, unless it is said that domains share hosts."""
    first = next(iter(domains))
    owners: dict[str, str] = {}
    for name, given in domains.items():
        if given.spares >= given.count:
            yield _at(name, "spares"), (f"spares is {given.spares} of {given.count} nodes: "
                                        "expected fewer, so that there is a member")
        if (given.hosts is None) != (domains[first].hosts is None):
            other = "counted" if domains[first].hosts is None else "named"
            yield _at(name, "nodes"), f"expected nodes to be {other} as those of {first} are"
        for host in given.hosts or ():
            if not shared_hosts and owners.setdefault(host, name) != name:
                yield _at(name, "nodes"), (f"{host} is in {owners[host]} already; expected a "
                                           "host of its own, or shared_hosts: true")
    if shared_hosts and domains[first].hosts is None:
        yield ("shared_hosts",), "expected nodes to be named: nodes that are counted share nothing"


def parents(domains: Domains) -> Complaints:
    """A parent is another domain."""
    for name, given in domains.items():
        if given.parent == name:
            yield _at(name, "parent"), "a domain can't be its own parent"
        elif given.parent is not None and given.parent not in domains:
            yield _at(name, "parent"), (f"unknown domain {given.parent!r}; "
                                        f"{suggestion(given.parent, domains)}")


def roots(domains: Domains) -> Complaints:
    """One domain has no parent, and all others come to it."""
    found = [name for name, given in domains.items() if given.parent is None]
    if len(found) > 1:
        yield _at(found[1], "parent"), (f"missing, and {found[0]} has none either: "
                                        "expected one root")
    for name in domains:
        if (cycle := _cycle(domains, name)) is not None:
            what = "a cycle: " + " -> ".join(cycle)
            yield _at(name, "parent"), what if found else f"{what}, so there is no root"


def links(domains: Domains) -> Complaints:
    """What belongs to a link stands at children only, and fits together."""
    for name, given in domains.items():
        if given.parent is None:
            for key in OF_A_LINK:
                if getattr(given, key) not in (None, False):
                    yield _at(name, key), f"{name} is the root: only a child has one"
            continue
        if given.mode is None:
            yield _at(name, "mode"), "missing; expected 'sync' or 'async', as it has a parent"
        if given.exclusion is not None and given.mode == "async":
            yield _at(name, "exclusion"), ("only with mode: sync: nobody waits for an async "
                                           "domain")
        yield from lag(name, given)
        if given.readmit_throttle and not _excludes(given):
            yield _at(name, "readmit_throttle"), ("only where a domain can be excluded: expected "
                                                  "mode: sync, and not exclusion: block")
        if given.promotion == "automatic" and _excludes(given):
            yield _at(name, "promotion"), (
                "automatic promotion and automatic exclusion of one domain need an observer, "
                "which there is not yet: expected promotion: manual, or exclusion: block")


def lag(name: str, given: DomainSection) -> Complaints:
    """A bound bounds something, and its consequence is possible."""
    bound = given.max_lag
    if bound is None:
        return
    if bound.entries is None and bound.bytes is None and bound.time is None:
        yield _at(name, "max_lag"), "expected entries, bytes or time"
    if bound.then == "exclude" and not _excludes(given):
        why = "an async domain can't be excluded, nobody waits for it" \
            if given.mode == "async" else "exclusion is block"
        yield _at(name, "max_lag", "then"), f"{why}: expected 'throttle' or 'stall'"


def behind_async(domains: Domains) -> Complaints:
    """Whoever is to be waited for is so through all domains up to the root."""
    for name, given in domains.items():
        above = given.parent
        while given.mode == "sync" and above is not None:
            if domains[above].mode == "async":
                yield _at(name, "mode"), (
                    f"sync can't be reached: {above} above it is async, so no write waits for "
                    f"{name}; expected {name} to be async, or {above} sync")
                break
            above = domains[above].parent


def policies(domains: Domains) -> Complaints:
    """``any K of`` names the sync children, and no more are needed than there are."""
    for name, given in domains.items():
        wish = policy.parse(given.policy)
        if wish.kind != "any":
            continue
        at = _at(name, "policy")
        children = {child: inner.mode for child, inner in domains.items() if inner.parent == name}
        for child in wish.among:
            if child not in domains:
                yield at, f"unknown domain {child!r}; {suggestion(child, children)}"
            elif child not in children:
                yield at, f"{child} is no child of {name}; {suggestion(child, children)}"
            elif children[child] != "sync":
                yield at, f"{child} is async: expected sync children, which writes can wait for"
            if wish.among.count(child) > 1:
                yield at, f"{child} is named twice"
        if not 1 <= wish.needed <= len(wish.among):
            yield at, (f"{wish}: has {len(wish.among)} to choose from, so expected "
                       f"any 1 to any {max(1, len(wish.among))}")
        for child, mode in children.items():
            if mode == "sync" and child not in wish.among:
                yield at, (f"{child} is sync, but no write would ever wait for it: "
                           "expected it in the list, or async")


def keys(domains: Domains) -> Complaints:
    """Each link has a secret of its own."""
    seen: dict[str, str] = {}
    for name, given in domains.items():
        if given.key is not None and seen.setdefault(given.key, name) != name:
            yield _at(name, "key"), (f"{given.key} is the key of {seen[given.key]} already: "
                                     "expected a file of its own")


def clients(domains: Domains, pools: Mapping[str, PoolSection]) -> Complaints:
    """Pools talk to domains that exist, and write where that is possible."""
    owners: dict[str, str] = {}
    for name, pool in pools.items():
        at = ("pools", name)
        if pool.domain not in domains:
            yield (*at, "domain"), (f"unknown domain {pool.domain!r}; "
                                    f"{suggestion(pool.domain, domains)}")
        elif pool.does == "writes" and domains[pool.domain].parent is not None:
            yield (*at, "does"), (f"{pool.domain} takes no writes: expected 'reads', or the root "
                                  "as domain")
        for address in pool.addresses or ():
            if owners.setdefault(address, name) != name:
                yield (*at, "addresses"), f"{address} is in pool {owners[address]} already"


def times(timers: TimersSection) -> Complaints:
    """Nobody is excluded while a lease or a promise of his may hold."""
    silence = Timers(**timers.model_dump()).silence
    if timers.exclude_after <= silence:
        yield ("timers", "exclude_after"), (
            f"expected more than lease x (1 + drift) / (1 - drift) + promise = {silence:g}, "
            f"got {timers.exclude_after:g}")


def _excludes(given: DomainSection) -> bool:
    """Whether a domain is excluded without an administrator."""
    return given.mode == "sync" and given.exclusion != "block"


def _cycle(domains: Domains, name: str) -> list[str] | None:
    """Return the way from a domain up to itself, if there is one."""
    way = [name]
    above = domains[name].parent
    while above is not None and above not in way:
        way.append(above)
        above = domains[above].parent
    return [*way, name] if above == name else None


def _at(name: str, *key: str) -> At:
    return ("domains", name, *key)
