"""The check as a whole: what its verdict, evidence and counterexample say."""
from __future__ import annotations

import json
import textwrap
from dataclasses import replace
from typing import Any

import pytest
from exhaustive import Call, linearizable
from histories import random_calls

from seatrial.checker import (
    CheckerError,
    EngineAbsent,
    History,
    Verdict,
    check_linearizable,
    porcupine_engine,
)
from seatrial.checker.models import Role
from seatrial.checker.operations import from_intervals

READ, WRITE, CAS, APPEND = Role.READ, Role.WRITE, Role.CAS, Role.APPEND
needs_porcupine = pytest.mark.skipif(not porcupine_engine.available(),
                                     reason="built without Go: no porcupine engine")


def check(calls: list[Call], **options: Any) -> Any:
    options = {"engine": "search"} | options
    return check_linearizable(from_intervals([call.row() for call in calls]), **options)


def events(*rows: tuple[Any, ...]) -> History:
    """A history from (process, type, f, value), all on one key."""
    return History.from_rows([
        {"process": process, "type": type, "f": f, "value": value, "key": b"x"}
        for process, type, f, value in rows])


def text(drawn: str) -> str:
    return textwrap.dedent(drawn).strip("\n")


def test_a_stale_read_is_drawn_with_what_was_possible_instead() -> None:
    writes = [Call(i % 3, WRITE, i, None, 10 * i, 10 * i + 15) for i in range(1, 50)]
    reads = [Call(3, READ, i, None, 10 * i + 16, 10 * i + 18) for i in range(1, 50, 3)]
    stale = Call(5, READ, 7, None, 1000, 1001)
    result = check([*writes, *reads, stale])
    assert result.verdict == Verdict.VIOLATION
    assert result.summary == ("not linearizable: key k: p5's read -> 7 can't be placed: "
                              "the value could only be 49")
    assert result.text == text("""
        key k: p5's read -> 7 can't be placed: the value could only be 49

        The smallest set of operations that no order explains, whatever value was there before:

          p1  write 49   |--|           rows 127-129
          p5  read -> 7        |--|     rows 132-133  <- can't be placed

        7 came from p1's write 7 (row 15), and was replaced since.
        Everything on this key that ended before row 133 (66 operations) can be explained; \
those drawn in the order: p1 write 49.
    """).replace("\\\n", "")


def test_two_cas_from_one_value_are_drawn_side_by_side() -> None:
    result = check([Call(0, WRITE, 1, None, 0, 1), Call(1, CAS, 1, 2, 2, 4),
                    Call(2, CAS, 1, 3, 3, 5), Call(3, WRITE, 9, None, 2, None)])
    assert result.text == text("""
        key k: p2's cas 1 -> 3 can't be placed: the value could only be 2

        The smallest set of operations that no order explains, whatever value was there before:

          p0  write 1     |--|           rows 0-1
          p1  cas 1 -> 2        |--|     rows 2-5
          p2  cas 1 -> 3        |--|     rows 4-6  <- can't be placed

        Everything on this key that ended before row 6 (2 operations) can be explained; \
those drawn in the order: p0 write 1, then p1 cas 1 -> 2.
    """).replace("\\\n", "")


def test_a_crashed_write_is_drawn_without_an_end() -> None:
    result = check([Call(0, WRITE, 1, None, 0, None), Call(1, READ, 1, None, 2, 3),
                    Call(1, WRITE, 2, None, 4, 5), Call(1, READ, 1, None, 6, 7)])
    assert result.verdict == Verdict.VIOLATION
    assert "p0  write 1    |----------------->  row 0, never known to end" in result.text


def test_a_write_that_ended_after_the_violation_is_drawn_open_with_both_its_rows() -> None:
    result = check([Call(0, WRITE, 1, None, 0, 1), Call(0, WRITE, 2, None, 2, 20),
                    Call(1, READ, 2, None, 4, 5), Call(1, READ, 1, None, 6, 7)])
    assert "p0  write 2          |----------->  rows 2-7\n" in result.text


