"""Availability: what was answered, when, and which operations were not."""
from __future__ import annotations

import random
from typing import Any

import pytest

from seatrial.checker import History, Verdict
from seatrial.checker.availability import LABELS, Bounds, check_availability
from seatrial.checker.served import Fault, Served

S = 1_000_000_000


class Clients:
    """Makes operations, each by a process of its own."""

    def __init__(self) -> None:
        self.events: list[tuple[float, int, dict[str, Any]]] = []

    def ask(self, begin: float, end: float | None, how: str = "ok", f: str = "read",
            error: str | None = None) -> None:
        process = len(self.events)
        for at, type in ((begin, "invoke"), (end, how)):
            if at is not None:
                self.events.append((at, len(self.events), {
                    "process": process, "type": type, "f": f, "time": int(at * S),
                    "error": None if type == "invoke" else error}))

    def steadily(self, begin: float, end: float, how: str = "ok") -> None:
        """Ask ten times a second, each for 50 ms."""
        for step in range(round((end - begin) * 10)):
            self.ask(begin + step / 10, begin + step / 10 + 0.05, how)

    @property
    def history(self) -> History:
        return History.from_rows([row for *_, row in sorted(self.events, key=lambda one: one[:2])])


@pytest.fixture
def outage() -> History:
    """A fault from 10 s to 20 s: nothing from 11 s to 23 s; steady from 25 s on."""
    clients = Clients()
    clients.steadily(0, 11)
    clients.steadily(11, 23, "info")
    clients.ask(23, 23.01)
    clients.ask(23.5, 24.5, "fail", error="no leader")
    clients.steadily(25, 40)
    return clients.history


FAULT = Fault("f1 kill", 10 * S, 20 * S)


def test_an_outage_is_measured(outage: History) -> None:
    found = check_availability(outage, [FAULT], Bounds())
    assert found.verdict == Verdict.PASS
    peace, [fault] = found.evidence["peace"], found.evidence["faults"]
    assert (peace["operations"], peace["ok"]) == (251, 250)
    assert peace["gap_ns"] == pytest.approx(1.55e9, abs=1e7)     # it tried again
    assert (fault["operations"], fault["ok"]) == (101, 10)
    assert fault["gap_ns"] == pytest.approx(9e9, abs=1e7)
    assert fault["recovery_ns"] == pytest.approx(3.01e9, abs=1e7)
    assert fault["steady_ns"] == pytest.approx(4.56e9, abs=1e7)
    assert "first answer 3.010 s after a fault" in found.summary


@pytest.mark.parametrize("bound", LABELS)
def test_each_bound_is_broken_by_an_outage_and_names_the_operations(
    outage: History, bound: str,
) -> None:
    tight = {"min_ok": 0.999, "min_ok_in_faults": 0.5, "max_gap": 0.5, "max_gap_in_faults": 4.0,
             "max_recovery": 1.0, "max_steady": 2.0}
    found = check_availability(outage, [FAULT], Bounds(**{bound: tight[bound]}))
    assert found.verdict == Verdict.VIOLATION
    assert found.summary.startswith(LABELS[bound])
    [breach] = found.evidence["violations"]
    assert breach["bound"] == bound
    rows = list(outage.rows())
    assert breach["operations"]
    for one in breach["operations"]:
        assert rows[one["invoked_row"]]["type"] == "invoke"
        assert rows[one["completed_row"]]["type"] in ("info", "fail")
        assert breach["start_ns"] <= rows[one["completed_row"]]["time"]
        assert rows[one["invoked_row"]]["time"] <= breach["end_ns"]
    assert f"(rows {breach['operations'][0]['invoked_row']}-" in found.text
    wide = {"min_ok": 0.99, "min_ok_in_faults": 0.09, "max_gap": 1.6, "max_gap_in_faults": 9.1,
            "max_recovery": 3.1, "max_steady": 4.6}
    held = check_availability(outage, [FAULT], Bounds(**{bound: wide[bound]}))
    assert held.verdict == Verdict.PASS


def test_nobody_is_blamed_while_nobody_asks() -> None:
    clients = Clients()
    clients.steadily(0, 5)
    clients.steadily(60, 65)
    found = check_availability(clients.history, [], Bounds(max_gap=0.2, min_ok=1.0))
    assert found.verdict == Verdict.PASS


