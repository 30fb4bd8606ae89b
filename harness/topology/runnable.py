"""What of a valid topology a run can't do yet, so that nothing of a file is left out in silence."""
from __future__ import annotations

from ..yamlfile import At
from .tree import Tree


def not_yet(tree: Tree, world: str) -> tuple[At, str] | None:
    """Return (path of the key, why) of the first thing that can't be run in a world, or None."""
    if len(tree.domains) > 1:
        return ("domains",), (f"{len(tree.domains)} domains: more than one can't be run yet "
                              "(seatrial domains draws them)")
    root = tree.root
    at: At = ("domains", root.name, "nodes")
    if any(node.address is not None for node in root.nodes):
        return at, f"expected hosts without addresses: world {world!r} gives them addresses"
    wanted = [f"n{number}" for number in range(1, len(root.nodes) + 1)]
    if [node.name for node in root.nodes] != wanted:
        return at, (f"expected the hosts {', '.join(wanted)}: world {world!r} calls them so")
    for pool in tree.pools:
        if pool.does != "all":
            return ("pools", pool.name, "does"), ("expected 'all': pools that only read or write "
                                                  "can't be run yet")
        if pool.addresses:
            return ("pools", pool.name, "addresses"), (
                f"expected none: world {world!r} gives pools their addresses")
    return None
