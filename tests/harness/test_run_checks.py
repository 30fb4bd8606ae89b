"""What a run and ``seatrial check`` of its folder say of logs and availability."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker.history import History
from seatrial.harness.availability import availability_check
from seatrial.harness.cli import main
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document

from . import test_run
from .fabricate import NODES, voyage
from .test_run import SHORT, a_run, live, results

PANIC = "started\npanic: commit 7 is behind 9\n"


@pytest.fixture
def panicking(monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(self: Any, remote: str, local: Path) -> None:
        local.write_text(PANIC if self.name == "n2" else "started\n")

    monkeypatch.setattr(test_run.PretendedHost, "get", get)


@pytest.mark.usefixtures("panicking")
def test_a_panic_in_a_nodes_log_is_a_violation_of_the_run_and_of_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    run = a_run(tmp_path)
    done = live(run)
    assert (done.verdict, done.exit_code) == ("violation", 1)
    assert done.summary == "log-patterns: 1 panic: n2/it.log:2: panic: commit 7 is behind 9"
    assert "n2/it.log:2: panic" in run.folder.report.read_text()
    assert main(["check", str(run.folder.path), "--engine", "monitor"]) == 1
    assert "log-patterns: violation: 1 panic: n2/it.log:2" in capsys.readouterr().out


@pytest.mark.usefixtures("panicking")
@pytest.mark.parametrize(("logs", "verdict"), [
    ("{known: false}", None), ("{ignore: ['commit \\d+ is behind']}", "pass"),
    ("{known: false, patterns: ['^started']}", "violation")])
def test_the_test_file_says_what_to_look_for(
    tmp_path: Path, logs: str, verdict: str | None, capsys: pytest.CaptureFixture[str],
) -> None:
    run = a_run(tmp_path, extra=f"{SHORT}checks: {{logs: {logs}}}\n")
    live(run)
    found = results(run)["checks"]
    assert found.get("log-patterns", {}).get("verdict") == verdict
    main(["check", str(run.folder.path), "--engine", "monitor", "--json"])
    again = {one["name"]: one["verdict"] for one in json.loads(capsys.readouterr().out)}
    assert again.get("log-patterns") == verdict


class TwoHeaded(test_run.PretendedSystem):
    async def leaders(self, test: Any) -> list[tuple[int, Any]]:
        return [(3, test.nodes[1]), (3, test.nodes[0])]


def test_two_nodes_that_lead_in_one_term_are_a_violation_of_the_run(tmp_path: Path) -> None:
    run = a_run(tmp_path, TwoHeaded())
    assert live(run).summary == "split-brain: n1 and n2 both lead in term 3"
    rows = [row for row in History.read(run.folder.history).rows() if row["f"] == "leader"]
    assert [row["value"]["leader"] for row in rows] == ["n1", "n2"]     # each is told once


def test_what_a_file_promises_of_availability_is_judged_in_the_run_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    run = a_run(tmp_path)
    assert live(run).verdict == "pass"
    assert results(run)["checks"]["availability"]["evidence"]["peace"]["ok_share"] == 1.0
    strict = a_run(tmp_path, workload=test_run.PretendedWorkload(type="fail"),
                   extra=f"{SHORT}checks: {{availability: {{min_ok: 0.5}}}}\n")
    assert live(strict).verdict == "violation"
    assert results(strict)["checks"]["availability"]["summary"].startswith(
        "answered in peace: 0% from ")
    assert main(["check", str(strict.folder.path), "--engine", "monitor"]) == 1
    said = capsys.readouterr().out
    assert "availability: violation: answered in peace: 0%" in said
    assert "p0 write (rows 0-" in said


def test_faults_of_a_history_are_the_windows_that_are_judged() -> None:
    history: History = voyage().history()
    spec = validated(Document.parse("t.yml", f"{test_run.FILE}faults: {{duration: 2}}\n"))[1]
    found = availability_check(spec, history, NODES)
    faults = found.evidence["faults"]
    assert [one["name"] for one in faults][:2] == ["f1 kill", "f2 partition-halves"]
    assert len(faults) == 11                            # f11 did not take effect
    judged = {one["name"]: one["judged"] for one in faults}
    assert judged["f1 kill"]
    assert not judged["f5 kill"]                        # three of five


def test_logs_are_searched_without_a_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    log = tmp_path / "logs" / "n1" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_text("all is well\nlost my mind\n")
    assert main(["check", "--logs", str(tmp_path / "logs")]) == 0
    assert main(["check", "--logs", str(log), "--log-pattern", "lost my .*"]) == 1
    assert f"log-patterns: violation: 1 lost my .*: {log}:2: lost my mind" in (
        capsys.readouterr().out)


@pytest.mark.parametrize(("words", "said"), [
    (["--logs", "nowhere"], "nowhere: no such file or folder"),
    (["--logs", ".", "--log-pattern", "("], "--log-pattern: '(' is not a regular expression"),
    (["h.edn", "--log-pattern", "x"], "expected --logs, or a run's folder"),
    (["--index", "i.tsv", "--logs", "."], "are for one history, not for a corpus"),
    ([], "expected either FILE or --index INDEX, or --logs")])
def test_what_can_not_be_searched_is_refused_in_a_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", *words]) == 254
    assert said in capsys.readouterr().err
