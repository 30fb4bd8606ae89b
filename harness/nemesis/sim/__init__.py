"""What each fault is in the simulated world.

=============  ==================================================================
nodes.py       processes and power: killed, paused, slow, crashing at bad moments
links.py       the network: partitions, impairments, broken connections
disks.py       slow, stalled, full, failing, lying, rotten
clocks.py      clocks that jump or run at another rate
groups.py      links and whole domains of a tree, pools of clients: aimed as on hosts
members.py     members that come and go, leadership that is handed over
elections.py   patterns that make elections hard: storms, contests, late votes
stories.py     patterns from the literature: figure 8, leaders that don't know they are none
=============  ==================================================================
"""
from typing import Any

from ..kind import Kind
from . import clocks, disks, elections, groups, links, members, nodes, stories

KINDS: tuple[Kind[Any], ...] = (
    *nodes.KINDS, *links.KINDS, *elections.KINDS, *stories.KINDS, *disks.KINDS, *clocks.KINDS,
    *members.KINDS, *groups.KINDS)

__all__ = ["KINDS"]
