"""Progress: constant work for each event, honest numbers, plain lines off a terminal."""
from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from seatrial.harness.op import NEMESIS, Op
from seatrial.harness.progress import Progress, Tally, cell, cell_top, duration, percentile

MS = 1_000_000


def fault(phase: str, time_ns: int, name: str = "kill", id: str = "1") -> Op:
    value = {"id": id, "phase": phase, "targets": ["n1"], "class": "crash"}
    return Op(name, value, process=NEMESIS, type="info", time_ns=time_ns)


def test_a_cell_holds_its_latency_and_is_at_most_an_eighth_too_wide() -> None:
    for ns in [*range(1, 5000), 10**6, 10**9 + 7, 10**12]:
        top = cell_top(cell(ns))
        assert ns < top <= ns + 1 + ns // 8
        assert cell(top) == cell(ns) + 1


def test_percentiles_bound_what_was_counted_and_are_absent_when_nothing_was() -> None:
    cells = [0] * 512
    assert percentile(cells, 0.5) is None
    for ms in range(1, 101):
        cells[cell(ms * MS)] += 1
    for share, exact in ((0.5, 50 * MS), (0.99, 99 * MS), (1.0, 100 * MS)):
        bound = percentile(cells, share)
        assert bound is not None
        assert exact <= bound <= exact * 1.13


@pytest.mark.parametrize(("ns", "text"), [
    (None, "-"), (0, "0 ns"), (840_000, "840 us"), (3_100_000, "3.1 ms"), (2_400_000_000, "2.4 s"),
    (123_456_789, "123 ms"),
])
def test_durations_are_written_for_a_person(ns: int | None, text: str) -> None:
    assert duration(ns) == text


def test_latency_counts_from_the_due_time_of_the_process_own_invocation() -> None:
    tally = Tally()
    tally.add(Op("read", process=1, time_ns=0))
    tally.add(Op("read", process=2, time_ns=90 * MS))
    tally.add(Op("read", process=2, type="ok", time_ns=91 * MS))
    tally.add(Op("read", process=1, type="ok", time_ns=100 * MS))
    assert [index for index, count in enumerate(tally.latencies) if count] == [
        cell(1 * MS), cell(100 * MS)]


def test_operations_without_an_end_are_forgotten_with_their_process() -> None:
    tally = Tally()
    for process in range(1000):
        tally.add(Op("write", 1, process=process, time_ns=process))
        tally.add(Op("write", 1, process=process, type="info", time_ns=process + 1))
    assert tally.due == {}
    assert tally.counts["info"] == 1000


def test_a_fault_is_in_force_from_effective_to_ended() -> None:
    tally = Tally()
    tally.add(fault("requested", 1))
    assert tally.faults == {}
    tally.add(fault("effective", 2))
    tally.add(fault("effective", 2, "pause", "2"))
    assert {name for name, _, _ in tally.faults.values()} == {"kill", "pause"}
    tally.add(fault("ended", 3))
    tally.add(fault("recovered", 4))
    assert {name for name, _, _ in tally.faults.values()} == {"pause"}


def test_a_new_term_in_an_answer_makes_the_leader_unknown_until_it_is_named() -> None:
    tally = Tally()
    tally.add(Op("leader", {"leader": "n2", "term": 4}, process=NEMESIS, type="info", time_ns=1))
    tally.add(Op("read", process=1, type="ok", time_ns=2, term=4))
    assert (tally.leader, tally.term) == ("n2", 4)
    tally.add(Op("read", process=1, type="ok", time_ns=3, term=5))
    assert (tally.leader, tally.term) == (None, 5)


def test_off_a_terminal_it_prints_plain_lines_while_the_run_goes_on() -> None:
    class Lines(io.StringIO):
        def write(self, text: str) -> int:
            written = super().write(text)
            if self.getvalue().count("\n") >= 2:
                enough.set()
            return written

    enough, out = threading.Event(), Lines()
    with Progress("register", console=Console(file=out), line_period_s=0.01) as progress:
        progress.set_phase("running")
        progress.on_event(Op("read", process=1, time_ns=0))
        progress.on_event(Op("read", process=1, type="ok", time_ns=3 * MS, term=7))
        progress.on_event(fault("effective", 4 * MS))
        assert enough.wait(60)
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert "| running |" in lines[-1]
    assert "ok 1 fail 0 info 0" in lines[-1]
    assert "leader unknown, term 7" in lines[-1]
    assert "faults kill (n1)" in lines[-1]


def test_on_a_terminal_the_panel_shows_the_same_and_brackets_are_no_markup() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, _environ={"TERM": "xterm"})
    with Progress("reg[bold]ister", time_limit_s=60, console=console) as progress:
        progress.set_phase("running")
        progress.on_event(fault("effective", 1, name="partition[red]"))
        progress.on_event(Op("leader", {"leader": "n[dim]2", "term": 4}, process=NEMESIS,
                             type="info"))
        progress.set_verdict("violation")
        console.print(progress.render())
    assert "reg[bold]ister" in out.getvalue()
    assert "partition[red]" in out.getvalue()
    assert "n[dim]2, term 4" in out.getvalue()
    assert "60 s left" in out.getvalue()
    assert "violation" in out.getvalue()