def test_a_value_that_nobody_wrote_needs_no_further_proof() -> None:
    result = check([Call(0, WRITE, 1, None, 0, 1), Call(1, READ, 5, None, 2, 3)], initial=0)
    assert result.text == text("""
        key k: p1's read -> 5, but nobody had written 5

        The smallest set of operations that no order explains:

          p1  read -> 5  |--|     rows 2-3  <- can't be placed

        The value at the start is 0.
        Everything on this key that ended before row 3 (1 operations) can be explained.
    """)


def test_a_log_read_in_the_wrong_order_is_drawn() -> None:
    result = check([Call(0, APPEND, 1, None, 0, 1), Call(1, APPEND, 2, None, 2, 3),
                    Call(2, READ, [2, 1], None, 4, 5), Call(2, READ, [1], None, 6, 7)])
    assert "p2's read -> [2, 1] can't be placed: the value could only be [1, 2]" in result.text
    assert len(result.evidence["counterexamples"][0]["core"]) == 3


def test_at_most_twenty_operations_are_drawn() -> None:
    """Twenty-five writes at once, then reads that alternate between two of them too often."""
    writes = [Call(i, WRITE, i, None, i, 100 + i) for i in range(25)]
    reads = [Call(30, READ, i % 25, None, 200 + 2 * i, 201 + 2 * i) for i in range(26)]
    result = check([*writes, *reads])
    drawn = [line for line in result.text.splitlines() if "rows" in line]
    assert result.verdict == Verdict.VIOLATION
    assert 0 < len(drawn) <= 20


@pytest.mark.randomised
def test_every_counterexample_is_one_and_its_order_explains_what_came_before() -> None:
    """The core, judged alone by exhaustive search, has no order, whatever value it starts from."""
    for seed in range(1500):
        calls = random_calls(seed)
        if not calls or linearizable(calls):
            continue
        result = check(calls)
        (example,) = result.evidence["counterexamples"]
        by_row = {int(row): call for row, call in zip(
            from_intervals([call.row() for call in calls]).inv, calls, strict=True)}
        core = [by_row[op["invoked_row"]] for op in example["core"]]
        end = by_row[example["operation"]["invoked_row"]].ret
        assert end is not None
        known = [c if c.ret is not None and c.ret <= end else Call(
            c.process, c.role, c.a, c.b, c.inv, None) for c in core]
        known += [replace(by_row[row], inv=-1, ret=None) for row in example["whenever_rows"]]
        starts = [None] if example["counts_on_initial_value"] else [
            None, "other", *(c.a for c in calls), *(c.b for c in calls)]
        for start in starts:
            assert not linearizable(known, start), (seed, start, result.text)
        assert example["whenever_rows"] or example["order_before"] is not None, seed
        json.dumps(result.evidence)


def test_a_core_does_without_older_writes_only_where_they_prove_nothing() -> None:
    """p1's write ends long before the last read, but may have come after p0's, which took so long:
    these two alone would not prove anything. Only who read 5 in between tells."""
    old = [Call(0, WRITE, 5, None, 0, 1000), Call(1, WRITE, 7, None, 1, 3)]
    reads = [Call(2, READ, 5, None, 4 + 2 * i, 5 + 2 * i) for i in range(40)]
    last = Call(3, READ, 7, None, 1001, 1002)
    assert linearizable([*old, last])
    (example,) = check([*old, *reads, last]).evidence["counterexamples"]
    assert [op["operation"] for op in example["core"]] == ["write 5", "read -> 5", "read -> 7"]


def test_a_failed_cas_that_says_what_it_saw_is_a_read() -> None:
    history = events(
        (0, "invoke", "write", 1), (0, "ok", "write", 1),
        (0, "invoke", "cas", [5, 6]), (0, "fail", "cas", [5, 6, 2]))
    assert check_linearizable(history, "cas-register").verdict == Verdict.VIOLATION
    history = events(
        (0, "invoke", "write", 1), (0, "ok", "write", 1),
        (0, "invoke", "cas", [5, 6]), (0, "fail", "cas", [5, 6, 1]))
    assert check_linearizable(history, "cas-register").verdict == Verdict.PASS


