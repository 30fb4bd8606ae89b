"""How long writes stood still, fault by fault: what a synchronous domain that is cut off costs."""
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seatrial.checker.history import NONE, OK, History

from ..coverage import is_read
from ..progress import duration
from ..results import Fault, Results
from ..topology.tree import Tree

Ints = npt.NDArray[np.int64]
WHILE_HELD = 0.8        # of a fault's time without a write: it was the fault


def standstills(
    results: Results, history: History | None, tree: Tree | None,
) -> list[dict[str, Any]]:
    """Return a row for each fault that took effect in a run with several domains."""
    if history is None or tree is None or len(tree.domains) < 2:
        return []
    ends = _write_ends(history)
    return [_row(fault, ends, results.duration_ns, tree) for fault in results.faults
            if fault.effective_ns is not None]


def sentences(rows: list[dict[str, Any]]) -> list[str]:
    """Return what the rows show, one line for each kind of fault that stopped writes."""
    lines = []
    for name in dict.fromkeys(row["fault"] for row in rows):
        of_it = [row for row in rows if row["fault"] == name]
        stopped = [row for row in of_it if row["stopped"]]
        if stopped:
            longest = max(row["without_ns"] for row in stopped)
            lines.append(f"nothing was written while {name} held, in {len(stopped)} of "
                         f"{len(of_it)}: {duration(longest)} at most")
        else:
            longest = max(row["without_ns"] for row in of_it)
            lines.append(f"writes went on while {name} held, after {duration(longest)} at most")
    return lines


def _write_ends(history: History) -> Ints:
    """Return when writes were acknowledged, in ns, in order."""
    invoked, completed = history.pairs
    ended = completed != NONE
    invoked, completed = invoked[ended], completed[ended]
    kept = ~is_read(history)[invoked] & (history.type[completed] == OK)
    return np.sort(history.time[completed[kept]])


def _row(fault: Fault, ends: Ints, last_ns: int, tree: Tree) -> dict[str, Any]:
    """Return the longest time without a write that reaches into a fault's time in force."""
    begin = fault.effective_ns or 0
    end = next((at for at in (fault.ended_ns, fault.recovered_ns) if at is not None), last_ns)
    # (the last one before may have been acknowledged long before the fault)
    low = int(np.searchsorted(ends, begin, "right"))
    high = int(np.searchsorted(ends, end, "left"))
    before = ends[low - 1] if low else 0
    after = ends[high] if high < len(ends) else last_ns
    moments = np.concatenate([[before], ends[low:high], [after]])
    gaps = np.diff(moments)
    longest = int(np.argmax(gaps))
    until = int(moments[longest + 1])
    stopped = until >= end and min(until, end) - max(int(moments[longest]), begin) \
        >= WHILE_HELD * (end - begin)
    return {
        "fault": fault.name, "domains": ", ".join(_domains(fault, tree)),
        "held": duration(end - begin), "without_ns": int(gaps[longest]),
        "without": duration(int(gaps[longest])), "stopped": stopped,
        "then": f"{duration(until - end)} after it had ended" if until >= end
        else f"while it held, {duration(until - begin)} after it struck",
    }


def _domains(fault: Fault, tree: Tree) -> list[str]:
    """Return the domains of which a fault struck somebody."""
    hit = set(fault.targets)
    return [domain.name for domain in tree.domains if hit & {node.name for node in domain.nodes}]
