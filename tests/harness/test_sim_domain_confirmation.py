"""Who confirmed each write, in simulated trees that change: nothing is wrong, and what is made so
is found, also after the changes.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from seatrial.checker import CheckResult, History, Verdict
from seatrial.checker.domains import Guarantees, check_domains, guarantees_of
from seatrial.checker.history import NEMESIS
from seatrial.harness.launch import SIM, Request, plan
from seatrial.harness.sim.run import run

TEST = """
name: t
system: {name: node, options: {heartbeat_ms: 50, election_ms: 400}}
topology:
  domains:
    A: {nodes: 3}
    B: {nodes: 1, parent: A, mode: sync, %s}
    C: {nodes: 1, parent: B, mode: sync, exclusion: block}
  pools: {near-a: {domain: A}, near-b: {domain: B}, near-c: {domain: C}}
workload: {name: register, options: {keys_at_a_time: 2, mix: {read: 30, write: 70, cas: 0}}}
clients: 6
rate: 200
time_limit: 10
faults:
  names: [domain-exclude, domain-mode, domain-reparent, domain-leave, domain-policy]
  duration: 0.7
  gap: 1.2
  settle: 2
sim: {swarm: false}
"""


def lived(tmp_path: Path, of_b: str, seed: int) -> History:
    """A run that passes."""
    path = tmp_path / "t.yml"
    path.write_text(TEST % of_b)
    found = run(plan(Request(path, tmp_path / "store", SIM).seeded(seed)))
    assert found.verdict in ("pass", "no-coverage"), found.summary
    return History.read(Path(found.folder or "") / "history.arrow")


def judged(rows: list[dict[str, Any]], promised: Guarantees) -> CheckResult:
    return next(result for result in check_domains(History.from_rows(rows), promised,
                                                   engine="monitor")
                if result.name == "domain-confirmation")


def named_again(rows: list[dict[str, Any]]) -> list[int]:
    """Completions of writes that C confirmed and had to: it was back, after a change of the tree,
    when they began, and no other change was asked for before they ended."""
    changes: set[str] = set()
    changed = back = False
    begun: dict[int, tuple[bool, bool]] = {}        # by process: was nothing changed; was C back
    found = []
    for number, row in enumerate(rows):
        value, process = row["value"], row["process"]
        if process == NEMESIS and isinstance(value, dict) and "phase" in value:
            if value["phase"] == "requested":
                changes.add(value["id"])
                changed, back = True, False
            elif value["phase"] == "recovered":
                changes.discard(value["id"])
        elif row["type"] == "invoke":
            begun[process] = not changes, back
        elif row["type"] == "ok" and "C" in (row["confirmed"] or "").split():
            calm, was_back = begun[process]
            if was_back and back and changed:
                found.append(number)
            back = back or (calm and not changes)
    return found


@pytest.mark.randomised
@pytest.mark.parametrize("of_b", [
    "exclusion: exclude", "exclusion: block, max_lag: {time: 2, settle: 0.4}"])
def test_a_name_that_is_missing_after_changes_of_the_tree_is_missed(
    of_b: str, tmp_path: Path,
) -> None:
    history = lived(tmp_path, of_b, int(os.environ.get("SEATRIAL_SEED", "1")))
    promised, rows = guarantees_of(history), list(history.rows())
    result = judged(rows, promised)
    assert result.verdict is Verdict.PASS
    assert len(result.evidence["excused"]["C"]) >= 2, "it was back between changes"
    chosen = named_again(rows)
    assert len(chosen) > 20
    for number in chosen[::len(chosen) // 4]:
        kept = " ".join(name for name in rows[number]["confirmed"].split() if name != "C")
        planted = [*rows[:number], rows[number] | {"confirmed": kept}, *rows[number + 1:]]
        result = judged(planted, promised)
        assert result.verdict is Verdict.VIOLATION
        assert f"-{number}) was acknowledged, confirmed by {' and '.join(kept.split())}: C must " \
            "confirm every write" in result.summary
        assert "It was back after a change of the tree" in result.summary
