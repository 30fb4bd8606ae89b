"""A tree of domains in the simulated world: what the node is told of it, and who asks whom."""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from seatrial.harness.sim.client import SimClient
from seatrial.harness.sim.domain_world import DomainWorld
from seatrial.harness.sim.trees import Domain, Tree
from seatrial.harness.test import Test
from seatrial.harness.topology import tree as topology
from seatrial.harness.topology.node_config import tree_values
from seatrial.harness.topology.seats import seat_of

from .connection import NodeConnection
from .domains import names

if TYPE_CHECKING:
    from .node import NodeOptions

MS = 1_000_000
Made = Callable[[list[int], int], SimClient]
"""Makes a client of the nodes with these ids, in the pool at this place."""


def core_tree(tree: topology.Tree) -> Tree:
    """Return the tree that the root's first leader logs: its sync domains are included."""
    values = tree_values(tree, address=lambda domain, node: f"{node.name}:1")
    return Tree({id: Domain(**fields, included=fields["sync"])
                 for id, fields in values["domains"].items()},
                values["root"], lease_ns=values["lease_ns"])


def add_domains(world: DomainWorld, tree: topology.Tree, options: NodeOptions) -> None:
    """Make the domains of a topology; their nodes are yet to be started."""
    for domain in tree.walk():
        parent = tree.by_name[domain.parent] if domain.parent else None
        world.add_domain(
            domain.number, [node.number - 1 for node in domain.nodes],
            heartbeat_ns=options.heartbeat_ms * MS, election_ns=options.election_ms * MS,
            parent=[node.number - 1 for node in parent.members] if parent else (),
            tree=None if parent else core_tree(tree))


def without_leader(world: DomainWorld) -> list[int]:
    """Return the domains that nobody leads yet."""
    return [domain for domain in world.domains() if not world.leaders_of(domain)]


def connection(test: Test, process: int, made: Made) -> NodeConnection:
    """Return a client that writes to the root, and reads in the domain of its pool."""
    tree = test.spec.topology.tree()
    client = process % test.concurrency
    seat = seat_of(tree, client)
    pool = (client % len(test.pools) if seat.pool is None
            else list(test.pools).index(seat.pool.name))
    root = made([node.number for node in tree.root.members], pool)
    if seat.domain is tree.root:
        return NodeConnection(root, domains=names(tree))
    return NodeConnection(root, made([node.number for node in seat.domain.members], pool),
                          names(tree))
