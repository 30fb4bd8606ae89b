"""From the evidence of a violated check to a drawing, a table and a sentence.

What is read from the evidence of a linearizability check (docs/results.md):

==================== ====================================================================
``counterexamples``  a list, one for each key that has no explanation (else the evidence
                     itself is taken as the only one)
``key``              the key
``operations``       the operations that contradict each other: ``row`` and ``done`` (rows of
                     invocation and completion in the history; done null: it never ended),
                     ``process``, ``what`` (``read -> 3``), ``inv_ns``, ``ret_ns``
``culprit``          row of the operation that fits nowhere
``order``            rows, in the longest order that explains the others
``possible``         the values that could have been seen instead
==================== ====================================================================

Everything may be missing: then less is drawn, and the check's own text still tells the story.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from seatrial.checker.history import NEMESIS, NONE, TYPE_NAMES, History

from ..results import Check, Results
from .spacetime import Bar, spacetime
from .tables import node_name, shown

MOST_STORIES = 3
MOST_BARS = 40


@dataclass(slots=True)
class Story:
    """One counterexample, as the page shows it."""

    check: str
    summary: str
    key: str = ""
    text: str = ""
    expected: str = ""
    drawing: Markup | None = None
    numbered: bool = False
    sources: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """An operation of the evidence, completed from the history."""

    row: int
    process: int
    f: str
    label: str
    outcome: str
    node: str
    start_ns: int
    end_ns: int | None
    wrote: str | None
    saw: str | None


def stories(results: Results, history: History | None) -> list[Story]:
    """Return the counterexamples of all violated checks, the first few of each."""
    return [
        story
        for name, check in results.checks.items() if check.verdict == "violation"
        for story in _stories(name, check, history, results.nodes)
    ]


def _stories(name: str, check: Check, history: History | None, nodes: list[str]) -> list[Story]:
    several = check.evidence.get("counterexamples")
    found = several if isinstance(several, list) and several else [check.evidence]
    told = [_story(name, check, one if isinstance(one, dict) else {}, history, nodes)
            for one in found[:MOST_STORIES]]
    told[0].text = check.text
    return told


def _story(name: str, check: Check, evidence: Mapping[str, Any], history: History | None,
           nodes: list[str]) -> Story:
    story = Story(name, f"{name}: {check.summary}")
    if evidence.get("key") is not None:
        story.key = shown(evidence["key"])
    if history is None:
        return story
    culprit = evidence.get("culprit")
    order = [row for row in evidence.get("order") or [] if isinstance(row, int)]
    operations = [seen for row in _rows(evidence, culprit)
                  for seen in [_seen(history, row, nodes)] if seen is not None]
    if not operations:
        return story
    places = {row: place for place, row in enumerate(
        [row for row in order if any(seen.row == row for seen in operations)], 1)}
    bars = [_bar(seen, seen.row == culprit, places.get(seen.row)) for seen in operations]
    wrote = {bar.wrote for bar in bars} - {None}
    story.numbered = bool(places)
    story.sources = any(bar.saw in wrote for bar in bars)
    story.drawing = spacetime(bars, f"Space-time diagram of the counterexample of {name}")
    story.rows = [_table_row(seen, seen.row == culprit, places.get(seen.row))
                  for seen in operations]
    story.expected = _expected(evidence, operations, culprit)
    return story


def _rows(evidence: Mapping[str, Any], culprit: Any) -> list[int]:
    """Return the invocation rows to draw: when there are too many, those near the culprit."""
    rows = [one.get("row") for one in evidence.get("operations") or [] if isinstance(one, dict)]
    rows.append(culprit)
    known = sorted({row for row in rows if isinstance(row, int)})
    if len(known) > MOST_BARS:
        middle = culprit if isinstance(culprit, int) else known[-1]
        known = sorted(sorted(known, key=lambda row: abs(row - middle))[:MOST_BARS])
    return known


def _seen(history: History, row: int, nodes: list[str]) -> Seen | None:
    """Return what the history holds of the operation that a row invokes."""
    if not 0 <= row < len(history) or history.process[row] == NEMESIS:
        return None
    invoked, completed = history.pairs
    at = int(invoked.searchsorted(row))
    if at == len(invoked) or invoked[at] != row:
        return None
    done = int(completed[at])
    f = history.fs[history.f[row]]
    outcome = "none" if done == NONE else TYPE_NAMES[history.type[done]]
    asked = history.value(row)
    answer = None if done == NONE else history.value(done)
    label, wrote, saw = _told(f, asked, answer, outcome)
    ended = outcome in ("ok", "fail")
    return Seen(row, int(history.process[row]), f, label, outcome,
                node_name(history, row if done == NONE else done, nodes),
                int(history.time[row]), int(history.time[done]) if ended else None, wrote, saw)


def _told(f: str, asked: Any, answer: Any, outcome: str) -> tuple[str, str | None, str | None]:
    """Return an operation's label, what it wrote and what it saw."""
    if f == "read":
        return (f"read → {_value(answer)}", None, _value(answer)) if outcome == "ok" else (
            "read → ?", None, None)
    if f == "cas" and isinstance(asked, Sequence) and len(asked) >= 2:
        old, new = _value(asked[0]), _value(asked[1])
        if outcome == "fail":
            seen = _value(answer[2]) if isinstance(answer, list) and len(answer) == 3 else None
            return f"cas {old}→{new} saw {seen or '?'}", None, seen
        return f"cas {old}→{new}", new, old
    return f"{f} {_value(asked)}" if asked is not None else f, _value(asked), None


def _value(value: Any) -> str:
    return "nil" if value is None else shown(value, 24)


def _bar(seen: Seen, culprit: bool, place: int | None) -> Bar:
    times = f"{seen.start_ns / 1e9:.6f} s to " + (
        "never" if seen.end_ns is None else f"{seen.end_ns / 1e9:.6f} s")
    return Bar(seen.process, seen.f, seen.label, seen.start_ns, seen.end_ns, culprit,
               seen.end_ns is None, place, seen.saw, seen.wrote,
               f"event {seen.row}: {seen.label} ({seen.outcome}), {times}")


def _table_row(seen: Seen, culprit: bool, place: int | None) -> dict[str, Any]:
    remark = "fits nowhere" if culprit else f"place {place}" if place else ""
    return {"index": seen.row, "process": seen.process, "node": seen.node, "label": seen.label,
            "outcome": {"none": "no answer", "info": "unknown"}.get(seen.outcome, seen.outcome),
            "start": f"{seen.start_ns / 1e9:.6f}", "culprit": culprit, "remark": remark,
            "end": "" if seen.end_ns is None else f"{seen.end_ns / 1e9:.6f}"}


def _expected(evidence: Mapping[str, Any], operations: Sequence[Seen], culprit: Any) -> str:
    """Return the sentence that says what was seen and what could have been."""
    possible = evidence.get("possible")
    guilty = [seen for seen in operations if seen.row == culprit]
    if not guilty or not isinstance(possible, list):
        return ""
    values = ", ".join(_value(value) for value in possible[:12]) or "nothing"
    return (f"Process {guilty[0].process} saw {guilty[0].saw or 'this'} "
            f"({guilty[0].label}, event {guilty[0].row}); at that point it could have seen: "
            f"{values}.")
