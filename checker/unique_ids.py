"""Unique ids: no two answers are the same. (Jepsen's unique-ids.)"""
from __future__ import annotations

from .folds import MOST_SHOWN, Done, operations
from .history import OK, History
from .operations import Values, show
from .result import CheckResult, Verdict


def check_unique_ids(history: History, *, name: str = "unique-ids") -> CheckResult:
    """Judge every answer, whatever was asked."""
    values, givers = Values(), dict[int, list[Done]]()
    for done in operations(history):
        if done.outcome == OK:
            token = values.token(history.value(done.completed))
            givers.setdefault(token, []).append(done)
    answers = sum(map(len, givers.values()))
    twice = [(values.value(token), given) for token, given in givers.items() if len(given) > 1]
    evidence = {"answers": answers, "duplicates": len(twice), "examples": [
        {"id": show(value), "operations": [done.evidence() for done in given[:MOST_SHOWN]]}
        for value, given in twice[:MOST_SHOWN]]}
    if not answers:
        return CheckResult(name, Verdict.NO_COVERAGE, "nobody got an id", evidence=evidence)
    if not twice:
        return CheckResult(name, Verdict.PASS, f"{answers} ids, all different", evidence=evidence)
    text = "\n".join(f"{show(value)}: " + ", ".join(map(str, given[:MOST_SHOWN]))
                     for value, given in twice[:MOST_SHOWN])
    value, given = twice[0]
    return CheckResult(name, Verdict.VIOLATION, f"{len(twice)} of {len(givers)} ids were given "
                       f"more than once: {show(value)} to {given[0]} and {given[1]}", text,
                       evidence)
