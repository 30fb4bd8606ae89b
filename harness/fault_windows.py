"""The faults of a run, as the history tells them: when each held, whom it hit, what it left.

The nemesis's lane has one event for each step in the life of a fault: ``f`` is its name and
the value ``{"id", "phase", "targets", "class", "grudge", "parameters", "gentle"}``, phase being
requested, effective, ended or recovered; or ineffective or unrecovered, with the reason as the
event's error. A step that did not happen has no time: a fault without ``effective`` was asked for
and never took hold, which is the difference between a pass and no coverage. A fault that can't work
on these hosts at all has one event, phase impossible.

What a set of faults leaves is judged the way Raft needs it: there must be a majority of living
nodes that all hear each other. A connected component isn't enough, since nobody relays; nor is
one node that talks to a majority, as each does in a ring: it may lack the newest entries, which
those have who can't win, and nodes that don't hear it call elections. A fault that stops nodes
leaves the others. One that neither stops nodes nor cuts links may leave a leader that is too
slow to lead and too quick to be replaced: beside it nothing is promised. Nor where a node hears
no majority and is heard: it calls one election after the other, and unseats every leader. A node
that hears a leader's followers but not the leader does so too, if less: a cluster that has lost
nothing else gets over it, but beside a second fault nothing is promised. Nor beside an
administrator's work (``gentle``), which by itself leaves a majority from the request to the
recovery. The majority is one of those who vote at that moment (voters.py).
"""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from seatrial.checker.history import NEMESIS, NONE, History

from .leadership import Leadership
from .voters import Voters

KILLS = frozenset({"kill", "domain-kill", "child-leader-kill", "both-leaders-kill"})
STOPS_A_NODE = KILLS | {"pause", "freeze", "power-loss", "domain-power-loss", "reboot",
                        "disk-error", "disk-full", "disk-flip", "disk-stall"}
CUTS_BY_DOMAIN = frozenset({"domain-cut", "link-cut", "domain-island"})
GONE_FOR_GOOD = frozenset({"disk-flip"})
STEPS = ("requested", "effective", "ended", "recovered")
FAILURES = ("ineffective", "unrecovered")
FOREVER = (1 << 63) - 1
Grudge = Mapping[str, Collection[str]]   # node -> those whose packets it doesn't get


@dataclass(slots=True)
class FaultWindow:
    """One fault and the four times of its life (ns since the start; None: did not happen)."""

    id: str
    name: str
    failure_class: str = ""
    targets: tuple[str, ...] = ()
    grudge: Grudge = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    gentle: bool = False

    @property
    def span(self) -> tuple[int | None, int | None]:
        """From when to when it shows what the cluster can do: an administrator's work all its life,
        other faults while they are in force. None: it never began, or never ended."""
        if self.effective_ns is None:
            return None, None
        if self.gentle:
            return self.requested_ns, self.recovered_ns
        return self.effective_ns, self.ended_ns

    @property
    def requested_ns(self) -> int | None:
        """When it was asked for."""
        return self.times.get("requested")

    @property
    def effective_ns(self) -> int | None:
        """When a probe saw it work."""
        return self.times.get("effective")

    @property
    def ended_ns(self) -> int | None:
        """When it was lifted."""
        return self.times.get("ended")

    @property
    def recovered_ns(self) -> int | None:
        """When a probe saw its last trace gone."""
        return self.times.get("recovered")

    @property
    def is_partition(self) -> bool:
        """Whether it cuts links between nodes."""
        return cuts_links(self.name)

    def holds_at(self, time_ns: int) -> bool:
        """Whether nodes may still suffer from it at this moment."""
        return self.effective_ns is not None and self.effective_ns <= time_ns < self.gone_ns

    def may_hold_at(self, time_ns: int) -> bool:
        """Whether it may be in force at this moment, proved or not."""
        if self.requested_ns is None or not self.times.keys() & {"effective", "ended"}:
            return False        # it found nobody to hit
        return self.requested_ns <= time_ns < self.gone_ns

    @property
    def gone_ns(self) -> int:
        """When nothing of it was left."""
        lifted = FOREVER if self.name in GONE_FOR_GOOD else self.times.get("ended", FOREVER)
        return self.times.get("recovered", lifted)


def cuts_links(name: str) -> bool:
    """Whether a fault of this name cuts links between nodes."""
    return name.startswith("partition-") or name in CUTS_BY_DOMAIN


def fault_windows(history: History) -> list[FaultWindow]:
    """Return the faults of a history in the order they were asked for."""
    found: dict[str, FaultWindow] = {}
    for row, phase, value in _phases(history):
        if phase not in STEPS + FAILURES:
            continue
        id = str(value.get("id", row))
        fault = found.setdefault(id, FaultWindow(id, history.fs[history.f[row]]))
        fault.failure_class = value.get("class") or fault.failure_class
        fault.targets = tuple(value.get("targets") or fault.targets)
        fault.grudge = value.get("grudge") or fault.grudge
        fault.parameters = value.get("parameters") or fault.parameters
        fault.error = _error(history, row) or fault.error
        fault.gentle = fault.gentle or value.get("gentle") is True
        if phase in STEPS:
            fault.times.setdefault(phase, int(history.time[row]))
    return list(found.values())