def test_a_cas_that_failed_although_it_saw_what_it_expected_is_a_violation() -> None:
    history = events(
        (0, "invoke", "write", 1), (0, "ok", "write", 1),
        (0, "invoke", "cas", [1, 6]), (0, "fail", "cas", [1, 6, 1]))
    result = check_linearizable(history, "cas-register")
    assert result.verdict == Verdict.VIOLATION
    assert "p0's cas failed although it saw the value that it expected" in result.summary


@pytest.mark.parametrize(("cas_fail", "verdict"), [
    ("drop", Verdict.PASS), ("observe", Verdict.VIOLATION)])
def test_a_failed_cas_that_says_nothing_counts_when_asked(cas_fail: str, verdict: Verdict) -> None:
    history = events(
        (0, "invoke", "write", 1), (0, "ok", "write", 1),
        (0, "invoke", "cas", [1, 6]), (0, "fail", "cas", [1, 6]))
    assert check_linearizable(history, "cas-register", cas_fail=cas_fail).verdict == verdict


def test_what_failed_did_not_happen_and_what_crashed_may_have() -> None:
    wrote = [(0, "invoke", "write", 1), (0, "ok", "write", 1), (1, "invoke", "write", 2)]
    read = [(2, "invoke", "read", None), (2, "ok", "read", 2)]
    assert check_linearizable(events(*wrote, (1, "fail", "write", 2), *read)).verdict == (
        Verdict.VIOLATION)
    assert check_linearizable(events(*wrote, (1, "info", "write", 2), *read)).verdict == (
        Verdict.PASS)
    assert check_linearizable(events(*wrote, *read)).verdict == Verdict.PASS


def test_append_delete_and_cas_of_a_kv_work_on_lists_and_strings() -> None:
    for one, two, both in ((1, 2, [1, 2]), ("a", "b", "ab")):
        rows = [(0, "append", one), (0, "append", two), (1, "read", both), (0, "delete", None),
                (1, "read", None), (0, "append", two)]
        flat = [event for process, f, value in rows for event in (
            (process, "invoke", f, value), (process, "ok", f, value))]
        last = [two] if isinstance(two, int) else two
        good = [*flat, (1, "invoke", "read", None), (1, "ok", "read", last)]
        bad = [*flat, (1, "invoke", "read", None), (1, "ok", "read", both)]
        assert check_linearizable(events(*good), "kv").verdict == Verdict.PASS
        assert check_linearizable(events(*bad), "kv").verdict == Verdict.VIOLATION


def test_an_unknown_operation_is_refused_by_row_and_name() -> None:
    history = events((0, "invoke", "read", None), (0, "ok", "read", None),
                     (0, "invoke", "enqueue", 1))
    with pytest.raises(CheckerError, match="history:3: the register model does not know 'enqueue'"):
        check_linearizable(history, "register")
    with pytest.raises(CheckerError, match="enqueue: no operation of a register or a key-value"):
        check_linearizable(history)


def test_a_malformed_cas_is_refused_by_row() -> None:
    history = events((0, "invoke", "cas", 7))
    with pytest.raises(CheckerError, match=r"history:1: cas has the value 7; expected"):
        check_linearizable(history, "cas-register")


def edges(n: int) -> list[Call]:
    """A graph of CAS in flight, walked in countless ways, and a read that no walk explains."""
    pairs = [(a, b) for a in range(7) for b in range(7) if a != b][:n]
    return [Call(90, WRITE, 0, None, -2, -1),
            *(Call(i, CAS, a, b, i, 1000 + i) for i, (a, b) in enumerate(pairs)),
            Call(91, READ, 6, None, 2000, 2001), Call(91, READ, 99, None, 2002, 2003)]


@pytest.mark.parametrize(("limits", "why"), [
    ({"memory_limit_bytes": 1 << 20}, "search out of memory"),
    ({"time_limit_s": 0.001}, "search out of time")])
def test_a_cap_makes_the_verdict_inconclusive_and_names_key_segment_and_pending(
    limits: dict[str, Any], why: str,
) -> None:
    result = check(edges(42), **limits)
    assert result.verdict == Verdict.INCONCLUSIVE
    assert f"1 of 1 keys undecided: key k {why} at rows 2-" in result.summary
    (undecided,) = result.evidence["undecided"]
    assert undecided["in_flight"] == 42
    assert undecided["pending"][0] == "p0 cas 0 -> 1 (row 2)"


