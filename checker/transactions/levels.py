"""Levels of isolation, and the anomalies that each of them forbids.

A level forbids what is listed with it and with all before it (Adya, Weak Consistency, 1999; Cerone
et al., A Framework for Transactional Consistency Models, CONCUR'15; G-nonadjacent: every cycle has
two anti-dependencies in a row under snapshot isolation). ``strong-session-`` before its name:
the order of each session counts in cycles, too; ``strong-``: so does real time.
"""
from __future__ import annotations

import enum
from dataclasses import dataclass

from ..errors import CheckerError


class Order(enum.IntEnum):
    """Which order beside the dependencies counts."""

    NONE = 0
    SESSION = 1
    REAL_TIME = 2


FORBIDS = {
    "read-uncommitted": ("G0", "duplicate-elements", "incompatible-order"),
    "read-committed": ("G1a", "G1b", "G1c", "unwritten-read"),
    "read-atomic": ("internal", "fractured-read"),
    "causal": ("causality",),
    "snapshot-isolation": ("lost-update", "G-single", "G-nonadjacent"),
    "serializable": ("G2",),
}
BASES = tuple(FORBIDS)
PREFIXES = {"strong-session-": Order.SESSION, "strong-": Order.REAL_TIME}
SUFFIXES = {Order.NONE: "", Order.SESSION: "-process", Order.REAL_TIME: "-realtime"}
OTHER_NAMES = {"strict-serializable": "strong-serializable", "SER": "strong-session-serializable",
               "SI": "strong-session-snapshot-isolation", "TCC": "causal",
               "strong-session-causal": "causal"}


@dataclass(frozen=True, slots=True)
class Level:
    """A level: what it forbids, and which order counts."""

    name: str
    base: str
    order: Order

    @property
    def forbids(self) -> tuple[str, ...]:
        """The anomalies, without the suffix that says which order is in the cycle."""
        until = BASES.index(self.base) + 1
        return tuple(name for base in BASES[:until] for name in FORBIDS[base])

    def below(self, other: Level) -> bool:
        """Whether whatever the other level allows, this one does."""
        return (BASES.index(self.base) <= BASES.index(other.base)) and self.order <= other.order


def level_named(name: str) -> Level:
    """Return a level by name."""
    base = OTHER_NAMES.get(name, name)
    order = Order.SESSION if base == "causal" else Order.NONE
    for prefix, counts in PREFIXES.items():
        if base.startswith(prefix):
            base, order = base.removeprefix(prefix), counts
            break
    if base not in FORBIDS:
        raise CheckerError(f"unknown level {name!r}; expected strict-serializable or one of "
                           f"{', '.join(BASES)}, maybe with {' or '.join(PREFIXES)} before it")
    shown = "strict-serializable" if (base, order) == ("serializable", Order.REAL_TIME) else (
        OTHER_NAMES.get(name, name))
    return Level(shown, base, order)


def all_levels(most: Order) -> list[Level]:
    """All levels of which a history with so much order can tell, the weakest first."""
    names = [f"{prefix}{base}" for base in BASES
             for prefix, order in {"": Order.NONE, **PREFIXES}.items()
             if order <= most and (base, prefix) != ("causal", "strong-session-")]
    return [level_named("strict-serializable" if name == "strong-serializable" else name)
            for name in names]
