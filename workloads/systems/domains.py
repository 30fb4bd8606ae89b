"""Our node as a tree of domains: what each host is told, whom clients ask, when all serve."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from seatrial.harness.protocols import Host
from seatrial.harness.test import Test
from seatrial.harness.topology import Domain, Node, Tree, node_config

SERVING = "streaming"           # state of a link that is up


def tree_of(test: Test) -> Tree | None:
    """Return the tree of a test of several domains; None where all hosts are one."""
    domains = getattr(test.spec.topology, "domains", None)
    return test.spec.topology.tree() if domains is not None and len(domains) > 1 else None


def on(tree: Tree, host: Host) -> Domain:
    """Return the domain of a host."""
    return tree.domains_on(host.name)[0]


def told(tree: Tree, hosts: Sequence[Host], host: Host, *, address: Callable[[Host], str],
         home: str, stretch: float = 1.0) -> dict[str, Any]:
    """Return what a host's configuration says of the tree; ``keys`` has the links' files.

    stretch: how many times longer leases and silences may last, as all else on slow hosts.
    """
    tree = stretched(tree, stretch)
    by_name = {other.name: other for other in hosts}
    domain = on(tree, host)
    node = next(node for node in domain.nodes if node.name == host.name)

    def where(_: Domain, other: Node) -> str:
        return address(by_name[other.name])

    def key(end: Domain) -> str:
        return f"{home}/{key_name(end.number)}.key"

    found = node_config(tree, domain, node, address=where, keys=key)
    found["keys"]["links"] = {end.number: key(end) for end in ends(tree)}
    return found


def stretched(tree: Tree, factor: float) -> Tree:
    """Return a tree whose timers are so many times longer."""
    given = tree.timers
    return replace(tree, timers=replace(
        given, lease=given.lease * factor, promise=given.promise * factor,
        exclude_after=given.exclude_after * factor))


def key_name(domain: int) -> str:
    """Return how the key of a domain's link is called on hosts."""
    return f"link-{domain}"


def ends(tree: Tree) -> list[Domain]:
    """Return the domains that have links. Every host is given the keys of all: which of them end
    there may change."""
    return [domain for domain in tree.domains if domain.parent is not None]


def names(tree: Tree) -> dict[int, str]:
    """Return what the domains are called, by their ids, in the order of the file."""
    return {domain.number: domain.name for domain in tree.domains}


def leaders(tree: Tree, hosts: Sequence[Host],
            said: Mapping[int, Mapping[str, Any]]) -> dict[str, tuple[int, Host]]:
    """Return the newest (term, host) that says it leads, of each domain that has one."""
    found: dict[str, tuple[int, Host]] = {}
    for at, status in said.items():
        if status["role"] != "leader":
            continue
        name, term = on(tree, hosts[at]).name, int(status["term"])
        if name not in found or term > found[name][0]:
            found[name] = (term, hosts[at])
    return found


def not_serving(tree: Tree, hosts: Sequence[Host],
                said: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Return what is still missing until every domain serves, a few words each. A sync one serves
    once writes wait for it: before that its absence from an answer would tell nothing."""
    leading = leaders(tree, hosts, said)
    root = said[leading[tree.root.name][1].index] if tree.root.name in leading else {}
    missing = []
    for domain in tree.walk():
        if domain.name not in leading:
            missing.append(f"nobody leads {domain.name}")
        elif domain.parent is not None:
            status = said[leading[domain.name][1].index]
            state = ((status.get("domain") or {}).get("uplink") or {}).get("state")
            if state != SERVING:
                missing.append(f"{domain.name} is {state or 'detached'}")
            elif domain.mode == "sync" and not counted(root, domain):
                missing.append(f"{domain.name} is not included yet")
    return missing


def counted(root: Mapping[str, Any], domain: Domain) -> bool:
    """Tell whether a sync domain is included, as the root's leader says, and that is committed."""
    told = ((root.get("tree") or {}).get("domains") or {}).get(str(domain.number)) or {}
    known = (root.get("domain") or {}).get("committed", 0)
    return bool(told.get("included")) and int(told["include_rindex"]) <= known
