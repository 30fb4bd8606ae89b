"""A run that is judged while it goes on."""
from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import CheckResult, check_linearizable
from seatrial.checker.history import History
from seatrial.harness import generator as gen
from seatrial.harness.cli import main
from seatrial.harness.op import OK, Op

from .test_run import PretendedWorkload, a_run, live, results

LONG = "time_limit: 600\ncoverage: {final_reads: false}\n"
SHORT = "time_limit: 0.6\ncoverage: {final_reads: false}\n"


class Register(PretendedWorkload):
    """Clients of a register in memory. stale_from: the read from which on all are lies."""

    online_model = "register"

    def __init__(self, stale_from: int | None = None) -> None:
        super().__init__()
        self.stale_from = stale_from
        self.now: Any = None
        self.reads = itertools.count()

    async def invoke(self, test: Any, op: Op) -> Op:
        await super().invoke(test, op)
        if op.f == "write":
            self.now = op.value
            return op.completed(OK, op.value)
        stale = self.stale_from is not None and next(self.reads) >= self.stale_from
        return op.completed(OK, -1 if stale else self.now)

    def generator(self, test: Any) -> Any:
        values = itertools.count()
        return gen.repeat(gen.mix([lambda: {"f": "write", "value": next(values), "key": b"k"},
                                   gen.repeat({"f": "read", "key": b"k"})]))

    def check(self, test: Any, history: History) -> list[CheckResult]:
        return [check_linearizable(history, "register", engine="search")]


def test_a_run_ends_at_the_first_violation_when_asked(tmp_path: Path) -> None:
    run = a_run(tmp_path, workload=Register(20), extra=LONG + "checks: {stop: true}\n")
    done = live(run)
    assert (done.verdict, done.exit_code) == ("violation", 1)
    checks = results(run)["checks"]
    assert checks["online"]["verdict"] == "violation"
    assert checks["online"]["evidence"]["ended_the_run"]
    assert "and ended the run: p" in checks["online"]["summary"]
    assert "nobody had written -1" in checks["linearizable"]["summary"]
    row = checks["online"]["evidence"]["first_violation"]["row"]
    events = list(History.read(run.folder.history).rows())
    assert events[row]["value"] == -1
    assert not [event for event in events[:row] if event["value"] == -1]
    assert events[-1]["time"] - events[row]["time"] < 60e9      # not the ten minutes of the file


def test_a_run_that_only_watches_goes_on_and_tells_since_when(tmp_path: Path) -> None:
    run = a_run(tmp_path, workload=Register(3), extra=SHORT + "checks: {online: true}\n")
    assert live(run).verdict == "violation"
    found = results(run)["checks"]["online"]
    assert found["summary"].startswith("a violation since row ")
    assert not found["evidence"]["ended_the_run"]
    assert run.progress.verdict == "violation"


def test_the_verdict_so_far_is_shown(tmp_path: Path) -> None:
    run = a_run(tmp_path, workload=Register(), extra=SHORT + "checks: {online: true}\n")
    shown: list[str | None] = []
    run.progress.set_verdict = shown.append     # type: ignore[method-assign]
    assert live(run).verdict == "pass"
    assert [said for said in shown if said and said.endswith(" operations, no violation")]
    assert results(run)["checks"]["online"]["verdict"] == "pass"


def test_without_being_asked_nothing_is_judged_online(tmp_path: Path) -> None:
    run = a_run(tmp_path, workload=Register(), extra=SHORT)
    live(run)
    assert "online" not in results(run)["checks"]


def test_an_online_check_that_gives_up_says_why(tmp_path: Path) -> None:
    class Odd(Register):
        online_model = "append"

    run = a_run(tmp_path, workload=Odd(), extra=SHORT + "checks: {online: true}\n")
    assert live(run).verdict == "inconclusive"
    assert "the append model does not know 'write'" in results(run)["checks"]["online"]["summary"]


@pytest.mark.parametrize(("workload", "options", "message"), [
    ("counter", [], "h.yml:3: checks.stop: the workload 'counter' is judged as a whole; only one"),
    ("register", ["--on", "sim", "--fail-fast"], "--fail-fast: not with --on sim"),
])
def test_what_can_not_be_judged_while_it_runs_is_refused(
    workload: str, options: list[str], message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "h.yml"
    path.write_text(f"name: t\nworkload: {{name: {workload}}}\nchecks: {{stop: true}}\n")
    assert main(["run", str(path), *options]) == 254
    assert message in capsys.readouterr().err
