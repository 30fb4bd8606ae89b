"""What workloads over single keys ask of a system: a register per key.

A workload is written once and tests any system that can ``connect`` to such a store; the
system's module translates its driver's errors into these three, because everything a checker
concludes rests on that line being drawn right: did it certainly not happen, or may it have?
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from seatrial.harness.test import Test


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation answered, and where in the system's history it stands (if it says).

    node: index of the node that answered, -1 unknown; rindex, epoch, term, domain, confirmed: as in
    op.Op.
    """

    value: bytes | None = None
    node: int = -1
    rindex: int | None = None
    epoch: int | None = None
    term: int | None = None
    domain: int = 0
    confirmed: str | None = None


class Mismatch(Exception):
    """A compare-and-set found another value, and changed nothing."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"found {answer.value!r}")
        self.answer = answer


class DidNotHappen(Exception):
    """The operation was refused: it certainly did not happen and never will."""


class MayHaveHappened(Exception):
    """Nobody can tell whether the operation happened, or still will."""


class Connection(Protocol):
    """One client's connection. All methods may raise DidNotHappen and MayHaveHappened."""

    async def read(self, key: bytes) -> Answer:
        """Return the value of a key, None when it has none."""

    async def write(self, key: bytes, value: bytes) -> Answer:
        """Set the value of a key."""

    async def cas(self, key: bytes, expected: bytes | None, value: bytes) -> Answer:
        """Set the value of a key that holds ``expected``, or raise Mismatch."""

    async def close(self) -> None:
        """Release everything."""


@runtime_checkable
class Counting(Protocol):
    """What a connection may be able to do besides: counters."""

    async def add(self, key: bytes, delta: int) -> Answer:
        """Add to a counter, absent being 0; answer its new value as decimal text."""


@runtime_checkable
class Locking(Protocol):
    """What a connection may be able to do besides: locks with leases, and writes under them."""

    async def acquire(self, lock: bytes, holder: bytes, ttl_s: float) -> Answer:
        """Take a lock, or raise DidNotHappen; answer its fencing token as decimal text."""

    async def release(self, lock: bytes, token: int) -> Answer:
        """Give a lock back, or raise DidNotHappen."""

    async def write_if_token(self, key: bytes, value: bytes, token: int) -> Answer:
        """Write a key, or raise DidNotHappen when a newer token has."""


@runtime_checkable
class WeaklyRead(Protocol):
    """What a connection may be able to do besides: reads that need not show the newest.

    token: (epoch, term, rindex) of an answer; what is shown is not older.
    """

    async def read_prefix(self, key: bytes, token: tuple[int, int, int] | None) -> Answer:
        """Return a value that a key had, or still has."""

    async def read_bounded(self, key: bytes, token: tuple[int, int, int] | None,
                           bound_ms: int | None) -> Answer:
        """Return one that it had not longer ago than that; None: than the system promises."""


@runtime_checkable
class WeakReads(Protocol):
    """A system whose connections can do these."""

    weak_reads: bool


@runtime_checkable
class KeyValueSystem(Protocol):
    """A system that single-key workloads can test."""

    async def connect(self, test: Test, node: int, process: int) -> Connection:
        """Return a connection that prefers the node with this index. May raise OSError."""
