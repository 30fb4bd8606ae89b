"""What a kind of fault is.

A kind says how to aim, start, prove, stop and prove the recovery of a fault; it keeps no state,
because several faults of one kind may be in force. When things happen, and what is told of
them, is the nemesis's business (nemesis.py).
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..rng import Rng
from .fault import Fault, FaultError

POLL_S = 0.04
T = TypeVar("T")
S = TypeVar("S", contravariant=True)


@dataclass(frozen=True, slots=True)
class Range:
    """From where a parameter of a fault is drawn. Small values are as likely as large ones."""

    low: int
    high: int

    def draw(self, rng: Rng) -> int:
        """Return a number from low to high, its order of magnitude drawn first."""
        if self.low >= self.high:
            return self.low
        powers = [1 << n for n in range(self.high.bit_length()) if self.low < 1 << n < self.high]
        edges = [self.low, *powers, self.high]
        at = rng.below(len(edges) - 1)
        return edges[at] + rng.below(edges[at + 1] - edges[at] + 1)


def ranges(**bounds: tuple[int, int]) -> Mapping[str, Range]:
    """Return the parameters of a kind: name -> lowest and highest value."""
    return {name: Range(*pair) for name, pair in bounds.items()}


class Kind(Protocol[S]):
    """One entry of the catalogue. Every step raises FaultError when it didn't work out.

    S: the kind of scene that it works on (scene.py).
    name: the fault's, in test files and histories; cls: its failure class (crash, omission,
    timing, response).
    parameters: how strong it may be. Whole numbers, with the unit at the end of their names.
    """

    name: str
    cls: str
    parameters: Mapping[str, Range] = {}

    def impossible(self, scene: S) -> str | None:
        """Return why it can't work in this world, or None."""

    async def aim(self, scene: S, fault: Fault, rng: Rng) -> None:
        """Choose targets, and for partitions the grudge. All draws come from ``rng``."""

    async def start(self, scene: S, fault: Fault) -> None:
        """Do it."""

    async def prove(self, scene: S, fault: Fault) -> None:
        """Return once it is seen to work."""

    async def stop(self, scene: S, fault: Fault) -> None:
        """Undo it."""

    async def prove_recovery(self, scene: S, fault: Fault) -> None:
        """Return once nothing of it is left."""


@dataclass(frozen=True)
class Absent(Kind[Any]):
    """Stands for a kind where it does not exist. It is told as impossible, and never asked more."""

    name: str
    cls: str
    reason: str

    def impossible(self, scene: Any) -> str | None:
        return self.reason

    async def aim(self, scene: Any, fault: Fault, rng: Rng) -> None:
        raise AssertionError(f"{self.name} {self.reason}")

    async def start(self, scene: Any, fault: Fault) -> None:
        raise AssertionError(f"{self.name} {self.reason}")

    prove = stop = prove_recovery = start


def drawn(ranges: Mapping[str, Range], given: Mapping[str, int], rng: Rng) -> dict[str, int]:
    """Return a fault's parameters: those given, and the others drawn, each on its own."""
    for name, value in given.items():
        if name not in ranges:
            raise FaultError(f"unknown parameter {name!r}; expected "
                             f"{', '.join(ranges) or 'none'}")
        if type(value) is not int or value < 0:
            raise FaultError(f"parameter {name}: expected a whole number from 0, got {value!r}")
    return {name: given[name] if name in given else ranges[name].draw(rng.split(name))
            for name in ranges}


async def until(ask: Callable[[], Awaitable[T]], limit_s: float, complaint: str) -> T:
    """Ask again and again until the answer is true; FaultError when it isn't in time."""
    clock = asyncio.get_running_loop().time       # the world's: virtual time where it is simulated
    deadline = clock() + limit_s
    while True:
        answer = await ask()
        if answer:
            return answer
        if clock() > deadline:
            raise FaultError(complaint)
        await asyncio.sleep(POLL_S)
