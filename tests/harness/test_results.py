"""results.json: the right numbers under the documented names, written and read back."""
from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from seatrial.checker import CheckResult, Verdict
from seatrial.checker.history import History
from seatrial.harness import coverage, results
from seatrial.harness.errors import BadInput
from seatrial.harness.store import Store

from .fabricate import NODES, S, Strike, leader_row, strike_rows, voyage

PASS = CheckResult("stats", Verdict.PASS, "fine")
VIOLATION = CheckResult("linearizable", Verdict.VIOLATION, "key 3 is not linearizable",
                        "the story", {"key": "3", "operations": [{"index": 7}]})


def build(history: History | None, *checks: CheckResult, error: str | None = None,
          ) -> results.Results:
    return results.build(history, checks, test="register", world="local", seed=7, nodes=NODES,
                         started="2025-11-21T22:49:13Z", command=["seatrial", "run", "a b.yml"],
                         system_versions={"node": "0.1.0"}, error=error)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    history = voyage().history()
    checks = (coverage.check(history, {"min_ok": 10_000}, NODES), VIOLATION)
    built = build(history, *checks)
    folder = Store(tmp_path).begin("register")
    results.write_results(folder, built)
    assert results.read_results(folder.results) == built


def test_the_documented_names_come_first_and_hold_the_documented_things(tmp_path: Path) -> None:
    history = voyage().history()
    folder = Store(tmp_path).begin("register")
    results.write_results(folder, build(history, coverage.check(history, {}, NODES), VIOLATION))
    found = json.loads(folder.results.read_text())
    assert list(found)[:9] == ["verdict", "test", "world", "seed", "commit", "operations",
                               "checks", "faults", "coverage"]
    assert found["verdict"] == "violation"
    assert found["summary"] == "key 3 is not linearizable"
    counts = found["operations"]
    assert counts["invoke"] == counts["ok"] + counts["fail"] + counts["info"] > 10_000
    assert found["checks"]["linearizable"] == {
        "verdict": "violation", "summary": "key 3 is not linearizable", "text": "the story",
        "evidence": {"key": "3", "operations": [{"index": 7}]}}
    assert found["coverage"]["min_ok"] == {"needed": 0, "got": counts["ok"], "met": True}
    assert found["faults"][0] == {
        "name": "kill", "class": "crash", "targets": ["n1"], "requested_ns": 5 * S,
        "effective_ns": 5 * S + S // 20, "ended_ns": 8 * S, "recovered_ns": 8 * S + 3 * S // 10,
        "hit_leader": True, "id": "f1", "error": None, "grudge": {}, "parameters": {},
        "gentle": False}
    assert found["leader_changes"] == 4
    assert found["leaders"][1] == {"term": 2, "leader": "n3",
                                   "since_ns": found["leaders"][1]["since_ns"]}


def test_a_step_that_did_not_happen_is_null() -> None:
    lane = strike_rows([Strike("pause", ("n1",), 1, None, effective=False)])
    (fault,) = build(History.from_rows(lane)).faults
    assert (fault.requested_ns, fault.effective_ns, fault.ended_ns) == (S, None, None)


def test_why_a_fault_did_not_work_is_told() -> None:
    rows = list(strike_rows([Strike("pause", ("n1",), 1, None, effective=False)]))
    rows += [rows[0] | {"value": rows[0]["value"] | {"phase": "ineffective"}, "error": "no pids"},
             rows[0] | {"f": "kill", "value": {"phase": "impossible"}, "error": "no agent"}]
    built = build(History.from_rows(rows))
    assert [(fault.name, fault.error) for fault in built.faults] == [("pause", "no pids")]
    assert built.impossible == {"kill": "no agent"}


def test_evidence_with_numbers_of_numpy_and_odd_objects_can_be_written(tmp_path: Path) -> None:
    check = CheckResult("odd", Verdict.PASS, evidence={"a": np.int64(3), "b": [np.float64(0.5)],
                                                       "c": {1, 2}, 4: {5: b"x"}, "e": 2 + 1j})
    folder = Store(tmp_path).begin("register")
    results.write_results(folder, build(None, check))
    found = results.read_results(folder.results).checks["odd"].evidence
    assert (found["a"], found["b"], found["e"]) == (3, [0.5], "(2+1j)")


def test_what_came_up_beside_a_check_counts_like_a_check_of_its_own() -> None:
    beside = CheckResult("engines-disagree", Verdict.HARNESS_FAILURE, "one of them is wrong")
    built = build(None, CheckResult("linearizable", Verdict.PASS, also=[beside]))
    assert list(built.checks) == ["linearizable", "engines-disagree"]
    assert (built.verdict, built.summary) == ("harness-failure",
                                              "engines-disagree: one of them is wrong")


def test_rates_measure_latency_from_the_due_time() -> None:
    rows = [{"process": p, "f": "read", "type": kind, "time": at} for p, kind, at in (
        (1, "invoke", 0), (2, "invoke", 0), (1, "ok", 1000), (2, "fail", S), (1, "invoke", S),
        (1, "ok", S + 3000), (1, "invoke", 2 * S - 5))]
    found = results.rates(History.from_rows([*rows, leader_row(9, "n1", 1)]))
    assert (found.latency_p50_ns, found.latency_max_ns) == (2000, 3000)
    assert (found.ok_per_s, found.completed_per_s) == (2.0, 3.0)


def test_a_history_without_an_answer_has_no_latency() -> None:
    assert results.rates(History.from_rows([])) == results.Rates()
    rows = [{"process": 1, "f": "read", "type": kind, "time": 5} for kind in ("invoke", "info")]
    assert results.rates(History.from_rows(rows)).latency_p99_ns is None


@pytest.mark.parametrize(("checks", "error", "verdict"), [
    ((PASS,), None, "pass"),
    ((PASS,), "n1: host vanished", "harness-failure"),
    ((PASS, VIOLATION), "n1: host vanished", "violation"),
    ((PASS, CheckResult("coverage", Verdict.NO_COVERAGE, "x")), None, "no-coverage"),
    ((), "no disk", "harness-failure"),
])
def test_the_worst_verdict_wins_and_a_violation_outlives_a_breakage(
    checks: tuple[CheckResult, ...], error: str | None, verdict: str,
) -> None:
    built = build(None, *checks, error=error)
    assert (built.verdict, built.error) == (verdict, error)


def test_the_commit_is_the_source_trees_or_else_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "_source_tree", lambda: tmp_path)
    (tmp_path / "VERSION").write_text("1.2.3\n")
    monkeypatch.setattr(results.metadata, "version", _not_installed)
    assert results.commit() == "1.2.3"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "VERSION"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    clean = results.commit()
    assert len(clean) == 40
    (tmp_path / "VERSION").write_text("1.2.4\n")
    assert results.commit() == f"{clean}+dirty"


def _not_installed(name: str) -> str:
    raise results.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize(("content", "complaint"), [
    (b"{", "expected a run's results.json: "),
    (b'{"verdict": "pass"}', "missing required field `test`"),
    (None, "can't read: No such file"),
    ("schema", "schema 99 is newer than 1"),
    ("verdict", "verdict 'perfect': expected one of pass, "),
])
def test_a_file_that_is_no_results_is_refused_by_name(
    tmp_path: Path, content: bytes | str | None, complaint: str,
) -> None:
    path = tmp_path / "results.json"
    if isinstance(content, str):
        folder = Store(tmp_path).begin("register")
        built = build(None)
        setattr(built, content, 99 if content == "schema" else "perfect")
        results.write_results(folder, built)
        path = folder.results
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        results.read_results(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert complaint in str(refused.value)
