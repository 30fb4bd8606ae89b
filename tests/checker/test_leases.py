"""Leases: what their times allow, what they don't, and who is named."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.checker import BadHistory, History, Verdict, check_linearizable, monitors
from seatrial.checker.element_operations import element_operations
from seatrial.checker.models import MODELS

MS = 1_000_000
# process, f, value, when it was invoked, and when it ended (None: never)
Done = tuple[int, str, Any, int, int | None]


def history(*done: Done) -> History:
    events = [(begun, 0, process, "invoke", f, value) for process, f, value, begun, _ in done]
    events += [(ended, 1, process, "ok", f, value) for process, f, value, _, ended in done
               if ended is not None]
    return History.from_rows([
        {"time": time * MS, "process": process, "type": type_, "f": f, "value": value, "key": b"k"}
        for time, _, process, type_, f, value in sorted(events, key=lambda event: event[:2])])


GOOD: dict[str, tuple[Done, ...]] = {
    "one after the other": ((0, "acquire", 10, 0, 1), (1, "acquire", 10, 11, 12)),
    "the first may have lasted from before its answer": (
        (0, "acquire", 10, 0, 9), (1, "acquire", 10, 9, 10)),
    "released": ((0, "acquire", 100, 0, 1), (0, "release", None, 2, 3), (1, "acquire", 9, 2, 4)),
    "renewed, and over since": ((0, "acquire", 10, 0, 1), (0, "renew", 10, 5, 6),
                                (1, "acquire", 10, 15, 16)),
    "a crashed release took effect": (
        (0, "acquire", 100, 0, 1), (0, "release", None, 2, None), (1, "acquire", 9, 5, 6)),
    "a crashed renew made it shorter": (
        (0, "acquire", 9, 2, 4), (0, "renew", 2, 6, None), (1, "acquire", 2, 9, 10)),
    "a crashed acquire never did": ((0, "acquire", 100, 0, None), (1, "acquire", 9, 5, 6)),
    "who waited got it when it was over": (
        (0, "acquire", 10, 0, 1), (1, "acquire", 10, 1, 30), (2, "acquire", 10, 1, 20)),
}
BAD: dict[str, tuple[tuple[Done, ...], str, set[str]]] = {
    "two at once": (((0, "acquire", 10, 0, 1), (1, "acquire", 10, 5, 6)), "ok",
                    {"acquire for 10 ms"}),
    "renewed in between": (
        ((0, "acquire", 10, 0, 1), (0, "renew", 20, 8, 9), (1, "acquire", 10, 15, 16)), "ok",
        {"acquire for 10 ms", "renew for 20 ms"}),
    "renewed too late": (((0, "acquire", 10, 0, 1), (0, "renew", 10, 12, 13)), "ok",
                         {"acquire for 10 ms", "renew for 10 ms"}),
    "released too late": (((0, "acquire", 10, 0, 1), (0, "release", None, 12, 13)), "ok",
                          {"acquire for 10 ms", "release"}),
    "a crashed renew is not that short": (
        ((0, "acquire", 9, 2, 4), (0, "renew", 4, 6, None), (1, "acquire", 2, 8, 9)), "ok",
        {"acquire for 9 ms", "acquire for 2 ms", "renew for 4 ms"}),
    "released by another": (((0, "acquire", 10, 0, 1), (1, "release", None, 2, 3)), "ok",
                            {"release"}),
    "released twice": (((0, "acquire", 10, 0, 1), (0, "release", None, 2, 3),
                        (0, "release", None, 4, 5)), "ok", {"release"}),
    "any two, but not all three": (
        tuple((process, "acquire", 6, 0, 10) for process in range(3)), "undecided",
        {"acquire for 6 ms"}),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_leases_allow(case: str) -> None:
    operations = element_operations(history(*GOOD[case]), MODELS["lease"])
    assert monitors.judge(operations, [0], 0).verdicts == ["ok"]
    found = check_linearizable(operations)
    assert found.verdict is Verdict.PASS
    assert not found.also


@pytest.mark.parametrize("case", BAD)
def test_what_leases_do_not_allow(case: str) -> None:
    done, watched, named = BAD[case]
    aside: tuple[Done, ...] = ((7, "acquire", 5, 1000, 1001), (7, "release", None, 1002, 1003))
    operations = element_operations(history(*done, *aside), MODELS["lease"])
    assert monitors.judge(operations, [0], 0).verdicts == [
        "violation" if watched == "ok" else watched]
    found = check_linearizable(operations)
    assert found.verdict is Verdict.VIOLATION
    assert not found.also
    (example,) = found.evidence["counterexamples"]
    assert {cell["operation"] for cell in example["core"]} == named
    assert 7 not in {cell["process"] for cell in example["core"]}


@pytest.mark.parametrize(("value", "time", "message"), [
    (None, 0, "acquire has the value None; the lease model expects for how long, in ms"),
    (0, 0, "acquire has the value 0"), (-5, 0, "acquire has the value -5"),
    ("long", 0, "acquire has the value 'long'"),
    (10, -1, "the lease model expects the time of each event"),
])
def test_what_is_no_lease_is_refused_by_row(value: Any, time: int, message: str) -> None:
    rows = [{"time": time, "process": 0, "type": type_, "f": "acquire", "value": value}
            for type_ in ("invoke", "ok")]
    with pytest.raises(BadHistory, match=message):
        check_linearizable(History.from_rows(rows), "lease")


def test_an_end_before_the_beginning_is_no_history() -> None:
    rows = [{"time": time, "process": 0, "type": type, "f": "acquire", "value": 10}
            for time, type in ((5, "invoke"), (4, "ok"))]
    with pytest.raises(BadHistory, match="history:2: it ends at 4 ns, before it began at 5 ns"):
        check_linearizable(History.from_rows(rows), "lease")
