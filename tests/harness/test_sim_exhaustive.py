"""Exploration of small clusters: it closes, symmetry loses nothing, planted bugs are found."""
from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput
from seatrial.harness.sim.exhaustive.exploration import CLOSED, STATES, explore, told
from seatrial.harness.sim.exhaustive.live import Live
from seatrial.harness.sim.exhaustive.scope import Scope
from seatrial.harness.sim.exhaustive.space import NAMES, Space
from seatrial.harness.sim.exhaustive.story import parse, text
from seatrial.workloads.systems.planted import mutants_folder

SMALL = Scope(losses=0, crashes=0)
EVERYTHING = [
    Scope(timeouts=3, heartbeats=2, proposals=3, losses=3, crashes=2, transfers=1, elected=True),
    Scope(timeouts=3, proposals=3, losses=2, crashes=2, snapshots=2, elected=True),
    Scope(nodes=4, spares=1, timeouts=2, proposals=1, losses=1, crashes=1, changes=3, transfers=1,
          elected=True),
    Scope(timeouts=4, heartbeats=2, proposals=3, losses=3, crashes=2, slow_disks=False),
]


def test_a_small_scope_closes_and_is_sound() -> None:
    outcome = explore(SMALL, states=100_000)
    assert (outcome.ended, outcome.violation, outcome.waiting) == (CLOSED, None, 0)
    assert outcome.states > 1000
    assert outcome.depth > 20
    assert outcome.transitions > outcome.states
    assert outcome.node_steps < outcome.transitions / 10


@pytest.mark.parametrize("scope", [
    Scope(losses=0, crashes=0), Scope(slow_disks=False, proposals=0, losses=0),
    Scope(nodes=2, crashes=0)])
def test_symmetry_leaves_out_only_other_numberings(scope: Scope) -> None:
    with_it = explore(scope, states=300_000)
    without = explore(Scope(**vars(scope) | {"symmetry": False}), states=300_000)
    assert with_it.ended == without.ended == CLOSED
    assert with_it.states < without.states
    assert with_it.numbered == without.states
    assert with_it.depth == without.depth


@pytest.mark.parametrize("scope", [EVERYTHING[0], EVERYTHING[2]], ids=str)
def test_the_same_actions_at_other_nodes_lead_to_the_same_state(scope: Scope) -> None:
    space = Space(Scope(**vars(scope) | {"elected": False}), 100)
    rename = {1: 2, 2: 3, 3: 1, 4: 4}
    for seed in range(200):
        trace = space.walk(seed, 40)
        space.play(trace)
        reached = space.fingerprint()
        played = space.play([(name, rename[node], rename[other]) for name, node, other in trace])
        assert played[-1][2] is None
        assert space.fingerprint() == reached, f"seed {seed}: {text(trace)}"


@pytest.mark.parametrize("scope", EVERYTHING, ids=str)
def test_machines_that_live_on_come_to_the_states_that_are_explored(scope: Scope) -> None:
    space = Space(scope, 100)
    seen: Counter[str] = Counter()
    for seed in range(200):
        trace = space.walk(seed, 60)
        played = space.play(trace)
        assert played[-1][2] is None, f"seed {seed}: {text(trace)}"
        live = Live(space)
        assert live.play(trace) is None, f"seed {seed}: {text(trace)}"
        assert live.agrees(), f"seed {seed}: {text(trace)}"
        seen.update(name for name, _, _ in trace)
    expected = set(NAMES) - {"sync"} if not scope.slow_disks else set(NAMES)
    for bound, names in {"heartbeats": {"heartbeat"}, "changes": {"toggle", "replace"},
                         "transfers": {"transfer"}, "snapshots": {"snapshot"}}.items():
        if not getattr(scope, bound):
            expected -= names
    assert set(seen) == expected


def test_a_cap_ends_an_exploration() -> None:
    outcome = explore(Scope(), states=5000)
    assert outcome.ended == STATES
    assert 4000 < outcome.states <= 5000
    assert outcome.waiting > 0


def test_a_trace_is_told_as_a_story() -> None:
    trace = parse("timeout 1, late 2 1, deliver 1 2, sync 1, deliver 2 1", 3)
    lines, judged = told(Scope(), trace)
    assert judged is None
    assert lines[0] == "  1. node 1's election timer rings"
    assert "pre-candidate" in lines[1]
    assert any("takes VOTE (term 1, last entry 0 of term 0) from node 1" in line
               for line in lines)
    assert parse(text(trace), 3) == trace


@pytest.mark.parametrize(("words", "message"), [
    ("", "expected one of deliver"), ("sleep 1", "expected one of deliver"),
    ("timeout 4", "expected the number of a node, 1 to 3"), ("cut 1", "the number of two nodes"),
    ("cut 1 1", "two different nodes"), ("timeout x", "expected the number of a node")])
def test_a_trace_that_means_nothing_is_refused(words: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(words, 3)


def test_what_can_not_happen_is_told_so() -> None:
    lines, judged = told(Scope(), parse("timeout 1, sync 1, crash 2", 3))
    assert lines[-1].strip() == "can't happen here"
    assert judged is None


def test_a_scope_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 to 15"):
        Scope(timeouts=16)
    with pytest.raises(ValueError, match="only without symmetry"):
        Scope(snapshots=1, changes=1)
    assert main(["explore", "--spares", "3"]) == 254


def test_the_command_tells_states_and_depth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--losses", "0", "--crashes", "0"]) == 0
    out = capsys.readouterr().out
    assert "ended:    closed" in out
    assert "depth:" in out
    assert main(["explore", "--states", "1000"]) == 2
    assert "capped by --states" in capsys.readouterr().out


# ---- planted bugs ----------------------------------------------------------------------------

PLANTED = {
    "vote-not-persisted": "one vote a term",
    "vote-before-durable": "election by majority",
    "leader-counts-itself": "durability",
    "restart-commits-all": "durability",
    "ack-before-durable": "durability",
    "match-from-heartbeat": "durability",
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", PLANTED)
def test_a_planted_bug_is_found_with_a_short_trace(mutant: str) -> None:
    path = os.pathsep.join([str(mutants_folder()), *filter(None, sys.path)])
    ended = subprocess.run(
        [sys.executable, "-m", "seatrial.harness", "explore", "--mutant", mutant],
        cwd=Path(__file__).parents[2], check=False, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    lines = dict(line.split(": ", 1) for line in ended.stdout.splitlines() if ": " in line)
    assert lines["violation"].startswith(PLANTED[mutant]), ended.stdout
    assert len(lines["trace"].split(",")) <= 16
    if mutant != "vote-before-durable":     # a vote that was sent counts there, durable or not
        assert lines["core/invariants"].startswith(PLANTED[mutant]), ended.stdout
