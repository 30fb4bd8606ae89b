"""Transactions: which levels of isolation their answers allow (models list-append, rw-register).

From what was read follow dependencies between transactions (list_append.py, rw_register.py), with
the order of sessions and of time (order.py) a graph; each cycle in it is an anomaly with a name
(cycles.py), and each level forbids some (levels.py).
"""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import CheckerError
from ..history import History
from ..result import CheckResult, Verdict
from . import list_append, rw_register
from .cycles import Found, find, not_looked
from .drawing import draw
from .findings import Findings
from .levels import SUFFIXES, Level, Order, all_levels, level_named
from .limits import Limits, OutOfLimits
from .transaction import Transactions, transactions_of

KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[Findings], None]]] = {
    "list-append": (list_append.OPERATIONS, list_append.find),
    "rw-register": (rw_register.OPERATIONS, rw_register.find),
}
F = "txn"                   # what the events of transactions say that they do


def check_transactions(
    history: History, model: str, level: str = "", *, time_limit_s: float = 60.0,
    memory_limit_bytes: int = 1 << 30, name: str = "transactions",
) -> CheckResult:
    """Judge transactions by a level of isolation; the strictest that the history can tell of.

    memory_limit_bytes: beside the history. Where a limit is reached, what was found until then
    counts, and what was not looked for is undecided.
    """
    began = time.monotonic()
    known, infer = KINDS[model]
    most = Order.REAL_TIME if history.timed else Order.SESSION
    asked = level_named(level or ("strict-serializable" if history.timed
                                  else "strong-session-serializable"))
    if asked.order > most:
        raise CheckerError(f"{asked.name} needs to know what ended before what began; this "
                           "history says nothing of time; expected a level without strong-")
    versions = model == "rw-register"
    limits = Limits(time_limit_s, memory_limit_bytes)
    findings = Findings.of(Transactions(), limits)
    try:
        findings = Findings.of(transactions_of(history, known, limits), limits)
        infer(findings)
        found = find(findings, most, limits, versions=versions)
    except OutOfLimits as end:
        found = not_looked(findings, most, end.what, versions=versions)
    verdicts = {each.name: _judge(found, each) for each in all_levels(most)}
    verdict, names = _judge(found, asked)
    evidence: dict[str, Any] = {
        "level": asked.name, "transactions": len(findings.transactions),
        "failed": len(findings.transactions.failed), "dependencies": len(findings.edges),
        "levels": {each: verdict.label for each, (verdict, _) in verdicts.items()},
        "anomalies": {_full(found, each): [anomaly.evidence() for anomaly in anomalies]
                      for each, anomalies in found.anomalies.items()},
        "violated": [_full(found, each) for each in names] if verdict == Verdict.VIOLATION else [],
        "engines": {"cycles": {"elapsed_s": round(time.monotonic() - began, 6)}},
    }
    return CheckResult(name, verdict, _summary(found, asked, verdict, names, len(
        findings.transactions), model), text=draw(
            {_full(found, each): found.anomalies[each] for each in names
             if each in found.anomalies}), evidence=evidence)


def _judge(found: Found, level: Level) -> tuple[Verdict, list[str]]:
    """The verdict on a level, and the anomalies that decide it."""
    bad = [name for name in level.forbids
           if name in found.anomalies and found.order[name] <= level.order]
    if bad:
        return Verdict.VIOLATION, bad
    undecided = found.open(level)
    return (Verdict.INCONCLUSIVE if undecided else Verdict.PASS), undecided


def _full(found: Found, name: str) -> str:
    return name + SUFFIXES[found.order[name]]


def _summary(found: Found, level: Level, verdict: Verdict, names: list[str], n: int,
             model: str) -> str:
    if verdict == Verdict.VIOLATION:
        return f"not {level.name}: {', '.join(_full(found, name) for name in names)}"
    if verdict == Verdict.INCONCLUSIVE:
        why = "took too long" if found.why == "time" else "needs more memory"
        return f"{level.name} undecided: the search for {', '.join(names)} {why}"
    if model == "rw-register" and level.base in ("snapshot-isolation", "serializable"):
        return (f"{n} transactions: nothing found that {level.name} forbids (not every order of "
                "versions is known)")
    return f"{n} transactions are {level.name}"
