"""Which node is whose: numbers of nodes, and the hosts that they are on.

The node on the host at position p (from 0) begins as p + 1. A host whose data was removed gets a
node that the cluster has never heard of, numbered ``STEP`` higher: 203 is n3's third one.
"""
from __future__ import annotations

STEP = 100


def position(number: int) -> int:
    """Return the position of the host that a node is on."""
    return (number - 1) % STEP
