"""From a topology to the checks of domains: in a run, by the command, in the report."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from seatrial.checker.history import History, metadata
from seatrial.harness.commands.check import command
from seatrial.harness.domain_checks import carried, domain_checks, guarantees
from seatrial.harness.history import HistoryInMemory, HistoryWriter, Recorder
from seatrial.harness.op import Op
from seatrial.harness.report.lag import lag_plot, measured
from seatrial.harness.results import build
from seatrial.harness.testfile import validated
from seatrial.harness.yamlfile import Document

TREE = """
domains:
  A: {nodes: 3, policy: "any 1 of [B, C]"}
  B: {nodes: 1, parent: A, mode: sync, exclusion: block}
  C: {nodes: 2, parent: A, mode: sync, max_lag: {time: 0.5, entries: 7, settle: 2}}
  D: {nodes: 1, parent: C, mode: async, max_lag: {time: 0.001, settle: 0.001}}
timers: {lease: 0.2, drift: 0.5}
"""
TEST = "name: t\nworkload: {name: register}\ntopology:\n" + "".join(
    f"  {line}\n" for line in TREE.strip().splitlines())
MS = 1_000_000


def spec(tmp_path: Path, more: str = "") -> Any:
    path = tmp_path / "test.yml"
    path.write_text(TEST + more)
    return validated(Document.load(path))[1]


def told(to: Recorder) -> Recorder:
    """A write that C does not show to a linearizable read, and D not for 50 ms."""
    def op(time_ms: int, process: int, type: str, f: str, domain: int, value: Any = None,
           rindex: int | None = None, confirmed: str | None = None) -> None:
        to.append(Op(f, value, b"x", type, process, time_ms * MS, domain=domain, rindex=rindex,
                     confirmed=confirmed))

    op(10, 0, "invoke", "write", 0, 1)
    op(11, 0, "ok", "write", 0, 1, 4, "A C")
    op(20, 1, "invoke", "read", 2)
    op(21, 1, "ok", "read", 2, None, 3)
    op(61, 2, "invoke", "read-prefix", 3)
    op(62, 2, "ok", "read-prefix", 3, None, 3)
    return to


def test_what_the_domains_of_a_topology_promise(tmp_path: Path) -> None:
    promised = guarantees(spec(tmp_path).topology.tree())
    assert [domain.name for domain in promised.domains] == ["A", "B", "C", "D"]
    a, b, c, d = promised.domains
    assert (a.mode, a.any_of) == ("", (1, frozenset({"B", "C"})))
    assert (b.mode, b.exclusion, b.max_lag_ns, b.fence_ns) == ("sync", "block", None, 600 * MS)
    assert (c.max_lag_ns, c.max_lag_entries, c.settle_ns) == (500 * MS, 7, 2000 * MS)
    assert (d.parent, d.nodes) == ("C", ("n7",))


def test_a_run_of_several_domains_is_judged_by_what_they_promised(tmp_path: Path) -> None:
    history = told(HistoryInMemory("history", domains=True)).history()
    found = {result.name: result.verdict.label for result in domain_checks(
        spec(tmp_path, "checks: {engine: monitor}\n"), history)}
    assert found["domain-visibility"] == "violation"
    assert found["domain-lag"] == "violation"
    assert found["domain-confirmation"] == "pass"
    assert domain_checks(spec(tmp_path, "checks: {domains: false}\n"), history) == []


def test_a_run_of_one_domain_is_not_and_its_history_is_as_before(tmp_path: Path) -> None:
    path = tmp_path / "one.yml"
    path.write_text("name: t\nworkload: {name: register}\n")
    one = validated(Document.load(path))[1]
    assert carried(one) is None
    assert domain_checks(one, HistoryInMemory("history").history()) == []
    with HistoryWriter(tmp_path / "h", metadata(1, None, carried(one))) as writer:
        told(writer)
    assert History.read(tmp_path / "h").confirmed[1] == []


@pytest.mark.parametrize("carries", [True, False])
def test_the_command_judges_domains(tmp_path: Path, carries: bool) -> None:
    """By what the history carries, or by a file."""
    tree, path = tmp_path / "tree.yml", tmp_path / "history.arrow"
    tree.write_text(TREE)
    domains = carried(spec(tmp_path)) if carries else None
    with HistoryWriter(path, metadata(1, None, domains)) as writer:
        told(writer)
    asked = [] if carries else ["--model", "domains", "--topology", str(tree)]
    answer = CliRunner().invoke(command, [str(path), "--engine", "monitor", "--json", *asked],
                                standalone_mode=False)
    assert answer.exception is None, answer.output
    results = {one["name"]: one for one in json.loads(answer.output)}
    assert results["domain-visibility"]["verdict"] == "violation"
    assert "in C (rows 2-3)" in results["domain-visibility"]["text"]
    assert [one["name"] for one in results["domains"]["evidence"]["domains"]] == list("ABCD")
    confirmed = results.get("domain-confirmation", {}).get("evidence", {}).get("confirmed")
    assert confirmed == ({"A C": 1} if carries else None)


def test_the_report_has_a_row_and_a_line_for_each_domain(tmp_path: Path) -> None:
    history = told(HistoryInMemory("history", domains=True)).history()
    checks = domain_checks(spec(tmp_path, "checks: {engine: monitor}\n"), history)
    results = build(history, checks, test="t", world="sim", seed=1, nodes=[])
    rows = {row["name"]: row for row in measured(results)}
    assert rows["A"]["what"] == "root"
    assert rows["D"]["ages"][-1] == "50.0 ms"
    assert rows["D"]["bound"] == "1.0 ms"
    assert rows["C"]["answered"] == "1 linearizable"
    assert "bound of D" in str(lag_plot(results, 1.0))
    assert lag_plot(build(history, [], test="t", world="sim", seed=1, nodes=[]), 1.0) is None
