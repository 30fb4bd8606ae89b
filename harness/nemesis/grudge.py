"""Who drops packets from whom: network partitions as pure functions.

A grudge maps a node to the nodes it drops packets FROM. Dropping is done by the receiver
only, so that a one-way cut is simply a grudge that isn't mutual, and a sender notices nothing
but silence, as with a real network. Nodes are names here; addresses come later.

The shapes and their names are Jepsen's (jepsen.nemesis: bisect, split-one, complete-grudge,
bridge, majorities-ring). A draw comes from the ``Rng`` handed in and from nothing else, so the
seed of a run decides its partitions.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..rng import Rng

Grudge = Mapping[str, frozenset[str]]


def majority(n: int) -> int:
    """Return the size of the smallest majority of ``n``."""
    return n // 2 + 1


def bisect(nodes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cut a sequence in half; the first half is the smaller one."""
    middle = len(nodes) // 2
    return list(nodes[:middle]), list(nodes[middle:])


def complete_grudge(components: Iterable[Sequence[str]]) -> dict[str, frozenset[str]]:
    """Return the grudge in which nodes hear only their own component."""
    parts = [frozenset(part) for part in components]
    everybody = frozenset().union(*parts)
    return {node: everybody - part for part in parts for node in part if everybody - part}


def between(some: Iterable[str], others: Iterable[str]) -> dict[str, frozenset[str]]:
    """Cut two groups from each other; both keep hearing everybody else."""
    first, second = frozenset(some), frozenset(others)
    return dict.fromkeys(sorted(first), second) | dict.fromkeys(sorted(second), first)


def halves(nodes: Sequence[str]) -> dict[str, frozenset[str]]:
    """Split the nodes, in their order, into two halves."""
    return complete_grudge(bisect(nodes))


def isolate(nodes: Sequence[str], victims: Iterable[str]) -> dict[str, frozenset[str]]:
    """Cut each of ``victims`` from everybody else; the others keep hearing each other."""
    alone = list(victims)
    return complete_grudge([*([v] for v in alone), [n for n in nodes if n not in alone]])


def one(nodes: Sequence[str], rng: Rng) -> dict[str, frozenset[str]]:
    """Isolate one node."""
    return isolate(nodes, [rng.choice(nodes)])


def random_majority(nodes: Sequence[str], rng: Rng) -> dict[str, frozenset[str]]:
    """Split into a minority and a majority with random members, as even as can be."""
    return complete_grudge(bisect(rng.shuffled(nodes)))


def bridge(nodes: Sequence[str], rng: Rng) -> dict[str, frozenset[str]]:
    """Split in two halves that hear each other only through one node, which hears all."""
    first, second = bisect(rng.shuffled(nodes))
    middle, second = second[0], second[1:]
    grudge = complete_grudge([first, second])
    assert middle not in grudge
    return grudge


def majorities_ring(nodes: Sequence[str], rng: Rng) -> dict[str, frozenset[str]]:
    """Let each node hear a majority, but no two nodes the same one.

    Nodes stand on a ring in random order and hear equally many neighbours on both sides: the
    fewest that make a majority. Links work in both directions or not at all, so any node can
    lead. Three nodes have no such ring: each would hear everybody.
    """
    n = len(nodes)
    reach = majority(n) // 2          # neighbours heard on each side: ceil((majority - 1) / 2)
    if 2 * reach + 1 >= n:
        raise ValueError(f"a ring of majorities needs at least 4 nodes, got {n}")
    ring = rng.shuffled(nodes)
    heard = {
        node: {ring[(i + step) % n] for step in range(-reach, reach + 1)}
        for i, node in enumerate(ring)
    }
    return {node: frozenset(ring) - heard[node] for node in ring}


def one_way(nodes: Sequence[str], rng: Rng) -> dict[str, frozenset[str]]:
    """Make a random minority deaf or dumb to the others: packets pass in one direction only.

    Deaf: the minority drops what the others send (receive omission). Dumb: the others drop
    what the minority sends (send omission).
    """
    size = 1 + rng.below(max(1, (len(nodes) - 1) // 2))
    shuffled = rng.shuffled(nodes)
    few, many = frozenset(shuffled[:size]), frozenset(shuffled[size:])
    if rng.below(2):
        return dict.fromkeys(shuffled[:size], many)
    return dict.fromkeys(shuffled[size:], few)


def union(grudges: Iterable[Grudge]) -> dict[str, frozenset[str]]:
    """Return the grudge of several partitions in force at once."""
    result: dict[str, frozenset[str]] = {}
    for grudge in grudges:
        for node, dropped in grudge.items():
            result[node] = result.get(node, frozenset()) | dropped
    return result


def pairs(grudge: Grudge) -> set[tuple[str, str]]:
    """Return a grudge as (receiver, sender) pairs whose packets are dropped."""
    return {(node, other) for node, dropped in grudge.items() for other in dropped}


def hardest_hit(nodes: Sequence[str], grudge: Grudge) -> list[str]:
    """Return the nodes that lose the most links: the isolated one, the minority, or all."""
    lost = dict.fromkeys(nodes, 0)
    for link in {frozenset(pair) for pair in pairs(grudge)}:
        for node in link:
            lost[node] += 1
    most = max(lost.values(), default=0)
    return [node for node in nodes if lost[node] == most > 0]
