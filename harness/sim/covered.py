"""What the nodes of many seeds came by: their marks (core/marks.pxd) added up, and what is missing.

A test that passes because nothing happened is no test. So a batch tells what did happen in it, in
how many seeds and how often, and names the gaps: what no node came by in any seed. Why some of
them can't be closed here: docs/simulation.md.
"""
from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby

import msgspec

from seatrial.core.marks import IMPOSSIBLE, NAMES

WIDTH = 100


class Covered(msgspec.Struct):
    """marks: name -> [in how many seeds, how often in all], those that were come by."""

    marks: dict[str, tuple[int, int]]
    gaps: list[str]

    @classmethod
    def of(cls, counts: Iterable[Mapping[str, int]]) -> Covered:
        """Add up the counts of seeds."""
        seeds: Counter[str] = Counter()
        times: Counter[str] = Counter()
        for seed in counts:
            seeds.update(seed.keys())
            times.update(seed)
        return cls({name: (seeds[name], times[name]) for name in NAMES if times[name]},
                   [name for name in NAMES if not times[name] and name not in IMPOSSIBLE])

    def lines(self) -> list[str]:
        """Return the table as text: a group a line, each mark with its seeds and its count."""
        table = [f"covered: {len(self.marks)} of {len(NAMES) - len(IMPOSSIBLE)} marks; each: in "
                 "how many seeds, and how often"]
        for group, names in groupby(self.marks, key=group_of):
            said = (f"{rest_of(name)} {self.marks[name][0]:,} ({self.marks[name][1]:,})"
                    for name in names)
            table += wrapped(group, said)
        return table + (wrapped("gaps", map(spoken, self.gaps)) if self.gaps else [])


def group_of(name: str) -> str:
    """Return a mark's first word."""
    return name.partition("_")[0]


def rest_of(name: str) -> str:
    """Return a mark's other words."""
    return name.partition("_")[2].replace("_", " ")


def spoken(name: str) -> str:
    """Return a mark's words."""
    return name.replace("_", " ")


def wrapped(head: str, items: Iterable[str]) -> list[str]:
    """Return items behind a head, on as many lines as they need."""
    lines = textwrap.wrap(", ".join(item.replace(" ", "\0") for item in items), WIDTH - 12)
    return [f"  {head if at == 0 else '':9} {line}".replace("\0", " ")
            for at, line in enumerate(lines)]