def impossible_faults(history: History) -> dict[str, str]:
    """Return the faults that can't work on these hosts, with the reason."""
    return {history.fs[history.f[row]]: _error(history, row) or "no reason given"
            for row, phase, _ in _phases(history) if phase == "impossible"}


def last_fault_row(history: History) -> int:
    """Return the last row in which a fault was asked for, took hold or was lifted; -1: none."""
    return max((row for row, phase, _ in _phases(history)
                if phase in ("requested", "effective", "ended")), default=NONE)


def _phases(history: History) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Yield row, phase and value of all events that tell of a fault's life."""
    for row in np.flatnonzero(history.process == NEMESIS).tolist():
        value: Any = history.value(row)
        if isinstance(value, dict) and isinstance(value.get("phase"), str):
            yield row, value["phase"], value


def _error(history: History, row: int) -> str | None:
    code = int(history.error[row])
    return None if code == NONE else str(history.errors[code])


def talk(one: str, other: str, grudges: Sequence[Grudge]) -> bool:
    """Whether two nodes hear each other."""
    return not any(other in grudge.get(one, ()) or one in grudge.get(other, ())
                   for grudge in grudges)


def is_transitive(nodes: Sequence[str], faults: Sequence[FaultWindow]) -> bool:
    """Whether nodes fall into groups in which each talks to each, and to nobody else."""
    grudges = [fault.grudge for fault in faults]
    groups = [frozenset(other for other in nodes if talk(node, other, grudges)) for node in nodes]
    return all(one == other or not one & other for one in groups for other in groups)


def majority_exists(nodes: Sequence[str], faults: Sequence[FaultWindow]) -> bool:
    """Whether these faults together leave a majority of living nodes that all hear each other."""
    down = {target for fault in faults if fault.name in STOPS_A_NODE for target in fault.targets}
    alive = [node for node in nodes if node not in down]
    grudges = [fault.grudge for fault in faults]
    return any(all(talk(a, b, grudges) for a, b in combinations(group, 2))
               for group in combinations(alive, len(nodes) // 2 + 1))


def majority_unseated(nodes: Sequence[str], faults: Sequence[FaultWindow]) -> bool:
    """Whether a node that hears no majority is heard by somebody that it does not hear."""
    deaf_to = {node: {other for fault in faults for other in fault.grudge.get(node, ())
                      if other in nodes} for node in nodes}
    return any(len(nodes) - len(deaf_to[node]) <= len(nodes) // 2
               and any(node not in deaf_to[other] for other in deaf_to[node])
               for node in nodes)


def is_diffuse(fault: FaultWindow) -> bool:
    """Whether it neither stops nodes nor cuts links: then nobody can tell what it leaves."""
    return not (fault.grudge or fault.gentle or fault.name in STOPS_A_NODE)


def majority_throughout(
    fault: FaultWindow, faults: Sequence[FaultWindow], voters: Voters,
    waited: Collection[str] = (),
) -> bool:
    """Whether a majority exists all the time a fault holds, overlapping faults included, and
    could get on with its work.

    waited: nodes of other domains that writes wait for; where one is hit, nothing is promised.
    """
    start, end = fault.span
    if start is None:
        return False
    end = FOREVER if end is None else end
    began = {other.requested_ns for other in faults} | {other.effective_ns for other in faults}
    moments = {start, *voters.changes(start, end)} | {
        time_ns for time_ns in began if time_ns is not None and start < time_ns < end}
    return all(_has_its_majority(voters.at(moment), faults, moment, waited) for moment in moments)


def touched(fault: FaultWindow) -> set[str]:
    """Return all nodes that a fault stops, or whose links it cuts."""
    return {*fault.targets, *fault.grudge,
            *(other for dropped in fault.grudge.values() for other in dropped)}


def _has_its_majority(
    nodes: Sequence[str], faults: Sequence[FaultWindow], moment_ns: int, waited: Collection[str],
) -> bool:
    there = [fault for fault in faults if fault.may_hold_at(moment_ns)]
    if any(not touched(fault).isdisjoint(waited) for fault in there):
        return False
    return (majority_exists(nodes, there) and not majority_unseated(nodes, there)
            and not any(map(is_diffuse, there))
            and (len(there) < 2 or (is_transitive(nodes, there)
                                    and not any(fault.gentle for fault in there))))


def hits_leader(fault: FaultWindow, leaders: Leadership, nodes: Sequence[str]) -> bool:
    """Whether an effective fault struck the leader of the moment it was asked for.

    A partition strikes a leader that can no longer talk to a majority; any other fault a
    leader that is among its targets.
    """
    if fault.effective_ns is None:
        return False
    leader = leaders.at(fault.times.get("requested", fault.effective_ns))
    if leader is None:
        return False
    if fault.grudge:
        return sum(talk(leader, other, [fault.grudge])
                   for other in nodes if other != leader) < len(nodes) // 2
    return leader in fault.targets
