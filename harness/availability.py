"""How available a run's system was, by its faults and by what its test file declares.

Bounds under faults are for those that leave a majority, as coverage has it (fault_windows.py).
"""
from __future__ import annotations

from collections.abc import Sequence

from seatrial.checker import CheckResult, History
from seatrial.checker.availability import Bounds, check_availability
from seatrial.checker.served import Fault

from .coverage import effective_windows
from .testfile import Spec


def availability_check(spec: Spec, history: History, nodes: Sequence[str]) -> CheckResult:
    """Judge what the file declares; without bounds it is only measured."""
    faults = []
    for window in effective_windows(history, nodes, spec.faults.shortest_ns, spec.topology.tree()):
        start, end = window.fault.span
        assert start is not None, f"{window.fault.id} is no effective fault"
        faults.append(Fault(f"{window.fault.id} {window.fault.name}", start, end,
                            window.majority and window.whole))
    return check_availability(history, faults, Bounds(**spec.checks.availability.model_dump()))
