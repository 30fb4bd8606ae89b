"""Anomalies for a person: a cycle is drawn, with the reason of each step."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..history import INT64_MAX
from .findings import Anomaly
from .transaction import Transaction


def draw(anomalies: Mapping[str, Sequence[Anomaly]]) -> str:
    """Return all anomalies, drawn."""
    return "\n\n".join(f"{name}: {_one(anomaly)}" for name, found in anomalies.items()
                       for anomaly in found)


def _one(anomaly: Anomaly) -> str:
    if not anomaly.steps:
        return "\n".join([anomaly.why, "", *(f"  {_line(t)}" for t in anomaly.guilty)])
    lines = [anomaly.why, ""]
    last = len(anomaly.steps) - 1
    for i, (transaction, step) in enumerate(zip(anomaly.guilty, anomaly.steps, strict=True)):
        lines.append(("  +-> " if i == 0 else "  |   ") + _line(transaction))
        lines.append(f"  |     | {step}")
        lines.append("  +-----+" if i == last else "  |     v")
    if anomaly.witnesses:
        lines += ["", "What was read:", *(f"  {_line(t)}" for t in anomaly.witnesses)]
    return "\n".join(lines)


def _line(transaction: Transaction) -> str:
    end = transaction.returned if transaction.returned != INT64_MAX else "?"
    return f"p{transaction.process}  {transaction.text()}  (rows {transaction.invoked}-{end})"
