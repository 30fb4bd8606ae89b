"""Set-full: what became of each element that was added. (Jepsen's set-full.)

An element is *known* from the end of its ``add`` on, or from the end of the first read that showed
it. It is *lost* when the last read began later and does not show it; *stale* when an earlier
one does not although it began later, and the last one does. *Unexpected* is what nobody tried to
add, or whose ``add`` failed; *duplicated* what one read shows more than once. An element that
crashed on its way and was seen is *recovered*; one that no later read was there to show is *never
read*.

Lost, unexpected and duplicated elements are violations: this is what durability means. Stale ones
are told: the model ``set`` judges them. Each key is a set of its own.
"""
from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .folds import MOST_SHOWN, Done, operations
from .history import FAIL, INFO, OK, History
from .operations import Values, show
from .result import CheckResult, Verdict

RANKS = {FAIL: 0, INFO: 1, OK: 2}       # of several adds of an element the surest counts
WRONG = ("lost", "unexpected", "duplicated")
OUTCOMES = (*WRONG, "stale", "recovered", "never_read", "stable")


@dataclass(slots=True)
class Element:
    """What is known of one element; rows. ``shown``: reads that began after it was known."""

    add: Done | None = None
    seen: Done | None = None                # the first read to end that showed it
    twice: Done | None = None
    shown: int = 0

    @property
    def known(self) -> int | None:
        """The row from which on every read must show it."""
        rows = [done.completed for done in (self.add, self.seen)
                if done is not None and done.outcome == OK]
        return min(rows) if rows else None

    @property
    def unexpected(self) -> bool:
        """Whether somebody saw what certainly was not added."""
        return self.seen is not None and (self.add is None or self.add.outcome == FAIL)


@dataclass(slots=True)
class Fold:
    """All elements, and all reads by their invocation, with the elements that each shows."""

    values: Values = field(default_factory=Values)
    elements: dict[int, Element] = field(default_factory=dict)
    reads: list[tuple[Done, list[int]]] = field(default_factory=list)

    def add(self, history: History, done: Done) -> None:
        """Take in one operation."""
        if done.f == "add":
            token = self.values.token(history.value(done.invoked))
            element = self.elements.setdefault(token, Element())
            if element.add is None or RANKS[done.outcome] > RANKS[element.add.outcome]:
                element.add = done
        elif done.f == "read":
            if done.outcome == OK:
                self._read(history, done)
        else:
            raise history.bad(f"set-full does not know {done.f!r}; it knows add, read",
                              done.invoked)

    def _read(self, history: History, done: Done) -> None:
        value = history.value(done.completed)
        value = [] if value is None else value          # nobody has added anything yet
        if not isinstance(value, list):
            raise history.bad(f"a read answered {show(value)}; expected all elements, as a list",
                              done.completed)
        counts = Counter(map(self.values.token, value))
        self.reads.append((done, list(counts)))
        for token, n in counts.items():
            element = self.elements.setdefault(token, Element())
            if element.seen is None or done.completed < element.seen.completed:
                element.seen = done
            if n > 1 and element.twice is None:
                element.twice = done

    def outcomes(self) -> dict[str, list[int]]:
        """Return the elements by what became of them."""
        last, shown = self.reads[-1] if self.reads else (None, [])
        there = set(shown)
        begun = [done.invoked for done, _ in self.reads]
        known = {token: element.known for token, element in self.elements.items()}
        for done, tokens in self.reads:
            for token in tokens:
                row = known[token]
                self.elements[token].shown += row is not None and row < done.invoked
        found: dict[str, list[int]] = {name: [] for name in OUTCOMES}
        for token, element in self.elements.items():
            row = known[token]
            if element.twice is not None:
                found["duplicated"].append(token)
            if element.unexpected:
                found["unexpected"].append(token)
            elif row is None:
                continue                    # nobody heard of it
            elif element.add is not None and element.add.outcome != OK:
                found["recovered"].append(token)
            if row is None:
                continue
            if (last is None or last.invoked <= row) and element.seen is None:
                found["never_read"].append(token)
            elif last is not None and last.invoked > row and token not in there:
                found["lost"].append(token)
            elif element.shown < len(begun) - bisect_right(begun, row):
                found["stale"].append(token)
            else:
                found["stable"].append(token)
        return found

    def guilty(self, why: str, token: int) -> tuple[str, list[Done]]:
        """Return an element for a person, and the operations that show what became of it: who
        added it, who saw it, who did not."""
        element = self.elements[token]
        found = [element.add, element.seen if why != "duplicated" else element.twice,
                 self.reads[-1][0] if why == "lost" else None]
        guilty = [done for done in found if done is not None]
        return guilty[0].named(self.values.value(token)), guilty


def check_set_full(history: History, *, name: str = "set-full") -> CheckResult:
    """Judge what became of each element."""
    folds: dict[Any, Fold] = {}
    for done in operations(history):
        folds.setdefault(done.key, Fold()).add(history, done)
    counts: Counter[str] = Counter(
        elements=sum(len(fold.elements) for fold in folds.values()),
        reads=sum(len(fold.reads) for fold in folds.values()))
    if not counts["reads"]:
        return CheckResult(name, Verdict.NO_COVERAGE, "nobody read the set", evidence=dict(counts))
    found: dict[str, list[tuple[str, list[Done]]]] = {why: [] for why in WRONG}
    for fold in folds.values():
        outcomes = fold.outcomes()
        counts.update({why: len(tokens) for why, tokens in outcomes.items()})
        for why, told in found.items():
            told += [fold.guilty(why, token) for token in outcomes[why][:MOST_SHOWN - len(told)]]
    wrong = [(why, element, guilty) for why, told in found.items() for element, guilty in told]
    evidence = dict(counts) | {"examples": [
        {"why": why, "element": element, "operations": [done.evidence() for done in guilty]}
        for why, element, guilty in wrong]}
    summary = ", ".join(f"{counts[what]} {what.replace('_', ' ')}" for what in OUTCOMES)
    if not wrong:
        return CheckResult(name, Verdict.PASS, summary, evidence=evidence)
    text = "\n".join(f"{why}: {element}: " + ", ".join(map(str, guilty))
                     for why, element, guilty in wrong)
    return CheckResult(name, Verdict.VIOLATION, f"{text.splitlines()[0]}; {summary}", text,
                       evidence)
