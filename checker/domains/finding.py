"""A broken guarantee, told like a story: who read what where, and what it should have shown.

A finding names few operations; they are drawn in time, each with its domain, and the last sentence
says why no working tree of domains could have answered so.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..counterexample import plain
from ..models import Role
from ..operations import show
from ..result import CheckResult, Verdict
from ..timeline import draw
from .view import View

MOST_TOLD = 3                       # findings of a guarantee that are told; all are counted


@dataclass(slots=True)
class Finding:
    """One violation. ``notes``: of the operations drawn, what to say of each beside its domain."""

    reason: str
    culprit: int                                # operation
    notes: dict[int, str] = field(default_factory=dict)
    why: str = ""


@dataclass(slots=True)
class Judged:
    """What came of one guarantee: how much was judged, and what broke it."""

    guarantee: str
    judged: int
    what: str                                   # of what, and what held of all of it
    broken: int = 0
    findings: list[Finding] = field(default_factory=list)
    left_out: str = ""                          # what could not be judged, and why
    evidence: dict[str, Any] = field(default_factory=dict)
    text: str = ""                              # in place of findings

    def result(self, view: View) -> CheckResult:
        """Return it as a check's result."""
        evidence = {"judged": self.judged, "broken": self.broken, **self.evidence}
        if self.left_out:
            evidence["left_out"] = self.left_out
        if not self.broken:
            also = f"; {self.left_out}" if self.left_out else ""
            return CheckResult(f"domain-{self.guarantee}", Verdict.PASS,
                               f"{self.judged:,} {self.what}{also}", evidence=evidence)
        told = self.findings[:MOST_TOLD]
        if told:
            evidence["counterexamples"] = [_evidence(view, finding) for finding in told]
        more = f" ({self.broken:,} in all)" if self.broken > 1 else ""
        summary = told[0].reason if told else self.text.partition("\n")[0]
        text = "\n\n".join(story(view, finding) for finding in told) or self.text
        return CheckResult(f"domain-{self.guarantee}", Verdict.VIOLATION, summary + more, text,
                           evidence)


def story(view: View, finding: Finding) -> str:
    """Tell a finding: its reason, its operations drawn, and why they can't be."""
    chosen = sorted({finding.culprit, *finding.notes}, key=lambda i: int(view.operations.inv[i]))
    keys = {view.key_name(i) for i in chosen}
    marks = {}
    for place, i in enumerate(chosen):
        said = [f"in {view.domain_name(i)}"]
        if len(keys) > 1:
            said.insert(0, f"key {show(plain(view.key_name(i)))}")
        if finding.notes.get(i):
            said.append(finding.notes[i])
        marks[place] = ", ".join(said)
    drawn = draw(view.operations.select(np.array(chosen, dtype=np.int64)), marks)
    key = f"key {show(plain(next(iter(keys))))}: " if len(keys) == 1 else ""
    lines = [f"{key}{finding.reason}", "", *("  " + line for line in drawn.splitlines())]
    return "\n".join([*lines, "", finding.why] if finding.why else lines)


def _evidence(view: View, finding: Finding) -> dict[str, Any]:
    chosen = sorted({finding.culprit, *finding.notes}, key=lambda i: int(view.operations.inv[i]))
    return {"key": plain(view.key_name(finding.culprit)), "reason": finding.reason,
            "domain": view.domain_name(finding.culprit), "why": finding.why,
            "operation": _operation(view, finding.culprit),
            "core": [_operation(view, i) for i in chosen]}


def _operation(view: View, i: int) -> dict[str, Any]:
    ops = view.operations
    return {"process": int(ops.process[i]), "operation": ops.describe(i),
            "role": Role(int(ops.kind[i])).name.lower(), "domain": view.domain_name(i),
            "invoked_row": int(ops.row[i]),
            "completed_row": int(view.done[i]) if view.ended[i] else None}


def who(view: View, i: int) -> str:
    """Return an operation in a sentence: ``p7's read -> 5 in C (rows 120-121)``."""
    rows = f"rows {view.row[i]}-{view.done[i]}" if view.ended[i] else f"row {view.row[i]}"
    return (f"p{view.operations.process[i]}'s {view.operations.describe(i)} in "
            f"{view.domain_name(i)} ({rows})")


def earliest(view: View, which: Iterable[int]) -> list[int]:
    """Return the first few operations in the order of their ends."""
    return sorted(which, key=lambda i: int(view.operations.ret[i]))[:MOST_TOLD]


def ms(ns: int) -> str:
    """Return a time for a person."""
    return f"{ns / 1e6:,.3g} ms" if ns < 1_000_000_000 else f"{ns / 1e9:,.2f} s"


def at(view: View, position: int) -> str:
    """Return when a row was: ``row 102, at 3.151 s``."""
    time_ns = int(view.time[position])
    return f"row {position}" + (f", at {time_ns / 1e9:.3f} s" if time_ns >= 0 else "")


def of(count: int, noun: str) -> str:
    """Return a count with its noun."""
    several = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else several}"


def names(texts: Sequence[str]) -> str:
    """Return names in a sentence."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]])) if texts else "none"
