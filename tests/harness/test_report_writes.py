"""How a report tells what faults did to writes in a run with several domains."""
from __future__ import annotations

from typing import Any

import pytest

from seatrial.checker.history import History
from seatrial.harness.report.domains import tree_of
from seatrial.harness.report.writes import sentences, standstills
from seatrial.harness.results import Fault, Operations, Results

S = 1_000_000_000
TREE = tree_of(b'{"topology": {"domains": {"A": {"nodes": 1}, '
               b'"B": {"nodes": 1, "parent": "A", "mode": "sync", "exclusion": "block"}}}}')


def history(*ends: tuple[str, float, str]) -> History:
    """Return a history of operations, each (f, second, outcome) and a tenth of a second long."""
    events: list[dict[str, Any]] = []
    for process, (f, second, outcome) in enumerate(ends):
        end = round(second * S)
        for kind, at in (("invoke", end - S // 10), (outcome, end)):
            events.append({"process": process, "type": kind, "f": f, "key": "k", "value": 1,
                           "time": at})
    return History.from_rows(sorted(events, key=lambda event: event["time"]))


def results(*faults: Fault) -> Results:
    return Results(verdict="pass", test="t", world="local", seed=1, commit="", checks={},
                   operations=Operations(), faults=list(faults), coverage={},
                   duration_ns=30 * S)


def cut(begin: float, end: float | None) -> Fault:
    return Fault("domain-cut", targets=["n2"], effective_ns=round(begin * S),
                 ended_ns=None if end is None else round(end * S))


WRITES = [("write", at / 2, "ok") for at in range(2, 20)]       # until 9.5 s


def test_writes_that_stop_until_the_fault_ends() -> None:
    rows = standstills(results(cut(9.7, 18)), history(
        *WRITES, ("read", 12.0, "ok"), ("write", 13.0, "fail"), ("write", 14.0, "info"),
        ("write", 18.5, "ok")), TREE)
    assert rows == [{"fault": "domain-cut", "domains": "B", "held": "8.3 s",
                     "without_ns": 9 * S, "without": "9 s", "stopped": True,
                     "then": "500 ms after it had ended"}]
    assert sentences(rows) == ["nothing was written while domain-cut held, in 1 of 1: 9 s at most"]


def test_writes_that_go_on_without_the_domain() -> None:
    rows = standstills(results(cut(9.7, 18)), history(
        *WRITES, *(("write", at / 2, "ok") for at in range(22, 40))), TREE)
    assert [(row["without_ns"], row["stopped"], row["then"]) for row in rows] == [
        (3 * S // 2, False, "while it held, 1.3 s after it struck")]
    assert sentences(rows) == ["writes went on while domain-cut held, after 1.5 s at most"]


def test_a_fault_that_never_ended_and_no_write_at_all() -> None:
    rows = standstills(results(cut(2, None), Fault("kill")), history(("read", 1.0, "ok")), TREE)
    assert [(row["stopped"], row["without_ns"]) for row in rows] == [(True, 30 * S)]


@pytest.mark.parametrize("text", [b"{}", b"", b'{"topology": {"nodes": 3}}'])
def test_runs_of_one_domain_have_no_such_table(text: bytes) -> None:
    assert standstills(results(cut(1, 2)), history(*WRITES), tree_of(text)) == []
