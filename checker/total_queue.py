"""Total queue: what goes in comes out, once the queue was drained. (Jepsen's total-queue.)

Order does not count. An element that was acknowledged and never came out is lost, one that came
out although nobody tried to put it in is unexpected; so is one whose enqueue had failed. An element
that came out more often than it went in is told, and no violation: delivery may be at least once. A
``drain`` answers a list. Each key is a queue of its own.

Each dequeue that crashed may have taken an element with it, and a drain that crashed any number:
where these may be all that are missing from a queue, nothing is proved lost, and they are told as
missing.
"""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import Any

from .folds import MOST_SHOWN, Done, operations
from .history import FAIL, INFO, OK, History
from .models import QUEUE, Role
from .operations import Values, show
from .result import CheckResult, Verdict

DRAIN = "drain"


@dataclass(slots=True)
class Queue:
    """What went into one queue, and what came out, by element."""

    put: defaultdict[int, list[Done]] = field(default_factory=lambda: defaultdict(list))
    kept: defaultdict[int, list[Done]] = field(default_factory=lambda: defaultdict(list))
    out: defaultdict[int, list[Done]] = field(default_factory=lambda: defaultdict(list))
    crashed: float = 0          # elements that may have come out and not arrived

    def add(self, history: History, values: Values, done: Done) -> None:
        """Take in one operation."""
        role = QUEUE.get(done.f)
        if role == Role.ADD:
            token = values.token(history.value(done.invoked))
            if done.outcome != FAIL:
                self.put[token].append(done)
            if done.outcome == OK:
                self.kept[token].append(done)
        elif role == Role.TAKE or done.f == DRAIN:
            if done.outcome == INFO:
                self.crashed += inf if done.f == DRAIN else 1
            elif done.outcome == OK:
                for value in _taken(history, done):
                    self.out[values.token(value)].append(done)
        elif role is None:
            raise history.bad(f"a total queue does not know {done.f!r}; it knows "
                              f"{', '.join(sorted((*QUEUE, DRAIN)))}", done.invoked)

    def wrong(self) -> dict[str, dict[int, list[Done]]]:
        """Return elements, and who put them in or took them, by what is wrong with them."""
        missing = {token: ends[len(self.out.get(token, ())):] for token, ends in self.kept.items()
                   if len(ends) > len(self.out.get(token, ()))}
        proved = sum(map(len, missing.values())) > self.crashed
        return {
            "lost" if proved else "missing": missing,
            "unexpected": {token: ends for token, ends in self.out.items()
                           if token not in self.put},
            "duplicated": {token: ends for token, ends in self.out.items()
                           if len(ends) > len(self.put.get(token, ends))}}


def check_total_queue(history: History, *, name: str = "total-queue") -> CheckResult:
    """Match what was put in with what came out."""
    values, queues = Values(), defaultdict[Any, Queue](Queue)
    for done in operations(history):
        queues[done.key].add(history, values, done)
    counts = dict.fromkeys(("acknowledged", "came_out", "lost", "missing", "unexpected",
                            "duplicated", "recovered"), 0)
    found: dict[str, list[tuple[str, list[Done]]]] = {
        "lost": [], "unexpected": [], "missing": [], "duplicated": []}
    for queue in queues.values():
        counts["acknowledged"] += sum(map(len, queue.kept.values()))
        counts["came_out"] += sum(map(len, queue.out.values()))
        counts["recovered"] += sum(token in queue.put and token not in queue.kept
                                   for token in queue.out)
        for why, elements in queue.wrong().items():
            counts[why] += len(elements)
            found[why] += [(ends[0].named(values.value(token)), ends)
                           for token, ends in list(elements.items())[:MOST_SHOWN]]
    if not counts["acknowledged"] and not counts["came_out"]:
        return CheckResult(name, Verdict.NO_COVERAGE, "nothing was put in", evidence=dict(counts))
    told = [(why, element, ends) for why, some in found.items()
            for element, ends in some[:MOST_SHOWN]]
    evidence = counts | {"examples": [
        {"why": why, "element": element, "operations": [one.evidence() for one in ends]}
        for why, element, ends in told]}
    summary = ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in counts.items())
    text = "\n".join(f"{why}: {element}: " + ", ".join(map(str, ends[:MOST_SHOWN]))
                     for why, element, ends in told)
    if not found["lost"] and not found["unexpected"]:
        return CheckResult(name, Verdict.PASS, summary, text, evidence)
    why, element, ends = told[0]
    return CheckResult(name, Verdict.VIOLATION, f"{why}: {element} of {ends[0]}; {summary}", text,
                       evidence)


def _taken(history: History, done: Done) -> list[object]:
    value = history.value(done.completed)
    if done.f != DRAIN:
        return [] if value is None else [value]
    if not isinstance(value, list):
        raise history.bad(f"drain answered {show(value)}; expected a list of elements",
                          done.completed)
    return value
