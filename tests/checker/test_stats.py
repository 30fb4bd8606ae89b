"""The folds: what succeeded, and what clients let escape."""
from __future__ import annotations

from typing import Any

from seatrial.checker import History, Verdict, check_stats, check_unhandled_exceptions


def event(process: int, type: str, f: str, error: str | None = None) -> dict[str, Any]:
    return {"process": process, "type": type, "f": f, "error": error}


def test_stats_count_each_kind_of_operation_and_leave_faults_out() -> None:
    result = check_stats(History.from_rows([
        event(0, "invoke", "read"), event(-1, "info", "kill"), event(0, "ok", "read"),
        event(0, "invoke", "write"), event(1, "invoke", "read"), event(0, "ok", "write"),
        event(1, "fail", "read"), event(2, "invoke", "read")]))
    assert result.verdict == Verdict.PASS
    assert result.summary == "2 ok, 1 fail, 1 info"
    assert result.evidence["by_f"] == {"read": {"ok": 1, "fail": 1, "info": 1},
                                       "write": {"ok": 1, "fail": 0, "info": 0}}


def test_an_operation_that_never_succeeded_covered_nothing() -> None:
    result = check_stats(History.from_rows([
        event(0, "invoke", "read"), event(0, "ok", "read"),
        event(0, "invoke", "cas"), event(0, "fail", "cas")]))
    assert result.verdict == Verdict.NO_COVERAGE
    assert result.summary.startswith("cas never succeeded")
    assert check_stats(History.from_rows([])).verdict == Verdict.NO_COVERAGE


def test_exceptions_are_grouped_by_class_and_plain_reasons_are_not_exceptions() -> None:
    rows = []
    for process, error in enumerate((
            "TimeoutError: 5 s", "ConnectionResetError(104, 'reset')", "TimeoutError: 6 s",
            "TimeoutError: 5 s", "timeout", "no leader: retry", "core.errors.Unknown: lost")):
        rows += [event(process, "invoke", "read"), event(process, "info", "read", error)]
    rows += [event(50, "invoke", "read"), event(50, "fail", "read", "ValueError: told")]
    rows.append(event(-1, "info", "kill", "OSError: a fault's own trouble"))
    result = check_unhandled_exceptions(History.from_rows(rows))
    assert result.verdict == Verdict.PASS
    assert {name: group["count"] for name, group in result.evidence["classes"].items()} == {
        "TimeoutError": 3, "ConnectionResetError": 1, "core.errors.Unknown": 1}
    assert result.evidence["classes"]["TimeoutError"]["examples"] == [
        {"row": 1, "f": "read", "error": "TimeoutError: 5 s"},
        {"row": 5, "f": "read", "error": "TimeoutError: 6 s"}]
