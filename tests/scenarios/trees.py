"""The line that declares a story's tree: ``tree A(3) -> B(3) sync -> C(1) async; A -> D(1)``."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from seatrial.core.tree import NONE, Domain, Tree

from .language import StoryError

MS = 1_000_000
S = 1000 * MS
LEASE_NS = 300 * MS
EXCLUDE_NS = 800 * MS
PLACE = re.compile(r"(?P<name>[A-Z])(?:\((?P<nodes>\d+)\))?(?P<words>(?: [a-z0-9]+)*)")
MOST_NODES = 9
ON_LAG = {"throttle": "throttle", "stall": "stall", "drop": "exclude"}


@dataclass
class Site:
    """One domain as a story declares it."""

    id: int
    name: str
    nodes: int
    parent: str = ""
    sync: bool = False
    included: bool = True
    block: bool = False
    any_k: int = 0
    lag: int = 0                # entries that it may be behind; 0: any number
    on_lag: str = "none"
    outside: bool = False       # its nodes know their parent, but the tree does not know it
    down: bool = False          # its nodes are started later
    first: int = 0              # the first of its hosts

    @property
    def hosts(self) -> range:
        """Its hosts."""
        return range(self.first, self.first + self.nodes)

    def domain(self, sites: Mapping[str, Site]) -> Domain:
        """Return what the tree says of it."""
        return Domain(
            self.name, sites[self.parent].id if self.parent else 0, self.sync,
            included=self.sync and self.included, block=self.block, any_k=self.any_k,
            exclude_after_ns=EXCLUDE_NS, max_lag_entries=self.lag, on_lag=self.on_lag,
            nodes=tuple((host + 1, f"{self.name}:{host + 1}") for host in self.hosts))


def policy(words: list[str]) -> int:
    """Return the policy that the words name, and take them: all, none, any K."""
    word = words.pop(0)
    if word == "any":
        if not words or not words[0].isdecimal() or words[0] == "0":
            raise StoryError("expected a number after 'any'")
        return int(words.pop(0))
    return NONE if word == "none" else 0


def describe(site: Site, words: list[str]) -> None:
    """Take what stands behind a domain's name."""
    while words:
        word = words[0]
        if word in ("all", "none", "any"):
            site.any_k = policy(words)
            continue
        if word == "lag":
            _describe_lag(site, words)
            continue
        if word not in ("sync", "async", "block", "exclude", "excluded", "outside", "down"):
            raise StoryError(f"{site.name}: unknown word {word!r}; expected sync, async, block, "
                             "exclude, excluded, any K, all, none, lag N, outside or down")
        words.pop(0)
        if word in ("sync", "async"):
            site.sync = word == "sync"
        elif word == "excluded":
            site.included = False
        elif word != "exclude":
            setattr(site, word, True)


def _describe_lag(site: Site, words: list[str]) -> None:
    """Take ``lag N`` and what happens beyond it."""
    if len(words) < 3 or not words[1].isdecimal() or words[2] not in ON_LAG:
        raise StoryError(f"{site.name}: expected 'lag N' and one of {', '.join(ON_LAG)}")
    site.lag, site.on_lag = int(words[1]), ON_LAG[words[2]]
    del words[:3]


def declared(text: str) -> dict[str, Site]:
    """Return the domains of a tree line by name, the root first. Raises StoryError."""
    sites: dict[str, Site] = {}
    hosts = 0
    for chain in text.split(";"):
        parent = ""
        for place in chain.split("->"):
            match = PLACE.fullmatch(place.strip())
            if match is None:
                raise StoryError(f"expected a domain, as in 'B(3) sync', got {place.strip()!r}")
            name, words = match["name"], match["words"].split()
            if name not in sites:
                if match["nodes"] is None or not 0 < int(match["nodes"]) <= MOST_NODES:
                    raise StoryError(f"{name}: expected 1 to {MOST_NODES} nodes, as in {name}(3)")
                if sites and not parent:
                    raise StoryError(f"{name} has no parent: there is a root already")
                sites[name] = Site(len(sites) + 1, name, int(match["nodes"]), parent, first=hosts)
                hosts += sites[name].nodes
                describe(sites[name], words)
            elif match["nodes"] is not None or words or parent:
                raise StoryError(f"{name} was declared already")
            parent = name
    return sites


def tree_of(sites: Mapping[str, Site]) -> Tree:
    """Return the tree that the root begins with. Raises BadTree."""
    return Tree({site.id: site.domain(sites) for site in sites.values() if not site.outside}, 1,
                lease_ns=LEASE_NS)
