"""Simulated runs of a tree whose pools read or write, in every way that there is."""
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import History, Verdict
from seatrial.harness.errors import BadInput
from seatrial.harness.launch import plan
from seatrial.harness.op import Op
from seatrial.harness.sim.simulation import Outcome, Simulation
from seatrial.workloads.register import RegisterClient

from .sim_tests import planned, request

TREE = """\
name: pools
topology:
  domains:
    A: {nodes: 3}
    B: {nodes: 3, parent: A, mode: sync, max_lag: {time: 3, settle: 5}}
    C: {nodes: 1, parent: B, mode: async, id: 9}
  pools: {near-a: {domain: A, does: writes}, near-b: {domain: B, does: reads}, near-c: {domain: C}}
system: {name: node, options: {heartbeat_ms: 50, election_ms: 300}}
workload: {name: register, options: {keys_at_a_time: 2, ops_per_key: 100, bounds: [0.3]}}
clients: 12
rate: 150
op_timeout: 2
time_limit: 8
sim: {swarm: false}
faults: {names: [domain-cut, child-leader-kill], duration: 1, gap: 0.5, settle: 3}
coverage: {min_ok: 300}
"""


def simulated(folder: Path, text: str = TREE, seed: int = 1) -> Outcome:
    return Simulation(planned(folder, text, seed)).run()


def history_of(outcome: Outcome) -> History:
    assert outcome.history is not None
    return outcome.history


def test_pools_do_what_the_file_says_and_every_kind_of_read_is_judged(tmp_path: Path) -> None:
    outcome = simulated(tmp_path)
    assert outcome.verdict is Verdict.PASS, outcome.summary
    done: dict[int, Counter[str]] = {0: Counter(), 1: Counter(), 2: Counter()}
    places: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    tokens = 0
    for row in history_of(outcome).rows():
        if row["process"] < 0:
            continue
        if row["type"] == "ok":
            done[row["process"] % 12 % 3][row["f"]] += 1
        if row["f"].startswith("read") and row["type"] == "invoke":
            places[row["process"] % 12 % 3].add(row["domain"])
        tokens += row["type"] == "invoke" and row["f"] == "read-prefix" and bool(row["rindex"])
    assert set(done[0]) == {"write", "cas"}
    assert set(done[1]) == {"read", "read-bounded", "read-prefix"}
    assert set(done[2]) == {"write", "cas", "read", "read-bounded", "read-prefix"}
    assert places[1] == {1}
    assert 2 in places[2], "C's id is 9, and its place 2"
    assert tokens > 50
    judged = {check.name: check.evidence["judged"] for check in outcome.checks
              if check.name in ("domain-session", "domain-bounded")}
    assert min(judged.values()) > 50


def sent(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Let clients ask for something else than the history says."""
    invoke = RegisterClient.invoke

    async def other(self: RegisterClient, test: Any, op: Op) -> Op:
        asked = Op(op.f, op.value, op.key, op.type, op.process, op.time_ns, rindex=op.rindex,
                   epoch=op.epoch, term=op.term)
        change(asked)
        done = await invoke(self, test, asked)
        return done

    monkeypatch.setattr(RegisterClient, "invoke", other)


def test_a_token_that_is_not_heeded_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(op: Op) -> None:
        if op.f == "read-prefix":
            op.rindex = op.epoch = op.term = None

    sent(monkeypatch, forget)
    outcome = simulated(tmp_path)
    assert [check.name for check in outcome.checks if check.verdict is Verdict.VIOLATION] == [
        "domain-session"]


def test_a_bound_that_is_not_heeded_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def widen(op: Op) -> None:
        if op.f == "read-bounded":
            op.value = 60_000

    sent(monkeypatch, widen)
    text = TREE.replace("bounds: [0.3]", "bounds: [0.3], reads: {linearizable: 0, prefix: 0}")
    found = {check.name for seed in (1, 2, 3) for check in simulated(tmp_path, text, seed).checks
             if check.verdict is Verdict.VIOLATION}
    assert found == {"domain-bounded"}


def test_a_workload_that_does_not_heed_pools_refuses_them(tmp_path: Path) -> None:
    text = TREE.replace("{name: register, options: {keys_at_a_time: 2, ops_per_key: 100, "
                        "bounds: [0.3]}}", "{name: counter, options: {keys_at_a_time: 2}}")
    with pytest.raises(BadInput, match=r"near-a\.does: expected 'all': the workload 'counter'"):
        plan(request(tmp_path, text).seeded(1))
