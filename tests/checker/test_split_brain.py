"""Split brain: two leaders of one term, and two changes in one place of the log, are named."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.checker import History, Verdict
from seatrial.checker.history import metadata
from seatrial.checker.split_brain import check_split_brain, split_brain_checks

Row = dict[str, Any]


def leads(name: str, term: int) -> Row:
    return {"process": -1, "type": "info", "f": "leader", "time": term * 10**9,
            "value": {"leader": name, "term": term}}


def change(process: int, rindex: int | None, f: str = "write", type: str = "ok",
           epoch: int | None = 0) -> list[Row]:
    told = {"rindex": rindex, "epoch": epoch, "term": 4, "node": process}
    return [{"process": process, "type": "invoke", "f": f, "key": b"k", "value": 1},
            {"process": process, "type": type, "f": f, "key": b"k", "value": 1} | told]


def sound() -> list[Row]:
    """Terms, and changes and reads with the places that a log without faults gives them."""
    return [leads("n1", 1), *change(0, 10), *change(1, 11), *change(2, 11, "read"),
            *change(3, 11, "cas", "fail"), leads("n2", 2), *change(4, 11, epoch=1),
            *change(5, None), *change(6, None), leads("n1", 3), leads("n1", 3)]


def test_one_log_with_one_leader_at_a_time_passes() -> None:
    found = check_split_brain(History.from_rows(sound()))
    assert found.verdict == Verdict.PASS
    assert found.summary == ("one leader in each of 3 terms, and 3 changes each in a place of its "
                             "own")


def test_two_leaders_of_one_term_are_named() -> None:
    found = check_split_brain(History.from_rows([*sound(), leads("n3", 2)]))
    assert found.verdict == Verdict.VIOLATION
    assert found.summary == "n2 and n3 both lead in term 2"
    last = len(sound())
    assert found.evidence["examples"][0]["rows"][1] == last
    assert f"n3 says so at 2.000 s (row {last})" in found.text


@pytest.mark.parametrize("f", ["write", "put", "delete", "cas", "append"])
def test_two_changes_in_one_place_are_named(f: str) -> None:
    rows = [*sound(), *change(7, 11, f)]
    found = check_split_brain(History.from_rows(rows))
    assert found.verdict == Verdict.VIOLATION
    n = len(rows)
    assert found.summary == (f"p1 write (rows 3-4) and p7 {f} (rows {n - 2}-{n - 1}) were both "
                             "acknowledged as entry 11")
    assert found.evidence["examples"][0]["rows"] == [3, 4, n - 2, n - 1]
    assert f"p7 {f} (rows {n - 2}-{n - 1}): key b'k', node 8, term 4" in found.text


def test_it_is_asked_where_something_is_told_and_there_is_one_domain() -> None:
    untold = [row for row in sound() if row["process"] == 5]
    assert split_brain_checks(History.from_rows(untold)) == []
    assert len(split_brain_checks(History.from_rows(sound()))) == 1
    several = metadata(domains=[{"name": "A"}, {"name": "B"}])
    assert split_brain_checks(History.from_rows(sound(), meta=several)) == []
