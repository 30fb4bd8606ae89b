"""What each fault is in the simulated world.

=============  ==================================================================
nodes.py       processes and power: killed, paused, slow, crashing at bad moments
links.py       the network: partitions, impairments, broken connections
disks.py       slow, stalled, full, failing, lying, rotten
clocks.py      clocks that jump or run at another rate
domains.py     links and whole domains of a tree; pools of clients
members.py     members that come and go, leadership that is handed over
elections.py   patterns that make elections hard: storms, contests, late votes
stories.py     patterns from the literature: figure 8, leaders that don't know they are none
tree.py        changes of the tree of domains
=============  ==================================================================
"""
from typing import Any

from ..kind import Kind
from . import clocks, disks, domains, elections, links, members, nodes, stories, tree

KINDS: tuple[Kind[Any], ...] = (
    *nodes.KINDS, *links.KINDS, *elections.KINDS, *stories.KINDS, *disks.KINDS, *clocks.KINDS,
    *members.KINDS, *domains.KINDS, *tree.KINDS)

__all__ = ["KINDS"]
