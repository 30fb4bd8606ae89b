"""What a run showed and what it did not, in sentences.

A test can show that a bug is there, never that none is. The two lists keep a reader from
taking more from a pass than it holds, and they name what this run in particular left open.
"""
from __future__ import annotations

from collections import Counter

from ..results import Results


def proved(results: Results) -> list[str]:
    """Return what this run showed."""
    lines = []
    for name, check in results.checks.items():
        if check.verdict == "violation":
            lines.append(f"{name} is broken: the evidence holds whatever happened elsewhere "
                         "in the run")
        elif check.verdict == "pass":
            lines.append(f"{name}: {check.summary or 'passed'}")
    effective = Counter(fault.name for fault in results.faults if fault.effective_ns is not None)
    if effective:
        lines.append("faults that a probe saw take effect: "
                     + ", ".join(f"{count} {name}" for name, count in effective.items()))
    counts = results.operations
    lines.append(f"{counts.invoke:,} operations were tried: {counts.ok:,} happened, "
                 f"{counts.fail:,} did not, {counts.info:,} may or may not have happened")
    return lines


def unproved(results: Results) -> list[str]:
    """Return what this run left open."""
    lines = []
    for name, check in results.checks.items():
        if check.verdict in ("inconclusive", "no-coverage", "harness-failure"):
            lines.append(f"{name}: {check.summary or check.verdict}")
    never = Counter(fault.name for fault in results.faults if fault.effective_ns is None)
    if never:
        lines.append("faults that never took effect: "
                     + ", ".join(f"{count} {name}" for name, count in never.items()))
    lines += [f"{name} can't work on these hosts: {reason}"
              for name, reason in results.impossible.items()]
    lasting = [fault.name for fault in results.faults
               if fault.effective_ns is not None and fault.recovered_ns is None]
    if lasting:
        lines.append("faults whose end was not confirmed: " + ", ".join(lasting))
    if results.error:
        lines.append("anything after the run broke")
    if results.operations.info:
        lines.append(f"the fate of {results.operations.info:,} operations without an answer: "
                     "any fate that fits was accepted")
    lines.append(f"other seeds than {results.seed}, other faults, other timing, longer runs: "
                 "a pass says that this history is sound, not that every history is")
    return lines
