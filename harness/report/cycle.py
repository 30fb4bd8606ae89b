"""A cycle of transactions as a drawing: each leads to the next, and the last back to the first.

From the evidence of a check of transactions: ``violated``, the names of the anomalies that decide
the verdict, and for each of them in ``anomalies`` the ``transactions`` with their ``operations``,
and in ``cycle`` the step that leads from each.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from . import svg
from .tables import shown

WIDTH = 1120
LEFT, TOP = 46, 14
BOX, STEP = 30, 40          # height of a transaction, and of an arrow
MOST_LETTERS = 150
BACK = 20                   # where the line back to the first goes up


def anomalies(evidence: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the anomalies that decide, by name; none where the evidence tells of none."""
    found, violated = evidence.get("anomalies"), evidence.get("violated")
    if not isinstance(found, Mapping) or not isinstance(violated, Sequence):
        return []
    return [(name, one) for name in violated for one in found.get(name, ())[:1]
            if isinstance(one, Mapping)]


def cycle(anomaly: Mapping[str, Any], label: str) -> Markup | None:
    """Return the drawing; transactions one below the other where there is no cycle."""
    transactions = [each for each in anomaly.get("transactions", ()) if isinstance(each, Mapping)]
    steps = [str(step) for step in anomaly.get("cycle", ())]
    if not transactions or len(steps) > len(transactions):
        return None
    steps += [""] * (len(transactions) - len(steps))
    parts, y, tops = [], float(TOP), []
    for transaction, step in zip(transactions, steps, strict=True):
        tops.append(y)
        parts += _box(transaction, y)
        if step:
            x = LEFT + 24
            parts += [svg.line(x, y + BOX, x, y + BOX + STEP - 1, "step"),
                      svg.text(x + 10, y + BOX + STEP / 2 + 4, _cut(step), "reason")]
            if len(tops) < len(transactions) and steps[len(tops)]:
                parts.append(_head(x, y + BOX + STEP))
        y += BOX + (STEP if step else 10)
    last = sum(map(bool, steps))
    if last:
        bottom, middle = tops[last - 1] + BOX + STEP - 1, TOP + BOX / 2
        parts.append(svg.tag("path", class_="step", d=f"M{LEFT + 24} {bottom:.1f} H{BACK} "
                                                      f"V{middle:.1f} H{LEFT}"))
        parts.append(svg.tag("path", class_="head",
                             d=f"M{LEFT} {middle:.1f} l-8 -4.5 v9 z"))
    return svg.drawing(WIDTH, y + 4, parts, label, "drawing cycle")


def _box(transaction: Mapping[str, Any], y: float) -> list[Markup]:
    process, row = transaction.get("process"), transaction.get("invoked_row")
    words = f"p{process}  {_told(transaction)}"
    return [svg.tag("rect", svg.title(f"process {process}, invoked in row {row}: "
                                      f"{_told(transaction)}"),
                    x=LEFT, y=y, width=WIDTH - LEFT - 10, height=BOX, rx=4, class_="transaction"),
            svg.text(LEFT + 10, y + BOX / 2 + 4, _cut(words), "label"),
            svg.text(WIDTH - 18, y + BOX / 2 + 4, f"row {row}", "row", "end")]


def _told(transaction: Mapping[str, Any]) -> str:
    told = []
    for operation in transaction.get("operations", ()):
        if isinstance(operation, Sequence) and len(operation) == 3:
            f, key, value = operation
            cell = "nil" if value is None else shown(value, 40)
            told.append(f"r {key} → {cell}" if f == "r" else f"{f} {key} {cell}")
    return ", ".join(told)


def _head(x: float, y: float) -> Markup:
    return svg.tag("path", class_="head", d=f"M{x:.1f} {y:.1f} l-4.5 -8 h9 z")


def _cut(words: str) -> str:
    return words if len(words) <= MOST_LETTERS else words[:MOST_LETTERS - 1] + "…"
