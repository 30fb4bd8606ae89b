"""The life of a run, with hosts and a system that are only pretended."""
from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import CheckResult, Verdict
from seatrial.checker.history import History
from seatrial.harness import generator as gen
from seatrial.harness.errors import HarnessFailure
from seatrial.harness.launch import Plan, Request
from seatrial.harness.op import FAIL, OK, Op
from seatrial.harness.protocols import Host, Result
from seatrial.harness.run import Run
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document

FILE = "name: pretended\nworkload: {name: pretended}\nclients: 4\nseed: 1\n"
SHORT = "time_limit: 0.3\ncoverage: {final_reads: false}\n"


class PretendedHost:
    """A host with a log file and nothing else."""

    ipv4, ipv6, controller = "127.0.0.1", None, ("127.0.0.1",)

    def __init__(self, index: int) -> None:
        self.name, self.index = f"n{index + 1}", index

    async def run(self, argv: Sequence[str], **how: Any) -> Result:
        return Result(tuple(argv), 0, "", "")

    async def get(self, remote: str, local: Path) -> None:
        local.write_text(f"log of {self.name}\n")


class PretendedWorld:
    """Two hosts."""

    name = "pretended"

    def __init__(self) -> None:
        self.pools: dict[str, Any] = {}
        self.hosts: list[Any] = [PretendedHost(0), PretendedHost(1)]


class PretendedSystem:
    """A system that does nothing. broken: the step that fails."""

    name = "pretended"

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.done: list[str] = []

    async def setup(self, test: Any) -> None:
        await self._step("setup")

    async def teardown(self, test: Any) -> None:
        await self._step("teardown")

    async def leaders(self, test: Any) -> list[tuple[int, Host]]:
        return [(3, test.nodes[1]), (2, test.nodes[0])]

    def log_files(self, test: Any, host: Host) -> Sequence[str]:
        return ["/var/log/it.log"]

    async def _step(self, name: str) -> None:
        self.done.append(name)
        if self.broken == name:
            raise HarnessFailure(f"n1: {name} failed")


class PretendedWorkload:
    """Writes, for as long as there is time. verdict: what its check says."""

    name = "pretended"

    def __init__(self, verdict: Verdict = Verdict.PASS, on_invoke: Callable[[], None] | None = None,
                 type: str = OK) -> None:
        self.verdict, self.on_invoke, self.type = verdict, on_invoke, type

    async def open(self, test: Any, node: int, process: int) -> PretendedWorkload:
        return self

    async def invoke(self, test: Any, op: Op) -> Op:
        if self.on_invoke is not None:
            self.on_invoke()
        await asyncio.sleep(0.001)
        return op.completed(self.type, op.value)

    async def close(self) -> None:
        pass

    def client(self, test: Any) -> PretendedWorkload:
        return self

    def generator(self, test: Any) -> Any:
        return gen.repeat({"f": "write", "value": 1, "key": b"k"})

    def final_generator(self, test: Any) -> Any:
        return gen.limit(2, gen.repeat({"f": "read", "key": b"k"}))

    def check(self, test: Any, history: History) -> list[CheckResult]:
        return [CheckResult("pretended", self.verdict, "as told")]


def a_run(store: Path, system: Any = None, workload: Any = None, *, extra: str = SHORT,
          **request: Any) -> Run:
    spec = validated(Document.parse("t.yml", FILE + extra))[1]
    asked = Request(Path("t.yml"), store, **request)
    chosen = Plan(asked, spec, 1, system or PretendedSystem(), workload or PretendedWorkload())
    world: Any = PretendedWorld()
    return Run(chosen, world)


def live(run: Run) -> Any:
    return asyncio.run(run.live())


def results(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.folder.results.read_text())
    return found