def crashed_writes(n: int) -> History:
    """Many writes of few values that crashed, and reads that show them again and again."""
    rows = [{"process": 9 + i, "type": type, "f": "write", "value": i % 5}
            for i in range(n) for type in ("invoke", "info")]
    rows += [{"process": 1, "type": type, "f": "read", "value": i % 5}
             for i in range(50) for type in ("invoke", "ok")]
    return History.from_rows(rows)


def test_caps_hold_where_thousands_of_operations_crashed() -> None:
    """Their relations to each other grow with the square of their number: half a second, 50 MB."""
    history = crashed_writes(4000)
    for limits, reason in (({"time_limit_s": 0.01}, "out of time"),
                           ({"memory_limit_bytes": 1 << 22}, "out of memory")):
        found = check_linearizable(history, "register", engine="search", **limits)  # type: ignore[arg-type]
        assert found.verdict == Verdict.INCONCLUSIVE
        assert reason in found.summary
    assert check_linearizable(crashed_writes(10), "register",
                              engine="search").verdict == Verdict.VIOLATION


def test_a_hard_key_does_not_hide_a_violation_on_another() -> None:
    rows = [call.row() for call in edges(42)]
    bad = [Call(0, READ, 1, None, 0, 1, key="bad").row()]
    result = check_linearizable(from_intervals([*rows, *bad]), engine="search",
                                memory_limit_bytes=1 << 20)
    assert result.verdict == Verdict.VIOLATION
    assert result.evidence["violating_keys"] == ["bad"]
    assert len(result.evidence["undecided"]) == 1


@needs_porcupine
def test_both_engines_tell_how_much_they_proved() -> None:
    result = check([Call(0, WRITE, 1, None, 0, 1)], engine="both")
    assert result.summary == "1 operations on 1 keys linearizable (search and porcupine)"
    engines = result.evidence["engines"]
    assert engines["search"]["keys"] == {"ok": 1}
    assert engines["porcupine"]["keys"] == {"ok": 1}
    assert engines["porcupine"]["version"] == "v1.3.1"


@needs_porcupine
def test_auto_leaves_porcupine_out_of_runs_that_would_choke_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seatrial.checker.linearizable.MODERATE_ON_ONE_KEY", 2)
    calls = [Call(0, WRITE, i, None, 2 * i, 2 * i + 1) for i in range(3)]
    assert "porcupine" in check(calls[:2], engine="auto").summary
    result = check(calls, engine="auto")
    assert result.evidence["engines"]["porcupine"] == {"skipped": "the run is larger than moderate"}


@needs_porcupine
def test_engines_that_disagree_are_an_error_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Porcupine is made to lie: the violation stands, and the disagreement is told beside it."""
    from seatrial.checker.porcupine_engine import Judged, Porcupine

    monkeypatch.setattr(Porcupine, "finish", lambda self: Judged(["ok"], 0.0, "v0"))
    result = check([Call(0, READ, 1, None, 0, 1)], engine="both")
    assert result.verdict == Verdict.VIOLATION
    (other,) = result.also
    assert other.name == "engines-disagree"
    assert other.verdict == Verdict.HARNESS_FAILURE
    assert "search says violation, porcupine says ok" in other.summary
    (case,) = other.evidence["cases"]
    assert case["operations"] == [{"process": 0, "role": "read", "a": 1, "b": None,
                                   "invoked": 0, "returned": 1}]
    assert list(result.all()) == [result, other]


def test_without_go_the_engine_is_named_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porcupine_engine, "available", lambda: False)
    calls = [Call(0, WRITE, 1, None, 0, 1)]
    for engine in ("porcupine", "both"):
        with pytest.raises(EngineAbsent, match="built without Go"):
            check(calls, engine=engine)
    result = check(calls, engine="auto")
    assert result.verdict == Verdict.PASS
    assert result.evidence["engines"]["porcupine"] == {"skipped": "absent: built without Go"}


def test_an_empty_history_passes_and_says_that_it_proves_nothing() -> None:
    result = check_linearizable(History.from_rows([]), "register")
    assert result.verdict == Verdict.PASS
    assert result.summary.startswith("0 operations on 0 keys")
