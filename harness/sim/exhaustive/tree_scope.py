"""How small a tree of domains, and how much may happen in it: the bounds of an exploration."""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from .scope import MAX_BOUND, MAX_MEMBERS, in_words

MAX_LEVELS = 3
MAX_TIMES = 8               # of the clock that go by
WORDS = re.compile(r"([1-4])x([1-4])|[1-4](/[1-4])*")


def sizes(words: str) -> tuple[int, ...]:
    """Return how many nodes each domain has, from the root on: ``2x2`` or ``1/1/1``.

    Raises ValueError.
    """
    found = WORDS.fullmatch(words)
    if found is None:
        raise ValueError(f"{words!r}: expected as many nodes as each domain has, from the root "
                         "down (1/1/1), or how many domains of how many nodes (2x2)")
    if found[1]:
        return (int(found[2]),) * int(found[1])
    return tuple(map(int, words.split("/")))


@dataclass(frozen=True)
class TreeScope:
    """Bounds. Each domain is the child of the one before it. It begins with a leader everywhere,
    all links up and all children included, each with a lease."""

    ACTIONS: ClassVar = ("deliver", "sync", "tick", "propose", "exclude", "readmit", "crash",
                         "restart", "cut", "connect", "dial", "up", "down", "break", "beat", "wait")

    domains: tuple[int, ...] = (2, 2)   # how many nodes each has
    pauses: int = 1             # the clock goes on by more than any timer
    timeouts: int = 1           # election timers that ring
    heartbeats: int = 0         # the clock goes on by a heartbeat
    proposals: int = 1
    losses: int = 1             # connections of members, and links, that break
    crashes: int = 1
    changes: int = 0            # an administrator excludes a child, or releases it
    slow_disks: bool = True     # a sync takes as long as anything else; no: it is over at once
    symmetry: bool = True       # states that differ in nodes' numbers within domains only are one

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        if not 2 <= len(self.domains) <= MAX_LEVELS or not 1 <= sum(self.domains) <= MAX_MEMBERS:
            raise ValueError(f"{len(self.domains)} domains with {sum(self.domains)} nodes: "
                             f"expected 2 or {MAX_LEVELS} domains, and at most {MAX_MEMBERS} nodes")
        for name, bound in self.bounds().items():
            largest = MAX_TIMES if name in ("pauses", "heartbeats") else MAX_BOUND
            if not 0 <= bound <= largest:
                raise ValueError(f"{name}: {bound}: expected 0 to {largest}")

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return sum(self.domains)

    def members(self) -> list[tuple[int, ...]]:
        """Return the nodes of each domain."""
        first = 1
        found = []
        for count in self.domains:
            found.append(tuple(range(first, first + count)))
            first += count
        return found

    def options(self) -> list[str]:
        """Return the options of ``seatrial explore`` that say which nodes there are."""
        return ["--domains", "/".join(map(str, self.domains))]

    def bounds(self) -> dict[str, int]:
        """Return the bounded kinds of events, in the order of their counters."""
        return {name: getattr(self, name) for name in (
            "timeouts", "heartbeats", "proposals", "losses", "crashes", "changes", "pauses")}

    def __str__(self) -> str:
        """Return it in words."""
        words = [f"domains of {'/'.join(map(str, self.domains))} nodes"]
        words += in_words(self.bounds(), self.slow_disks, "change of the tree")
        if not self.symmetry:
            words.append("no symmetry")
        return ", ".join(words)
