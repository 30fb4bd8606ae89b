"""Total queue: what goes in comes out, once the queue was drained. (Jepsen's total-queue.)

Order does not count. An element that was acknowledged and never came out is lost, one that came
out although nobody tried to put it in is unexpected; so is one whose enqueue had failed. An element
that came out more often than it went in is told, and no violation: delivery may be at least once. A
``drain`` answers a list.
"""
from __future__ import annotations

from collections import defaultdict

from .folds import MOST_SHOWN, Done, operations
from .history import FAIL, OK, History
from .models import QUEUE, Role
from .operations import Values, show
from .result import CheckResult, Verdict

DRAIN = "drain"


def check_total_queue(history: History, *, name: str = "total-queue") -> CheckResult:
    """Match what was put in with what came out."""
    values = Values()
    put, kept, out = (defaultdict[int, list[Done]](list) for _ in range(3))
    for done in operations(history):
        role = QUEUE.get(done.f)
        if role == Role.ADD:
            token = values.token(history.value(done.invoked))
            if done.outcome != FAIL:
                put[token].append(done)
            if done.outcome == OK:
                kept[token].append(done)
        elif role == Role.TAKE and done.outcome == OK:
            value = history.value(done.completed)
            if value is not None:
                out[values.token(value)].append(done)
        elif done.f == DRAIN and done.outcome == OK:
            for value in _drained(history, done):
                out[values.token(value)].append(done)
        elif role is None and done.f != DRAIN:
            raise history.bad(f"a total queue does not know {done.f!r}; it knows "
                              f"{', '.join(sorted((*QUEUE, DRAIN)))}", done.invoked)
    lost = {token: ends[len(out.get(token, ())):] for token, ends in kept.items()
            if len(ends) > len(out.get(token, ()))}
    unexpected = {token: ends for token, ends in out.items() if token not in put}
    again = {token: ends for token, ends in out.items() if len(ends) > len(put.get(token, ends))}
    recovered = sum(1 for token in out if token in put and token not in kept)
    counts = {"acknowledged": sum(map(len, kept.values())), "came_out": sum(map(len, out.values())),
              "lost": len(lost), "unexpected": len(unexpected), "duplicated": len(again),
              "recovered": recovered}
    if not kept and not out:
        return CheckResult(name, Verdict.NO_COVERAGE, "nothing was put in", evidence=dict(counts))
    found = [(why, values.value(token), ends) for why, elements in
             (("lost", lost), ("unexpected", unexpected), ("duplicated", again))
             for token, ends in list(elements.items())[:MOST_SHOWN]]
    evidence = counts | {"examples": [
        {"why": why, "element": show(value), "operations": [one.evidence() for one in ends]}
        for why, value, ends in found]}
    told = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.items())
    text = "\n".join(f"{why}: {show(value)}: " + ", ".join(map(str, ends[:MOST_SHOWN]))
                     for why, value, ends in found)
    if not lost and not unexpected:
        return CheckResult(name, Verdict.PASS, told, text, evidence)
    why, value, ends = found[0]
    return CheckResult(name, Verdict.VIOLATION, f"{why}: {show(value)} of {ends[0]}; {told}", text,
                       evidence)


def _drained(history: History, done: Done) -> list[object]:
    value = history.value(done.completed)
    if not isinstance(value, list):
        raise history.bad(f"drain answered {show(value)}; expected a list of elements",
                          done.completed)
    return value
