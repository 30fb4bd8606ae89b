"""The checks that fold over a history: what each lets pass, what it finds, and whom it names."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.checker import BadHistory, CheckResult, History, Verdict
from seatrial.checker.judge import Question, judge

Event = tuple[int, str, str, Any]       # process, type, f, value


def history(*events: Event) -> History:
    return History.from_rows([
        {"time": i, "process": process, "type": type_, "f": f, "value": value}
        for i, (process, type_, f, value) in enumerate(events)])


def judged(model: str, *events: Event) -> CheckResult:
    return judge(history(*events), model, Question())


def did(f: str, asked: Any, answered: Any, end: str = "ok", process: int = 0) -> list[Event]:
    return [(process, "invoke", f, asked), (process, end, f, answered)]


def rows(found: CheckResult) -> list[list[int]]:
    """Of each example the rows at which its operations were invoked."""
    return [[one["invoked_row"] for one in example["operations"]]
            for example in found.evidence["examples"]]


def test_ids_that_are_given_twice_name_both() -> None:
    good = [*did("generate", None, 7), *did("generate", None, "a"), *did("generate", None, None,
                                                                      "fail")]
    assert judged("unique-ids", *good).verdict is Verdict.PASS
    found = judged("unique-ids", *good, *did("generate", None, 7, process=3))
    assert found.verdict is Verdict.VIOLATION
    assert found.summary == ("1 of 2 ids were given more than once: 7 to p0 generate "
                             "(rows 0-1) and p3 generate (rows 6-7)")
    assert rows(found) == [[0, 6]]
    assert judged("unique-ids").verdict is Verdict.NO_COVERAGE


PUT = [*did("enqueue", 1, 1), *did("enqueue", 2, 2, process=1), *did("enqueue", 3, 3, "info"),
       *did("enqueue", 4, 4, "fail")]


def test_what_goes_into_a_queue_comes_out() -> None:
    found = judged("total-queue", *PUT, *did("dequeue", None, 2), *did("drain", None, [1, 3]),
                   *did("dequeue", None, None))
    assert found.verdict is Verdict.PASS
    assert found.evidence["recovered"] == 1
    again = judged("total-queue", *PUT, *did("drain", None, [1, 2, 2]))
    assert again.verdict is Verdict.PASS            # at least once
    assert again.evidence["duplicated"] == 1
    assert rows(again) == [[8, 8]]


@pytest.mark.parametrize(("drained", "why", "named"), [
    ([1], "lost: 2 of p1 enqueue (rows 2-3)", [2]),
    ([1, 2, 9], "unexpected: 9 of p5 drain (rows 8-9)", [8]),
    ([1, 2, 4], "unexpected: 4 of p5 drain (rows 8-9)", [8]),       # its enqueue had failed
])
def test_what_a_queue_lost_or_made_up_is_named(
    drained: list[int], why: str, named: list[int],
) -> None:
    found = judged("total-queue", *PUT, *did("drain", None, drained, process=5))
    assert found.verdict is Verdict.VIOLATION
    assert found.summary.startswith(why)
    assert rows(found)[0] == named


def test_what_crashed_dequeues_may_have_taken_is_missing_and_not_proved_lost() -> None:
    events = [*PUT, *did("enqueue", 5, 5), *did("dequeue", None, None, "info", process=2),
              *did("drain", None, [1], process=5)]
    found = judged("total-queue", *events)
    assert found.verdict is Verdict.VIOLATION           # two are gone, it took one at most
    assert [found.evidence[what] for what in ("lost", "missing")] == [2, 0]
    found = judged("total-queue", *events, *did("dequeue", None, None, "info", process=3))
    assert found.verdict is Verdict.PASS
    assert [found.evidence[what] for what in ("lost", "missing")] == [0, 2]
    assert rows(found) == [[2], [8]]


def test_each_key_is_a_queue_a_set_a_bank_of_its_own() -> None:
    def on(key: str, *events: Event) -> list[dict[str, Any]]:
        return [{"time": 0, "process": process, "type": type_, "f": f, "key": key, "value": value}
                for process, type_, f, value in events]

    def found(model: str, *parts: list[dict[str, Any]]) -> CheckResult:
        return judge(History.from_rows([row for part in parts for row in part]), model, Question())

    first = on("x", *did("add", 1, 1), *did("read", None, [1]))
    good = found("set-full", first, on("y", *did("add", 2, 2), *did("read", None, [2])))
    assert good.verdict is Verdict.PASS
    assert (good.evidence["reads"], good.evidence["stable"]) == (2, 2)
    bad = found("set-full", first, on("y", *did("add", 2, 2), *did("read", None, [1])))
    assert bad.summary.startswith("lost: y 2: p0 add (rows 4-5), p0 read (rows 6-7)")
    assert bad.evidence["unexpected"] == 1
    unread = found("set-full", first, on("y", *did("add", 2, 2)))
    assert unread.evidence["never_read"] == 1

    first = on("x", *did("enqueue", 1, 1), *did("dequeue", None, 1))
    assert found("total-queue", first, on("y", *did("enqueue", 1, 1), *did("drain", None, [1]))
                 ).verdict is Verdict.PASS
    bad = found("total-queue", first, first[2:], on("y", *did("enqueue", 1, 1)))
    assert bad.summary.startswith("lost: y 1 of p0 enqueue (rows 6-7)")

    first = on("x", *did("read", None, {"a": 3, "b": 7}))
    assert found("bank", first, on("y", *did("read", None, {"a": 5}))).verdict is Verdict.PASS
    assert found("bank", first, on("y", *did("read", None, {"a": 5})),
                 on("x", *did("read", None, {"a": 5}))).verdict is Verdict.VIOLATION


def test_a_total_queue_knows_queues_only() -> None:
    with pytest.raises(BadHistory, match="a total queue does not know 'peeked'"):
        judged("total-queue", *did("peeked", None, 1))
    with pytest.raises(BadHistory, match="drain answered 3; expected a list"):
        judged("total-queue", *did("drain", None, 3))


ADDED = [*did("add", 1, 1), *did("add", 2, 2, process=1), *did("add", 3, 3, "info"),
         *did("add", 4, 4, "fail")]


def test_elements_that_stay_are_stable() -> None:
    found = judged("set-full", *ADDED, *did("read", None, [1]), *did("read", None, [1, 2, 3]),
                   *did("add", 5, 5))
    assert found.verdict is Verdict.PASS
    assert {name: n for name, n in found.evidence.items() if n} == {
        "elements": 5, "reads": 2, "stale": 1, "recovered": 1, "never_read": 1, "stable": 2}
    assert judged("set-full", *ADDED).verdict is Verdict.NO_COVERAGE


@pytest.mark.parametrize(("reads", "why", "named"), [
    (([1],), "lost: 2: p1 add (rows 2-3), p0 read (rows 8-9)", [2, 8]),
    (([1, 2, 3], [1, 2]), "lost: 3: p0 add (rows 4-5), p0 read (rows 8-9), p0 read (rows 10-11)",
     [4, 8, 10]),
    (([1, 2, 9],), "unexpected: 9: p0 read (rows 8-9)", [8]),
    (([1, 2, 4],), "unexpected: 4: p0 add (rows 6-7), p0 read (rows 8-9)", [6, 8]),
    (([1, 2, 2],), "duplicated: 2: p1 add (rows 2-3), p0 read (rows 8-9)", [2, 8]),
])
def test_elements_that_are_lost_or_made_up_are_named(
    reads: tuple[list[int], ...], why: str, named: list[int],
) -> None:
    found = judged("set-full", *ADDED, *(event for read in reads
                                         for event in did("read", None, read)))
    assert found.verdict is Verdict.VIOLATION
    assert found.summary.startswith(why)
    assert rows(found) == [named]


def test_an_element_that_is_added_while_the_last_read_goes_on_may_be_missing() -> None:
    found = judged("set-full", (1, "invoke", "add", 1), (0, "invoke", "read", None),
                   (1, "ok", "add", 1), (0, "ok", "read", []))
    assert found.verdict is Verdict.PASS
    assert found.evidence["never_read"] == 1


def test_an_element_is_lost_that_was_acknowledged_when_it_was_tried_again() -> None:
    found = judged("set-full", *did("add", 1, None, "info"), *did("add", 1, 1, process=1),
                   *did("read", None, []))
    assert found.verdict is Verdict.VIOLATION
    assert rows(found) == [[2, 4]]


def test_set_full_knows_sets_only() -> None:
    with pytest.raises(BadHistory, match="set-full does not know 'remove'"):
        judged("set-full", *did("remove", 1, 1))
    with pytest.raises(BadHistory, match="expected all elements, as a list"):
        judged("set-full", *did("read", None, 1))