def test_a_fault_that_no_majority_survives_is_measured_and_not_judged(outage: History) -> None:
    lost = Fault("f1 kill", 10 * S, 20 * S, judged=False)
    bounds = Bounds(min_ok_in_faults=0.5, max_gap_in_faults=1.0)
    found = check_availability(outage, [lost], bounds)
    assert found.verdict == Verdict.NO_COVERAGE        # there is nothing to judge by
    assert "min_ok_in_faults, max_gap_in_faults" in found.summary
    assert found.evidence["faults"][0]["ok"] == 10
    assert check_availability(outage, [lost], Bounds(max_recovery=1.0)
                              ).verdict == Verdict.VIOLATION


def test_a_service_that_never_comes_back_breaks_what_was_promised_of_its_recovery() -> None:
    clients = Clients()
    clients.steadily(0, 10)
    clients.ask(10, 14.0, "info")
    clients.ask(12, None)                               # nobody ever heard of it
    clients.ask(14, 30, "info")
    history, fault = clients.history, Fault("f1 kill", 10 * S, 15 * S)
    for bound in ("max_recovery", "max_steady"):
        found = check_availability(history, [fault], Bounds(**{bound: 10.0}))
        assert found.verdict == Verdict.VIOLATION
        assert "15.000 s (f1 kill) after 15.000 s" in found.summary
        unknown = check_availability(history, [fault], Bounds(**{bound: 20.0}))
        assert unknown.verdict == Verdict.NO_COVERAGE   # it might have come back in time
    assert "never ended" in check_availability(history, [fault], Bounds(min_ok_in_faults=0.5)).text


def test_what_never_gets_steady_breaks_what_was_promised() -> None:
    clients = Clients()
    clients.steadily(0, 10)
    for second in range(15, 30):
        clients.ask(second, second + 0.9)
    history, fault = clients.history, Fault("f1 kill", 10 * S, 15 * S)
    assert check_availability(history, [fault], Bounds(max_recovery=2.0)).verdict == Verdict.PASS
    peace = check_availability(history, [fault], Bounds()).evidence["peace"]
    assert peace["ok"] > 100
    found = check_availability(history, [fault], Bounds(max_steady=5.0))
    assert found.verdict == Verdict.VIOLATION
    assert found.evidence["faults"][0]["steadied"] is False


def test_recovery_is_not_told_where_another_fault_is_in_force(outage: History) -> None:
    other = Fault("f2 pause", 15 * S, 39 * S)
    found = check_availability(outage, [FAULT, other], Bounds(max_recovery=0.1))
    assert found.evidence["faults"][0]["recovery_ns"] is None
    soon = Fault("f2 pause", 22 * S, 30 * S)            # strikes before there was an answer
    found = check_availability(outage, [FAULT, soon], Bounds())
    assert found.evidence["faults"][0]["recovered"] is False
    assert found.evidence["faults"][0]["recovery_ns"] == pytest.approx(2e9, abs=1e7)


def test_a_compare_and_set_that_saw_something_else_was_answered() -> None:
    clients = Clients()
    clients.ask(0, 1, "fail", "cas", "mismatch")
    clients.ask(1, 2, "fail", "cas")
    clients.ask(2, 3, "fail", "cas", "no leader")
    clients.ask(3, 4, "fail", "write")
    assert Served(clients.history).answered.tolist() == [True, True, False, False]


def test_a_history_without_operations_or_times_tells_nothing() -> None:
    untimed = History.from_rows([{"process": 0, "type": type, "f": "read"}
                                 for type in ("invoke", "ok")])
    for history in (untimed, History.from_rows([])):
        assert check_availability(history, [], Bounds()).verdict == Verdict.PASS
        assert check_availability(history, [], Bounds(min_ok=0.5)).verdict == Verdict.NO_COVERAGE


@pytest.mark.parametrize("seed", range(20))
def test_time_waited_is_what_counting_it_by_steps_gives(seed: int) -> None:
    """Beside a slow twin: moments at which any operation is under way, one by one."""
    rng, clients = random.Random(seed), Clients()
    spans = [(start, start + rng.randint(0, 6)) for start in
             (rng.randint(0, 60) for _ in range(rng.randint(1, 12)))]
    for start, end in spans:
        clients.ask(start, end, rng.choice(("ok", "fail", "info")))
    served = Served(clients.history)
    for a in range(70):
        for b in range(a, 70, 7):
            slow = sum(any(start <= t < end for start, end in spans) for t in range(a, b))
            assert served.waited(b * S) - served.waited(a * S) == slow * S
            inside = [(start, end) for start, end in spans if start <= b and end >= a]
            assert served.stretch("", a * S, b * S).operations == len(inside)
