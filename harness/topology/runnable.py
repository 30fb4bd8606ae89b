"""What of a valid topology a run can't do yet, so that nothing of a file is left out in silence."""
from __future__ import annotations

from ..yamlfile import At
from .tree import Domain, Timers, Tree

DRIFT = Timers().drift
Refusal = tuple[At, str]        # path of the key, why


def not_yet(tree: Tree, world: str, *, shared_hosts: bool = False) -> Refusal | None:
    """Return the first thing that can't be run in a world, or None."""
    return missing(tree, shared_hosts=shared_hosts) or elsewhere(tree, world)


def missing(tree: Tree, *, shared_hosts: bool) -> Refusal | None:
    """Return the first thing that no node or workload does yet."""
    if shared_hosts:
        return ("shared_hosts",), "domains that share hosts can't be run yet"
    for domain in tree.domains:
        if len(tree.domains) > 1 and any(node.spare for node in domain.nodes):
            return _at(domain, "spares"), ("expected none: members of one domain among several "
                                           "can't be changed yet")
        if domain.promotion == "automatic":
            return _at(domain, "promotion"), "expected 'manual': nothing is promoted by itself yet"
    if tree.timers.drift != DRIFT and len(tree.domains) > 1:
        return ("timers", "drift"), f"expected {DRIFT}: our node reckons with that"
    return None


def elsewhere(tree: Tree, world: str) -> Refusal | None:
    """Return what is said of hosts and pools that the world says itself."""
    wanted = [f"n{number}" for number in range(1, len(tree.nodes) + 1)]
    for domain in tree.domains:
        at = _at(domain, "nodes")
        if any(node.address is not None for node in domain.nodes):
            return at, f"expected hosts without addresses: world {world!r} gives them addresses"
        called = [wanted[node.number - 1] for node in domain.nodes]
        if [node.name for node in domain.nodes] != called:
            return at, f"expected the hosts {', '.join(called)}: world {world!r} calls them so"
        if domain.key is not None:
            return _at(domain, "key"), f"expected none: world {world!r} draws keys for each run"
    for pool in tree.pools:
        if pool.addresses:
            return ("pools", pool.name, "addresses"), (
                f"expected none: world {world!r} gives pools their addresses")
    return None


def _at(domain: Domain, *key: str) -> At:
    return ("domains", domain.name, *key)
