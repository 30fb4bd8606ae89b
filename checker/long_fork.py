"""Long fork: two reads that saw two writes in opposite orders.

(Jepsen's long-fork workload; Sovran et al., PSI, SOSP'11.) Each key is written at most once, and a
read asks for a whole group of keys; so of two reads of one group, one saw everything that the
other did.
"""
from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from .errors import CheckerError
from .history import NONE, OK, History
from .result import CheckResult, Verdict

MOST_SHOWN = 5
Read = tuple[int, Mapping[Any, Any]]        # row, key -> value, nil where nothing was written


def check_long_fork(
    history: History, group_size: int = 2, *, name: str = "long-fork",
) -> CheckResult:
    """Judge the reads of each group against each other."""
    groups: dict[frozenset[Any], dict[frozenset[Any], Read]] = {}    # by which keys had a value
    reads = 0
    for row in history.pairs[1].tolist():
        if row == NONE or history.type[row] != OK or history.fs[history.f[row]] != "read":
            continue
        seen = _seen(history, row, group_size)
        reads += 1
        there = frozenset(key for key, value in seen.items() if value is not None)
        groups.setdefault(frozenset(seen), {}).setdefault(there, (row, seen))
    forks = [pair for group in groups.values() for pair in _forks(group)]
    evidence: dict[str, Any] = {"reads": reads, "groups": len(groups), "forks": [
        {"rows": [a[0], b[0]], "first": _plain(a[1]), "second": _plain(b[1])}
        for a, b in forks[:MOST_SHOWN]]}
    if not reads:
        return CheckResult(name, Verdict.NO_COVERAGE, "nobody read a group", evidence=evidence)
    if not forks:
        return CheckResult(name, Verdict.PASS, f"{reads} reads of {len(groups)} groups, each "
                           "group's in one order", evidence=evidence)
    text = "\n".join(f"row {a[0]}, p{history.process[a[0]]} read {_plain(a[1])}\n"
                     f"row {b[0]}, p{history.process[b[0]]} read {_plain(b[1])}"
                     for a, b in forks[:MOST_SHOWN])
    first, second = forks[0]
    return CheckResult(name, Verdict.VIOLATION, f"the reads of rows {first[0]} and {second[0]} saw "
                       "two writes in opposite orders", text, evidence)


def _seen(history: History, row: int, group_size: int) -> dict[Any, Any]:
    value = history.value(row)
    if not isinstance(value, list) or not all(
            isinstance(one, list) and len(one) == 3 and one[0] == "r" for one in value):
        raise history.bad(f"a read answered {value!r}; expected a list of [r, key, value]", row)
    seen = {key: cell for _, key, cell in value}
    if len(seen) != group_size:
        raise CheckerError(f"{history.where}: a read of {len(seen)} keys; expected groups of "
                           f"{group_size} (--group-size)")
    return seen


def _forks(group: Mapping[frozenset[Any], Read]) -> list[tuple[Read, Read]]:
    """Reads that saw sets of which neither is in the other: by size, each holds the one before."""
    by_size = sorted(group, key=len)
    return [(group[a], group[b]) for a, b in itertools.pairwise(by_size) if not a <= b]


def _plain(seen: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in sorted(seen.items(), key=str)}
