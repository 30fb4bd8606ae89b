"""Reads in a tree of several domains: their kinds, who does them, and their session tokens.

============ ==================================================================================
read         linearizable
read-bounded not older than the bound in ms that is its value (null: its domain's), or refused
read-prefix  some committed state, by any node of the domain
============ ==================================================================================

Most of the last two carry a token: a read shows no less than its client has seen, or, now and then,
than any client has. The token stands in the invocation, where the checks of domains find it.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from seatrial.harness.op import Op
from seatrial.harness.rng import Rng
from seatrial.harness.topology.seats import Seat, seats
from seatrial.harness.topology.tree import Tree
from seatrial.harness.yamlfile import Section

READ, BOUNDED, PREFIX = "read", "read-bounded", "read-prefix"
ROUND = 8                   # of so many reads one is sent with the newest token of all clients,
BARE = (1, 4, 6)            # and these with none, so that they show how far behind a domain is
Weight = Annotated[int, Field(ge=0, le=1000)]


class Kinds(Section):
    """Relative frequencies of the kinds of reads, where there are several domains."""

    linearizable: Weight = 50
    bounded: Weight = 25
    prefix: Weight = 25


class Token(NamedTuple):
    """Where in the root's log a session stands."""

    epoch: int
    term: int
    rindex: int


class Seating:
    """What each client of a tree of several domains does. bounds_ms: those that bounded reads name,
    beside their domain's own."""

    def __init__(self, tree: Tree, clients: int, kinds: Kinds, bounds_ms: Sequence[int],
                 mix: Mapping[str, int]) -> None:
        self.seats = seats(tree)
        self.clients = clients
        self.kinds = kinds
        self.bounds_ms = tuple(bounds_ms)
        self.mix = {f: mix[f] for f in ("write", "cas")}
        self.newest: Token | None = None        # that any client has seen
        self.asked = 0

    def seat(self, process: int) -> Seat:
        """Return where a process sits."""
        return self.seats[process % self.clients % len(self.seats)]

    def readers(self) -> list[int]:
        """Return the clients that read."""
        return [client for client in range(self.clients) if self.seat(client).reads]

    def fitting(self, f: str, process: int, rng: Rng) -> str:
        """Return what a client does instead of what its pool does not; reads get their kind."""
        seat = self.seat(process)
        if f == READ and not seat.reads:
            f = drawn(self.mix, rng)
        elif f != READ and not seat.writes:
            f = READ
        if f != READ:
            return f
        kinds = self.kinds
        return drawn({READ: kinds.linearizable, BOUNDED: kinds.bounded, PREFIX: kinds.prefix}, rng)

    def bound_ms(self, process: int, rng: Rng) -> int | None:
        """Return the bound of a bounded read; None: its domain's."""
        lag = self.seat(process).domain.max_lag
        own = [None] if lag is not None and lag.time is not None else []
        choice = (*own, *self.bounds_ms)
        return choice[rng.below(len(choice))]

    def token(self, own: Token | None) -> Token | None:
        """Return what the next read is to be sent with."""
        self.asked += 1
        at = self.asked % ROUND
        return self.newest if at == 0 else None if at in BARE else own

    def saw(self, token: Token) -> None:
        """Note what a client has seen."""
        if self.newest is None or self.newest < token:
            self.newest = token


def drawn(weights: Mapping[str, int], rng: Rng) -> str:
    """Draw a name by weight; one weight at least is above 0."""
    at = rng.below(sum(weights.values()))
    for name, weight in weights.items():
        if at < weight:
            return name
        at -= weight
    raise AssertionError(f"{at} is beyond the weights {weights}")


def seated(spec: Any) -> Tree | None:
    """Return the tree of a test of several domains, None where there is one."""
    tree: Tree = spec.topology.tree()
    return tree if len(tree.domains) > 1 else None


def unfit(tree: Tree, clients: int, groups: int, mix: Mapping[str, int], kinds: Kinds,
          bounds: Sequence[float]) -> str | None:
    """Return why clients of these pools can't do a workload; None when they can.

    groups: clients work on a key in so many groups, each of which must read and write.
    """
    sitting = seats(tree)
    here = sorted({at % len(sitting) for at in range(clients)})
    for at in here:
        seat = sitting[at]
        if seat.pool is not None and not seat.reads and not mix["write"] + mix["cas"]:
            return f"mix: pool {seat.pool.name} only writes: expected write or cas above 0"
    if kinds.linearizable + kinds.bounded + kinds.prefix == 0:
        return "reads: expected at least one weight above 0"
    bare = [sitting[at].domain.name for at in here if sitting[at].reads and (
        (lag := sitting[at].domain.max_lag) is None or lag.time is None)]
    if kinds.bounded and not bounds and bare:
        return (f"bounds: missing, and domain {bare[0]} has no max_lag.time: expected a bound for "
                "bounded reads, or reads.bounded 0")
    size = clients // groups
    for first in range(0, clients, size):
        group = [sitting[client % len(sitting)] for client in range(first, first + size)]
        for does, can in (("reads", [seat.reads for seat in group]),
                          ("writes", [seat.writes for seat in group])):
            if not any(can):
                return (f"keys_at_a_time: {size} of {clients} clients work on a key, and of "
                        f"clients {first} to {first + size - 1} no pool {does}: expected larger "
                        "groups, so fewer keys at a time")
    return None


def addressed(op: Op, seating: Seating, own: Token | None) -> None:
    """Say in an invocation which domain it is sent to, and with which token."""
    op.domain = seating.seat(op.process).place_of(op.f)
    if op.f in (BOUNDED, PREFIX):
        token = seating.token(own)
        if token is not None:
            op.epoch, op.term, op.rindex = token


def token_of(op: Op) -> Token | None:
    """Return the coordinates that an operation carries."""
    if op.rindex is None or op.epoch is None or op.term is None:
        return None
    return Token(op.epoch, op.term, op.rindex)
