"""Where clients sit: which pool each belongs to, what that pool does, and where it reads."""
from __future__ import annotations

from dataclasses import dataclass

from .tree import Domain, Pool, Tree


@dataclass(frozen=True, slots=True)
class Seat:
    """One client's. place: of its domain among all, in the order of the file; root: of the root.

    pool: None where the file names none.
    """

    pool: Pool | None
    domain: Domain
    place: int
    root: int

    @property
    def reads(self) -> bool:
        """Whether the clients of its pool read."""
        return self.pool is None or self.pool.does != "writes"

    @property
    def writes(self) -> bool:
        """Whether they write."""
        return self.pool is None or self.pool.does != "reads"

    def place_of(self, f: str) -> int:
        """Return the domain that an operation is sent to: who does not read goes to the root."""
        return self.place if f.startswith("read") else self.root


def seats(tree: Tree) -> tuple[Seat, ...]:
    """Return the seats, one a pool, in the order in which clients take them by turns."""
    root = tree.domains.index(tree.root)
    if not tree.pools:
        return (Seat(None, tree.root, root, root),)
    return tuple(
        Seat(pool, tree.by_name[pool.domain], tree.domains.index(tree.by_name[pool.domain]), root)
        for pool in sorted(tree.pools, key=lambda pool: pool.name))


def seat_of(tree: Tree, client: int) -> Seat:
    """Return the seat of the client with this number."""
    found = seats(tree)
    return found[client % len(found)]
