"""Fault bands: the stretches of time in which faults held, as plots and timeline show them.

An administrator's work is shown from the request to the recovery: it is done before it is proved.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..results import Fault
from .palette import fault_colour


@dataclass(frozen=True, slots=True)
class Band:
    """One effective fault. ``end_s`` is the end of the run for a fault that was never lifted."""

    name: str
    targets: tuple[str, ...]
    start_s: float
    end_s: float
    hit_leader: bool

    @property
    def colour(self) -> str:
        """The colour of its name."""
        return fault_colour(self.name)

    @property
    def label(self) -> str:
        """What a pointer over it shows."""
        leader = ", hit the leader" if self.hit_leader else ""
        return (f"{self.name} on {', '.join(self.targets) or 'links'}: "
                f"{self.start_s:.2f} s to {self.end_s:.2f} s{leader}")


def bands(faults: Sequence[Fault], duration_ns: int) -> list[Band]:
    """Return the bands of all faults that took effect."""
    return [
        Band(fault.name, tuple(fault.targets), (start_ns or 0) / 1e9,
             (duration_ns if end_ns is None else end_ns) / 1e9, fault.hit_leader)
        for fault in faults if fault.effective_ns is not None
        for start_ns, end_ns in [(fault.requested_ns, fault.recovered_ns) if fault.gentle
                                 else (fault.effective_ns, fault.ended_ns)]
    ]


def legend(shown: Sequence[Band]) -> list[tuple[str, str, int]]:
    """Return name, colour and count of each kind of band, in the order of first appearance."""
    names = list(dict.fromkeys(band.name for band in shown))
    return [(name, fault_colour(name), sum(band.name == name for band in shown))
            for name in names]
