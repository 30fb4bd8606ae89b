"""Colours. A fault's or an operation's colour never changes from one report to the next."""
from __future__ import annotations

import zlib
from collections.abc import Mapping

FAULTS = {
    "kill": "#e5484d",
    "pause": "#e8a013",
    "partition-halves": "#3b82f6",
    "partition-one": "#06a3c4",
    "partition-majority": "#5b5bd6",
    "partition-majorities-ring": "#a855f7",
    "partition-bridge": "#12a594",
    "partition-leader": "#e0429b",
    "partition-one-way": "#74a417",
    "member-add": "#0f766e",
    "member-remove": "#be185d",
    "member-replace": "#9333ea",
    "member-churn": "#b45309",
    "transfer-leader": "#0369a1",
    "snapshot": "#64748b",
    "rolling-restart": "#4d7c0f",
    "rolling-upgrade": "#a16207",
}
OPERATIONS = {
    "read": "#2f6fb5",
    "read-bounded": "#6a9fd4",
    "read-prefix": "#a3c4e6",
    "write": "#d0661a",
    "cas": "#4c8c2b",
    "append": "#8250c4",
    "delete": "#7d5a3c",
}
OTHERS = ("#64748b", "#b45309", "#0f766e", "#9333ea", "#be185d", "#4d7c0f", "#0369a1", "#a16207")
REIGNS = ("#334155", "#64748b")      # terms alternate, so that neighbours differ


def _colour(name: str, known: Mapping[str, str]) -> str:
    return known.get(name) or OTHERS[zlib.crc32(name.encode()) % len(OTHERS)]


def operation_order(f: str) -> tuple[int, str]:
    """Return what operations sort by in legends: those above in their order, then the rest."""
    known = list(OPERATIONS)
    return (known.index(f) if f in OPERATIONS else len(known), f)


def fault_colour(name: str) -> str:
    """Return the colour of a fault's band."""
    return _colour(name, FAULTS)


def operation_colour(f: str) -> str:
    """Return the colour of an operation's points and bars."""
    return _colour(f, OPERATIONS)
