"""Coverage: did the run do enough that a pass means something?

A run that nothing disturbed, or that hardly got an answer, proves little; its verdict must
not be *pass*. Everything here is computed from the history alone, never from what the
generator or the nemesis meant to do. Each requirement is measured also when it is not asked
for (needed 0), so that a report shows what a run covered.

What the numbers mean:

- clients: the most processes alive at once. A process ends with its first info completion,
  since its worker goes on under a new number.
- keys at a time: a key is in use from its first to its last invocation; final reads, which
  visit every key, are left out.
- final reads: reads answered ok that began after the last fault was lifted and after the
  last operation that could change anything had been invoked.
- a fault's window: from effective to ended, and of an administrator's work from the request to
  the recovery. It counts for ``min_ok_per_window`` only when a
  majority existed all the time (fault_windows.py), other faults in force included, and when
  it was no shorter than the test's own faults are: a swarm's may be over in a moment.
  Of several domains the root must have its majority, and no domain that writes wait for be hit.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seatrial.checker import CheckResult, Verdict
from seatrial.checker.history import INFO, INVOKE, NEMESIS, NONE, OK, History

from .errors import BadInput
from .fault_windows import (
    FaultWindow,
    fault_windows,
    hits_leader,
    last_fault_row,
    majority_throughout,
)
from .leadership import leadership
from .topology.tree import Tree
from .voters import voters_of

FINAL = frozenset({"read"})
READS = FINAL | {"read-bounded", "read-prefix"}
LABELS = {
    "min_ok": "ok operations",
    "min_write_share": "share of writes among ok operations",
    "min_clients": "clients at once",
    "max_keys_at_a_time": "keys at a time",
    "min_faults": "effective faults",
    "min_faults_by_name": "effective faults of each required name",
    "min_fault_names": "different fault names",
    "min_partitions": "different kinds of partition",
    "leader_hit": "faults that hit the leader of the moment",
    "min_leader_changes": "leader changes",
    "min_ok_per_window": "ok operations in the poorest fault window with a majority",
    "final_reads": "keys with a final read",
}


@dataclass(frozen=True, slots=True)
class Window:
    """One effective fault: how long it held, whether a majority lived, what got done."""

    fault: FaultWindow
    ok: int
    majority: bool
    hit_leader: bool
    whole: bool = True


def check(history: History, requirements: Mapping[str, Any], nodes: Sequence[str],
          shortest_ns: int = 0, tree: Tree | None = None) -> CheckResult:
    """Judge a history: PASS when every requirement is met, else NO_COVERAGE naming the unmet.

    shortest_ns: of a fault that has to show progress. tree: of domains; without, all are one.
    """
    if unknown := sorted(set(requirements) - set(LABELS)):
        raise BadInput(f"coverage.{unknown[0]}: unknown requirement; expected one of "
                       + ", ".join(LABELS))
    windows = effective_windows(history, nodes, shortest_ns, tree)
    got = measure(history, windows, nodes)
    table = {name: _entry(name, requirements.get(name), got[name]) for name in LABELS}
    unmet = [f"{LABELS[name]}: {_text(entry['got'])}, {_bound(name)} {_text(entry['needed'])}"
             for name, entry in table.items() if not entry["met"]]
    asked = sum(bool(requirements.get(name)) for name in LABELS)
    return CheckResult(
        "coverage",
        Verdict.NO_COVERAGE if unmet else Verdict.PASS,
        "; ".join(unmet) or (f"all {asked} requirements met" if asked else "nothing was required"),
        evidence={"requirements": table, "windows": [_window(window) for window in windows]},
    )


def effective_windows(
    history: History, nodes: Sequence[str], shortest_ns: int = 0, tree: Tree | None = None,
) -> list[Window]:
    """Return the windows of all faults that took effect, oldest first."""
    faults, leaders = fault_windows(history), leadership(history, nodes)
    if tree is not None and len(tree.domains) > 1:
        nodes = [node.name for node in tree.root.nodes]
    voters = voters_of(history, nodes)
    waited = frozenset() if tree is None else tree.waited_for
    done = np.sort(history.time[(history.type == OK) & (history.process != NEMESIS)])
    found = []
    for fault in faults:
        start, end = fault.span
        if start is None:
            continue
        last = len(done) if end is None else int(np.searchsorted(done, end, "right"))
        found.append(Window(
            fault, ok=last - int(np.searchsorted(done, start, "left")),
            majority=majority_throughout(fault, faults, voters, waited),
            hit_leader=hits_leader(fault, leaders, nodes),
            whole=end is None or end - start >= shortest_ns,
        ))
    return found


def measure(history: History, windows: Sequence[Window], nodes: Sequence[str]) -> dict[str, Any]:
    """Return what the run did, for each requirement."""
    client = history.process != NEMESIS
    ok = client & (history.type == OK)
    writes = ok & ~is_read(history)
    final = final_phase(history)
    names = Counter(window.fault.name for window in windows)
    return {
        "min_ok": int(ok.sum()),
        "min_write_share": round(float(writes.sum() / max(ok.sum(), 1)), 4),
        "min_clients": clients_at_once(history),
        "max_keys_at_a_time": keys_at_a_time(history, final),
        "min_faults": len(windows),
        "min_faults_by_name": dict(sorted(names.items())),
        "min_fault_names": len(names),
        "min_partitions": len({window.fault.name for window in windows
                               if window.fault.is_partition}),
        "leader_hit": sum(window.hit_leader for window in windows),
        "min_leader_changes": leadership(history, nodes).changes,
        "min_ok_per_window": min(
            (window.ok for window in windows if window.majority and window.whole), default=0),
        "final_reads": final_reads(history, final),
    }


def clients_at_once(history: History) -> int:
    """Return the most processes alive at once."""
    rows = np.flatnonzero(history.process != NEMESIS)
    _, first = np.unique(history.process[rows], return_index=True)
    step = np.zeros(len(rows), dtype=np.int64)
    step[first] = 1
    step[history.type[rows] == INFO] -= 1
    return int(np.cumsum(step).max(initial=0))


def keys_at_a_time(history: History, final: int) -> int:
    """Return the most keys in use at once before row ``final``."""
    rows = np.flatnonzero((history.type == INVOKE) & (history.process != NEMESIS))
    rows = rows[rows < final]
    keys, first = np.unique(history.key[rows], return_index=True)
    _, last = np.unique(history.key[rows][::-1], return_index=True)
    step = np.zeros(len(rows) + 1, dtype=np.int64)
    step[first] += 1
    step[len(rows) - last] -= 1          # a key is in use up to and with its last invocation
    return int(np.cumsum(step).max(initial=0)) if len(keys) else 0


def final_reads(history: History, final: int) -> tuple[int, int]:
    """Return how many keys had a final read, and how many keys there are."""
    invoked, completed = history.pairs
    done = completed[(invoked >= final) & (completed != NONE) & is_read(history, FINAL)[invoked]]
    read = np.unique(history.key[done[history.type[done] == OK]])
    return len(read), len(np.unique(history.key[history.process != NEMESIS]))


def final_phase(history: History) -> int:
    """Return the row after which nothing changes: no invocation but reads, no fault."""
    changes = ((history.process != NEMESIS) & (history.type == INVOKE) & ~is_read(history))
    return max(int(np.flatnonzero(changes).max(initial=NONE)), last_fault_row(history)) + 1


def is_read(history: History, reads: frozenset[str] = READS) -> npt.NDArray[np.bool_]:
    """Return which rows belong to operations that change nothing."""
    codes = [code for code, f in enumerate(history.fs) if f in reads]
    return np.isin(history.f, codes)


def _entry(name: str, needed: Any, got: Any) -> dict[str, Any]:
    """Return one line of the coverage table."""
    if name == "final_reads":
        read, keys = got
        return {"needed": keys if needed else 0, "got": read,
                "met": not needed or read == keys > 0}
    if name == "min_faults_by_name":
        needed = dict(needed or {})
        return {"needed": needed, "got": got,
                "met": all(got.get(fault, 0) >= count for fault, count in needed.items())}
    needed = int(needed) if isinstance(needed, bool) else needed or 0
    if name.startswith("max_"):
        return {"needed": needed, "got": got, "met": not needed or got <= needed}
    return {"needed": needed, "got": got, "met": got >= needed}


def _bound(name: str) -> str:
    return "at most" if name.startswith("max_") else "needed"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    return f"{value:,}"


def _window(window: Window) -> dict[str, Any]:
    fault = window.fault
    return {"fault": fault.id, "name": fault.name, "targets": list(fault.targets),
            "effective_ns": fault.effective_ns, "ended_ns": fault.ended_ns,
            "ok": window.ok, "majority": window.majority, "hit_leader": window.hit_leader}