def test_a_run_ends_with_a_verdict_and_a_folder_that_holds_all_of_it(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    done = live(run)
    assert (done.verdict, done.exit_code) == ("pass", 0)
    assert results(run)["operations"]["ok"] > 0
    assert json.loads(run.folder.test.read_text())["seed"] == 1
    assert run.folder.report.stat().st_size > 0
    assert [p.read_text() for p in sorted(run.folder.nodes.glob("*/it.log"))] == [
        "log of n1\n", "log of n2\n"]
    assert History.read(run.folder.history).complete


def test_phases_follow_each_other_final_reads_last(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    live(run)
    fs = [row["f"] for row in History.read(run.folder.history).rows() if row["f"] != "leader"]
    assert fs[-4:] == ["read"] * 4
    assert set(fs[:-4]) == {"write"}


def test_terms_and_leaders_are_in_the_history_each_once(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    live(run)
    rows = [row for row in History.read(run.folder.history).rows() if row["f"] == "leader"]
    assert [row["value"] for row in rows] == [
        {"leader": "n1", "term": 2}, {"leader": "n2", "term": 3}]


@pytest.mark.parametrize("broken", ["setup", "teardown"])
def test_a_run_that_breaks_still_fetches_logs_and_tells_why(tmp_path: Path, broken: str) -> None:
    run = a_run(tmp_path, PretendedSystem(broken))
    done = live(run)
    assert (done.verdict, done.exit_code) == ("harness-failure", 255)
    assert done.summary == results(run)["error"] == f"n1: {broken} failed"
    assert (run.folder.nodes / "n2" / "it.log").exists()
    assert run.folder.report.exists()


def test_a_violation_stays_one_when_the_run_breaks_after_it(tmp_path: Path) -> None:
    run = a_run(tmp_path, PretendedSystem("teardown"), PretendedWorkload(Verdict.VIOLATION))
    done = live(run)
    assert (done.verdict, done.exit_code, done.violated) == ("violation", 1, True)
    assert results(run)["error"] == "n1: teardown failed"


def test_a_bug_in_a_check_is_a_failure_of_the_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Any, test: Any, history: History) -> list[CheckResult]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(PretendedWorkload, "check", broken)
    done = live(a_run(tmp_path))
    assert (done.verdict, done.exit_code) == ("harness-failure", 255)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_load_under_its_minimum_is_no_coverage(tmp_path: Path) -> None:
    run = a_run(tmp_path, workload=PretendedWorkload(type=FAIL),
                extra="time_limit: 0.3\ncoverage: {min_ok: 10}\n")
    done = live(run)
    assert (done.verdict, done.exit_code) == ("no-coverage", 3)
    assert "ok operations: 0, needed 10" in done.summary


def test_a_violation_keeps_the_system_up_only_when_asked(tmp_path: Path) -> None:
    for keep, verdict, left in ((True, Verdict.VIOLATION, []), (True, Verdict.PASS, ["teardown"]),
                                (False, Verdict.VIOLATION, ["teardown"])):
        system = PretendedSystem()
        live(a_run(tmp_path, system, PretendedWorkload(verdict), keep=keep))
        assert system.done == ["setup", *left]


def test_interrupted_once_a_run_heals_judges_and_says_so(tmp_path: Path) -> None:
    pressed: list[int] = []

    def press_once() -> None:
        if not pressed:
            pressed.append(1)
            press()

    workload = PretendedWorkload(on_invoke=press_once)
    run = a_run(tmp_path, workload=workload, extra="time_limit: 600\n")
    done = live(run)
    assert (done.verdict, done.exit_code) == ("no-coverage", 3)
    assert results(run)["checks"]["interrupted"]["summary"] == "the run was ended by ^C"
    assert (run.folder.nodes / "n1" / "it.log").exists()


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_before_there_is_anything_to_heal_a_run_ends_at_once(tmp_path: Path) -> None:
    class Slow(PretendedSystem):
        async def setup(self, test: Any) -> None:
            press()
            await asyncio.sleep(600)

    with pytest.raises(HarnessFailure, match=r"^interrupted while installing; what was recorded"):
        live(a_run(tmp_path, Slow()))


def test_interrupted_while_its_checks_judge_a_run_does_not_wait_for_them(tmp_path: Path) -> None:
    judging = threading.Event()

    class Slow(PretendedWorkload):
        def check(self, test: Any, history: History) -> list[CheckResult]:
            press()
            judging.wait()
            return []

    run = a_run(tmp_path, workload=Slow())
    try:
        with pytest.raises(HarnessFailure, match=r"^interrupted while checking; what was recorded"):
            live(run)
    finally:
        judging.set()
    assert (run.folder.nodes / "n1" / "it.log").exists()


def test_a_watch_over_leaders_that_breaks_is_a_failure_of_the_harness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Odd(PretendedSystem):
        async def leaders(self, test: Any) -> list[tuple[int, Host]]:
            raise KeyError("term")

    done = live(a_run(tmp_path, Odd()))
    assert (done.verdict, done.summary) == ("harness-failure", "internal error: KeyError: 'term'")
    assert "KeyError" in capsys.readouterr().err


def test_interrupted_twice_a_run_ends_at_once(tmp_path: Path) -> None:
    system = PretendedSystem()
    run = a_run(tmp_path, system, PretendedWorkload(on_invoke=press), extra="time_limit: 600\n")
    run.hosts_may_be_hurt = True
    with pytest.raises(HarnessFailure, match=r"interrupted twice.*seatrial heal"):
        live(run)
    assert system.done == ["setup"]
    assert not run.folder.results.exists()
