"""How small a cluster, and how much may happen in it: the bounds of an exploration."""
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

MAX_MEMBERS = 4
MAX_BOUND = 15


@dataclass(frozen=True)
class Scope:
    """Bounds. What is delivered, synced and restarted is not bounded: it follows from the rest."""

    ACTIONS: ClassVar = ("deliver", "late", "sync", "timeout", "depose", "heartbeat", "propose",
                         "toggle", "replace", "transfer", "snapshot", "crash", "restart", "cut",
                         "connect")

    nodes: int = 3
    spares: int = 0             # of them: run, and take no part at first
    timeouts: int = 1           # election timeouts, and leaders that lose their majority
    heartbeats: int = 0         # beside those that elections and connections bring
    proposals: int = 1
    losses: int = 1             # connections that break
    crashes: int = 1
    changes: int = 0            # of members: one voter in or out, or one for another
    transfers: int = 0
    snapshots: int = 0
    slow_disks: bool = True     # a sync takes as long as anything else; no: it is over at once
    elected: bool = False       # begin with a leader whose first entry is everywhere
    symmetry: bool = True       # states that differ in the nodes' numbers only are one

    def __post_init__(self) -> None:
        """Refuse what does not fit."""
        if not 1 <= self.nodes <= MAX_MEMBERS or not 0 <= self.spares < self.nodes:
            raise ValueError(f"{self.nodes} nodes, {self.spares} of them spares: expected 1 to "
                             f"{MAX_MEMBERS} nodes, and at least one that votes")
        for name, bound in self.bounds().items():
            if not 0 <= bound <= MAX_BOUND:
                raise ValueError(f"{name}: {bound}: expected 0 to {MAX_BOUND}")
        if self.snapshots and self.changes and self.symmetry:
            raise ValueError("snapshots and changes of members together: only without symmetry")

    @property
    def voters(self) -> int:
        """How many nodes are members at first: those with the smallest numbers."""
        return self.nodes - self.spares

    def members(self) -> list[tuple[int, ...]]:
        """Return the nodes of each domain: there is one."""
        return [tuple(range(1, self.nodes + 1))]

    def options(self) -> list[str]:
        """Return the options of ``seatrial explore`` that say which nodes there are."""
        words = ["--nodes", str(self.nodes)] if self.nodes != 3 else []
        return words + (["--spares", str(self.spares)] if self.spares else [])

    def bounds(self) -> dict[str, int]:
        """Return the bounded kinds of events, in the order of their counters."""
        return {name: getattr(self, name) for name in (
            "timeouts", "heartbeats", "proposals", "losses", "crashes", "changes", "transfers",
            "snapshots")}

    def __str__(self) -> str:
        """Return it in words."""
        words = [f"{self.nodes} nodes" + (f" ({self.spares} spare)" if self.spares else "")]
        words += in_words(self.bounds(), self.slow_disks, "change of members")
        if self.elected:
            words.append("from a leader on")
        if not self.symmetry:
            words.append("no symmetry")
        return ", ".join(words)


ONE = {"timeouts": "timeout", "heartbeats": "heartbeat", "proposals": "proposal",
       "losses": "loss", "crashes": "crash", "transfers": "transfer", "snapshots": "snapshot",
       "pauses": "pause"}


def in_words(bounds: dict[str, int], slow_disks: bool, change: str) -> list[str]:
    """Return how much may happen, what there is one of with its name; ``change``: that of one."""
    one = ONE | {"changes": change}
    return [*(f"{bound} {name if bound != 1 else one[name]}"
              for name, bound in bounds.items() if bound),
            "slow disks" if slow_disks else "syncs at once"]
