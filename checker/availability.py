"""Availability: how much was answered, in peace and under each fault, and how soon after it.

From the history alone (served.py says what is measured). What was declared is judged.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from .history import History
from .result import CheckResult, Verdict
from .served import MOST_SHOWN, Fault, Measured, Served

LABELS = {
    "min_ok": "answered in peace",
    "min_ok_in_faults": "answered under a fault",
    "max_gap": "longest gap in peace",
    "max_gap_in_faults": "longest gap under a fault",
    "max_recovery": "to the first answer after a fault",
    "max_steady": "to steady answers after a fault",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What was declared; None: nothing. Shares of operations, and seconds."""

    min_ok: float | None = None
    min_ok_in_faults: float | None = None
    max_gap: float | None = None
    max_gap_in_faults: float | None = None
    max_recovery: float | None = None
    max_steady: float | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """A bound that does not hold, and in which time to look for the operations."""

    bound: str
    where: str
    got: float
    declared: float
    start_ns: int
    end_ns: int

    def __str__(self) -> str:
        if self.bound.startswith("min_"):
            return (f"{LABELS[self.bound]}: {_percent(self.got)} {self.where}, declared at least "
                    f"{_percent(self.declared)}")
        return (f"{LABELS[self.bound]}: {self.got:.3f} s {self.where}, declared at most "
                f"{self.declared:g} s")


def check_availability(
    history: History, faults: Sequence[Fault], bounds: Bounds, *, name: str = "availability",
) -> CheckResult:
    """Measure, and judge what was declared."""
    served = Served(history)
    if not len(served.invoked):
        return CheckResult(name, Verdict.NO_COVERAGE if _declared(bounds) else Verdict.PASS,
                           "no client operations with a time")
    under = [served.under(fault) for fault in faults]
    peace = served.peace(faults)
    for fault, measured in zip(faults, under, strict=True):
        served.after(fault, measured, faults, peace)
    breaches, unmeasured = _judge(bounds, peace, under)
    summary = _summary(peace, under)
    evidence = {
        "peace": _plain(peace), "faults": [_plain(measured) for measured in under],
        "bounds": {key: value for key, value in asdict(bounds).items() if value is not None},
        "violations": [asdict(breach) | {"operations": [
            done.evidence() for done in served.unanswered(breach.start_ns, breach.end_ns)]}
            for breach in breaches]}
    if breaches:
        return CheckResult(name, Verdict.VIOLATION, f"{breaches[0]} ({summary})",
                           _text(served, breaches), evidence)
    if unmeasured:
        return CheckResult(name, Verdict.NO_COVERAGE, "nothing to measure "
                           f"{', '.join(unmeasured)} by ({summary})", evidence=evidence)
    return CheckResult(name, Verdict.PASS, summary, evidence=evidence)


def _declared(bounds: Bounds) -> list[str]:
    return [field.name for field in fields(bounds) if getattr(bounds, field.name) is not None]


def _judge(
    bounds: Bounds, peace: Measured, under: Sequence[Measured],
) -> tuple[list[Breach], list[str]]:
    """Return what does not hold, and the bounds that nothing could be measured by."""
    breaches, unmeasured = list[Breach](), list[str]()
    for bound in _declared(bounds):
        declared, told = getattr(bounds, bound), list(_measures(bound, peace, under))
        if not any(whole for _, whole in told):
            unmeasured.append(bound)
        for breach, _ in told:
            worse = (breach.got < declared if bound.startswith("min_") else breach.got > declared)
            if worse:
                breaches.append(Breach(bound, breach.where, breach.got, declared, breach.start_ns,
                                       breach.end_ns))
    return breaches, unmeasured


def _measures(
    bound: str, peace: Measured, under: Sequence[Measured],
) -> Iterator[tuple[Breach, bool]]:
    """Yield what there is to hold a bound against; False: it may have become more."""
    stretches = [peace] if bound in ("min_ok", "max_gap") else under
    for one in stretches:
        where = "" if one is peace else f"({one.name}) "
        start, end = one.start_ns, one.end_ns
        if bound in ("max_recovery", "max_steady"):
            first = bound == "max_recovery" or not one.recovered
            got = one.recovery_ns if first else one.steady_ns
            if got is not None:
                yield (Breach(bound, f"{where}after {_s(end)}", got / 1e9, 0.0, end, end + got),
                       one.recovered if first else one.steadied)
        elif not one.operations or not one.judged:
            continue
        elif bound.startswith("min_"):
            yield Breach(bound, f"{where}from {_s(start)} to {_s(end)}", one.share, 0.0, start,
                         end), True
        else:
            yield (Breach(bound, f"{where}from {_s(one.gap_from_ns)} to {_s(one.gap_to_ns)}",
                          one.gap_ns / 1e9, 0.0, one.gap_from_ns, one.gap_to_ns), True)


def _summary(peace: Measured, under: Sequence[Measured]) -> str:
    parts = [f"{_percent(peace.share)} of {peace.operations:,} in peace, longest gap "
             f"{_s(peace.gap_ns)}"]
    if under:
        total = sum(one.operations for one in under)
        share = sum(one.ok for one in under) / max(total, 1)
        parts.append(f"under {len(under)} faults {_percent(share)} of {total:,}, "
                     f"{_s(max(one.gap_ns for one in under))}")
    recovered = [one.recovery_ns for one in under if one.recovery_ns is not None]
    if recovered:
        parts.append(f"first answer {_s(max(recovered))} after a fault at the latest")
    steady = [one.steady_ns for one in under if one.steady_ns is not None]
    if steady:
        parts.append(f"steady {_s(max(steady))}")
    return "; ".join(parts)


def _text(served: Served, breaches: Sequence[Breach]) -> str:
    lines = []
    for breach in breaches[:MOST_SHOWN]:
        lines.append(str(breach))
        lines += [f"  {served.told(done)}"
                  for done in served.unanswered(breach.start_ns, breach.end_ns)]
    if len(breaches) > MOST_SHOWN:
        lines.append(f"and {len(breaches) - MOST_SHOWN} more")
    return "\n".join(lines)


def _plain(measured: Measured) -> dict[str, Any]:
    return asdict(measured) | {"ok_share": round(measured.share, 6)}


def _percent(share: float) -> str:
    return f"{math.floor(share * 10_000) / 100:g}%"


def _s(ns: int) -> str:
    return f"{ns / 1e9:.3f} s"
