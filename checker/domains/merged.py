"""Writes and the linearizable reads of every domain together are one linearizable history, by key.

Twice, if need be. What any other read showed, in any domain, the root had committed by then: so a
write ended at the latest when somebody was shown it, even one that was never acknowledged. The
history is judged with writes that end so early; where it has no order, it is judged once more
without that, and the two verdicts tell which promise was broken: that the reads are linearizable,
or that a domain applies only what is committed.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ..linearizable import check_linearizable
from ..operations import INF, Operations
from ..result import CheckResult, Verdict
from .view import View


def merged(view: View, **limits: Any) -> list[CheckResult]:
    """Judge the merged history."""
    strong = view.operations.select(~view.weak)
    early, moved = _ended_early(view)
    found = check_linearizable(early.select(~view.weak), initial=_initial(view),
                               name="domain-linearizable", **limits)
    if moved and found.verdict is Verdict.VIOLATION:
        plain = check_linearizable(strong, initial=_initial(view), name="domain-linearizable",
                                   **limits)
        if plain.verdict is not Verdict.VIOLATION:
            found.name = "domain-committed"
            found.summary = f"a domain showed what was not committed: {found.summary}"
            found.text += ("\n\nA write is taken to end when a read in any domain first showed it: "
                           "a domain applies only what the root has committed.")
            return [plain, found]
        found = plain
    found.evidence["ended_by_reads"] = moved
    return [found]


def _initial(view: View) -> Any:
    return view.operations.values.value(view.initial)


def _ended_early(view: View) -> tuple[Operations, int]:
    """Operations with writes that end when they were first shown; and how many do."""
    versions, ops = view.versions, view.operations
    shown = np.flatnonzero((versions.writer >= 0) & (versions.first_op >= 0))
    shown = shown[view.weak[versions.first_op[shown]]]
    writer = versions.writer[shown]
    earlier = (versions.first[shown] < ops.ret[writer]) & (versions.first[shown] > ops.inv[writer])
    shown, writer = shown[earlier], writer[earlier]
    if not len(shown):
        return ops, 0
    early = ops.select(np.arange(len(ops)))
    early.ret = ops.ret.copy()
    early.done = ops.done.copy()
    early.ret[writer] = versions.first[shown]
    early.done[writer] = versions.first[shown]
    assert (early.ret[writer] < INF).all()
    return early, len(shown)
