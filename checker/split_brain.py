"""Split brain: did two lead in one term, or two logs take one place?

From the history alone, by two witnesses. The nemesis's lane notes which node says that it leads,
and in which term (``f="leader"``): in one term that is one node. And a change is answered with the
place in the log that it took (epoch, rindex): two acknowledged changes in one are in two logs.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .folds import MOST_SHOWN, Done
from .history import NEMESIS, NONE, OK, History, Ints
from .operations import show
from .result import CheckResult, Verdict

CHANGES = frozenset({"write", "put", "delete", "cas", "append"})


@dataclass(frozen=True, slots=True)
class Split:
    """Two that can't both be. ``rows``: of what shows it."""

    reason: str
    rows: tuple[int, ...]
    shown: tuple[str, ...]


def split_brain_checks(history: History) -> list[CheckResult]:
    """Judge a run of one domain that tells of terms or places; those of several have checks of
    their own (domains/prefix.py)."""
    if history.metadata.get("domains"):
        return []
    found = check_split_brain(history)
    return [found] if found.evidence["terms"] or found.evidence["places"] else []


def check_split_brain(history: History, *, name: str = "split-brain") -> CheckResult:
    """Judge all terms and all places that were told of."""
    terms, leaders = _leaders(history)
    places, logs = _places(history)
    found = leaders + logs
    evidence = {"terms": terms, "places": places, "splits": len(found), "examples": [
        {"reason": split.reason, "rows": list(split.rows)} for split in found[:MOST_SHOWN]]}
    if found:
        text = "\n".join(f"{split.reason}\n" + "\n".join(f"  {line}" for line in split.shown)
                         for split in found[:MOST_SHOWN])
        more = f"; {len(found)} in all" if len(found) > 1 else ""
        return CheckResult(name, Verdict.VIOLATION, f"{found[0].reason}{more}", text, evidence)
    return CheckResult(name, Verdict.PASS, f"one leader in each of {terms} terms, and "
                       f"{places:,} changes each in a place of its own", evidence=evidence)


def _leaders(history: History) -> tuple[int, list[Split]]:
    """How many terms had a leader, and those that had two."""
    if "leader" not in history.fs:
        return 0, []
    lane = (history.process == NEMESIS) & (history.f == history.fs.index("leader"))
    said: dict[int, dict[str, int]] = {}
    for row in np.flatnonzero(lane).tolist():
        value: Any = history.value(row)
        if isinstance(value, dict) and isinstance(value.get("term"), int) and value.get("leader"):
            said.setdefault(value["term"], {}).setdefault(str(value["leader"]), row)
    return len(said), [
        Split(f"{' and '.join(by)} both lead in term {term}", tuple(by.values()),
              tuple(f"{leader} says so at {history.time[row] / 1e9:.3f} s (row {row})"
                    for leader, row in by.items()))
        for term, by in sorted(said.items()) if len(by) > 1]


def _places(history: History) -> tuple[int, list[Split]]:
    """How many changes named their place, and the places that two of them named."""
    invoked, completed = history.pairs
    codes = [code for code, f in enumerate(history.fs) if f in CHANGES]
    took = (completed != NONE) & np.isin(history.f[invoked], codes)
    invoked, completed = invoked[took], completed[took]
    rindex = _told(history, "rindex")[completed]
    took = (history.type[completed] == OK) & (rindex != NONE)
    invoked, completed, rindex = invoked[took], completed[took], rindex[took]
    epoch = _told(history, "epoch")[completed]
    order = np.lexsort((completed, rindex, epoch))
    same = np.zeros(len(order), dtype=bool)
    same[1:] = ((rindex[order][1:] == rindex[order][:-1])
                & (epoch[order][1:] == epoch[order][:-1]))
    splits = []
    for at in np.flatnonzero(same).tolist():
        pair = [order[at - 1], order[at]]
        rows = tuple(int(row) for i in pair for row in (invoked[i], completed[i]))
        done = [Done(int(history.process[invoked[i]]), history.fs[history.f[invoked[i]]],
                     int(invoked[i]), int(completed[i]), OK) for i in pair]
        splits.append(Split(
            f"{done[0]} and {done[1]} were both acknowledged as entry {rindex[pair[0]]}", rows,
            tuple(f"{one}: {_where(history, one)}" for one in done)))
    return len(order), splits


def _told(history: History, column: str) -> Ints:
    told: Ints = history.optional(column).fill_null(NONE).to_numpy(zero_copy_only=False)
    return told


def _where(history: History, done: Done) -> str:
    term = int(_told(history, "term")[done.completed])
    key = int(history.key[done.invoked])
    return (f"key {show(history.keys[key]) if key != NONE else 'none'}, node "
            f"{history.node[done.completed] + 1}, term {term}")
