"""Simple folds over a history: was every kind of operation ever successful, what went wrong."""
from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from .history import FAIL, INFO, INVOKE, NEMESIS, NONE, OK, TYPE_NAMES, History
from .result import CheckResult, Verdict

EXCEPTION = re.compile(r"^((?:\w+\.)*[A-Z]\w*)(?::|\(|$)")
MOST_EXAMPLES = 3


def check_stats(history: History, *, name: str = "stats") -> CheckResult:
    """Count completions by operation and type; a kind that never succeeded covered nothing."""
    stats = Stats(name)
    stats.feed(history)
    return stats.result()


class Stats:
    """The same for a history that comes in batches."""

    def __init__(self, name: str = "stats") -> None:
        self.name = name
        self._counts: dict[str, np.ndarray[Any, Any]] = {}

    def feed(self, history: History) -> None:
        """Count a batch."""
        client = history.process != NEMESIS
        f, kind = history.f[client], history.type[client]
        for code in np.unique(f).tolist():
            mine = np.bincount(kind[f == code], minlength=len(TYPE_NAMES))
            self._counts[history.fs[code]] = mine + self._counts.get(history.fs[code], 0)

    def result(self) -> CheckResult:
        """What was counted; what never ended counts as info."""
        counts: dict[str, dict[str, int]] = {}
        for f, mine in sorted(self._counts.items()):
            counts[f] = {TYPE_NAMES[kind]: int(mine[kind]) for kind in range(OK, len(TYPE_NAMES))}
            counts[f]["info"] = int(mine[INVOKE] - mine[OK] - mine[FAIL])
        never = [f for f, by_type in counts.items() if by_type["ok"] == 0]
        total = {kind: sum(by_type[kind] for by_type in counts.values())
                 for kind in TYPE_NAMES[OK:]}
        evidence: dict[str, Any] = {"by_f": counts, "total": total}
        summary = ", ".join(f"{n} {kind}" for kind, n in total.items())
        if not counts:
            return CheckResult(self.name, Verdict.NO_COVERAGE, "no client operations at all",
                               evidence=evidence)
        if never:
            return CheckResult(self.name, Verdict.NO_COVERAGE,
                               f"{', '.join(never)} never succeeded ({summary})",
                               evidence=evidence | {"never_ok": never})
        return CheckResult(self.name, Verdict.PASS, summary, evidence=evidence)


def check_unhandled_exceptions(
    history: History, *, name: str = "unhandled-exceptions",
) -> CheckResult:
    """Group the exceptions that clients let escape (info completions whose error is a class).

    They don't break a guarantee, so the verdict is PASS; they say what to handle next.
    """
    rows = np.flatnonzero((history.type == INFO) & (history.process >= 0)
                          & (history.error != NONE))
    classes = {code: found[1] for code, error in enumerate(history.errors)
               if error and (found := EXCEPTION.match(error))}
    groups: dict[str, dict[str, Any]] = {}
    counts = Counter(history.error[rows].tolist())
    for code, count in counts.most_common():
        if code not in classes:
            continue
        group = groups.setdefault(classes[code], {"count": 0, "examples": []})
        group["count"] += count
        if len(group["examples"]) < MOST_EXAMPLES:
            row = int(rows[history.error[rows] == code][0])
            group["examples"].append({"row": row, "f": history.fs[history.f[row]],
                                      "error": history.errors[code]})
    total = sum(group["count"] for group in groups.values())
    said = ", ".join(f"{group['count']} {kind}" for kind, group in groups.items())
    return CheckResult(name, Verdict.PASS, f"{total} unhandled: {said}" if total else "none",
                       evidence={"classes": groups, "total": total})
