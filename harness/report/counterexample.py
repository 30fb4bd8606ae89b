"""From the evidence of a violated check to a drawing, a table and a sentence.

What is read from a check's evidence (docs/results.md says what it all means): each of
``counterexamples`` has ``key``, ``reason``, ``operation`` (the one that fits nowhere), ``core``
(operations that no order explains), ``order_before`` and so on; an operation names the rows of
its invocation and completion, and the history knows the rest. Everything may be missing, since
a user's own check need not know of this: then less is drawn, and the check's text tells the
story.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from seatrial.checker.history import NEMESIS, NONE, TYPE_NAMES, History

from ..coverage import READS
from ..results import Check, Results
from .cycle import anomalies, cycle
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
    context: str = ""
    drawing: Markup | None = None
    cyclic: bool = False
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
    named = [Story(name, f"{anomaly}: {found.get('why', '')}", cyclic=True, drawing=cycle(
                 found, f"The anomaly {anomaly} that {name} found"))
             for anomaly, found in anomalies(check.evidence)[:MOST_STORIES]]
    if named:
        named[-1].text = check.text
        return named
    several = check.evidence.get("counterexamples")
    found = several if isinstance(several, list) and several else [check.evidence]
    told = [_story(name, check, one if isinstance(one, dict) else {}, history, nodes)
            for one in found[:MOST_STORIES]]
    told[-1].text = check.text          # it tells of all of them
    return told


def _story(name: str, check: Check, evidence: Mapping[str, Any], history: History | None,
           nodes: list[str]) -> Story:
    story = Story(name, str(evidence.get("reason") or check.summary))
    if evidence.get("key") is not None:
        story.key = shown(evidence["key"])
    if history is None:
        return story
    culprit = _row(evidence.get("operation"))
    rows, in_flight = _rows(evidence, culprit)
    operations = [seen for row in rows
                  for seen in [_seen(history, row, nodes, row in in_flight)] if seen is not None]
    if not operations:
        return story
    drawn = {seen.row for seen in operations}
    order = [row for row in _list(evidence.get("order_before")) if row in drawn]
    places = {row: place for place, row in enumerate(order, 1)}
    bars = [_bar(seen, seen.row == culprit, places.get(seen.row)) for seen in operations]
    wrote = {bar.wrote for bar in bars} - {None}
    story.numbered = bool(places)
    story.sources = any(bar.saw in wrote for bar in bars)
    story.drawing = spacetime(bars, f"Space-time diagram of the counterexample of {name}")
    story.rows = [_table_row(seen, seen.row == culprit, places.get(seen.row))
                  for seen in operations]
    story.context = _context(evidence)
    return story


def _context(evidence: Mapping[str, Any]) -> str:
    """Return the sentence on what lies before the operations that are drawn."""
    explained = evidence.get("explained_operations")
    lines = []
    if isinstance(explained, int):
        lines.append(f"All {explained:,} operations on this key that ended before can be "
                     "explained.")
    if evidence.get("counts_on_initial_value") is False:
        lines.append("No order explains the operations drawn, whatever value was there before.")
    return " ".join(lines)


def _row(operation: Any) -> int | None:
    row = operation.get("invoked_row") if isinstance(operation, dict) else None
    return row if isinstance(row, int) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _rows(evidence: Mapping[str, Any], culprit: int | None) -> tuple[list[int], set[int]]:
    """Return the invocation rows to draw, and which of them had not ended at that moment.

    When there are too many, those nearest to the operation that fits nowhere.
    """
    core = [operation for operation in _list(evidence.get("core")) if _row(operation) is not None]
    in_flight = {operation["invoked_row"] for operation in core
                 if operation.get("completed_row") is None}
    known = sorted({operation["invoked_row"] for operation in core}
                   | ({culprit} if culprit is not None else set()))
    if len(known) > MOST_BARS:
        middle = known[-1] if culprit is None else culprit
        known = sorted(sorted(known, key=lambda row: abs(row - middle))[:MOST_BARS])
    return known, in_flight


def _seen(history: History, row: int, nodes: list[str], in_flight: bool) -> Seen | None:
    """Return what the history holds of the operation that a row invokes.

    in_flight: it had not ended when the contradiction was certain, so its end proves nothing.
    """
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
    ended = outcome in ("ok", "fail") and not in_flight
    return Seen(row, int(history.process[row]), f, label, outcome,
                node_name(history, row if done == NONE else done, nodes),
                int(history.time[row]), int(history.time[done]) if ended else None, wrote, saw)


def _told(f: str, asked: Any, answer: Any, outcome: str) -> tuple[str, str | None, str | None]:
    """Return an operation's label, what it wrote and what it saw."""
    if f in READS:
        return (f"{f} → {_value(answer)}", None, _value(answer)) if outcome == "ok" else (
            f"{f} → ?", None, None)
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
