"""Exploration of small trees of domains: it closes, symmetry loses nothing, bugs are found."""
from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from seatrial.core.errors import InvariantViolation
from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput
from seatrial.harness.sim.exhaustive.exploration import CLOSED, explore, told
from seatrial.harness.sim.exhaustive.tree_live import TreeLive
from seatrial.harness.sim.exhaustive.tree_scope import TreeScope, sizes
from seatrial.harness.sim.exhaustive.tree_space import NAMES, TreeSpace
from seatrial.harness.sim.exhaustive.tree_story import parse, text
from seatrial.workloads.systems.planted import mutants_folder

NOTHING = {"pauses": 0, "timeouts": 0, "losses": 0, "crashes": 0}
EVERYTHING = [
    TreeScope((2, 2), pauses=3, timeouts=4, heartbeats=3, proposals=3, losses=3, crashes=2,
              changes=2),
    TreeScope((1, 1, 1), pauses=3, timeouts=4, heartbeats=3, proposals=2, losses=3, crashes=2,
              changes=2),
    TreeScope((1, 3), pauses=2, timeouts=4, heartbeats=2, proposals=2, losses=2, crashes=2,
              changes=2, slow_disks=False),
]


@pytest.mark.parametrize("domains", [(2, 2), (1, 1, 1)])
def test_a_small_scope_closes_and_is_sound(domains: tuple[int, ...]) -> None:
    outcome = explore(TreeScope(domains, **NOTHING | {"changes": 1}), states=200_000)
    assert (outcome.ended, outcome.violation, outcome.waiting) == (CLOSED, None, 0)
    assert outcome.states > 50
    assert outcome.depth > 10
    assert outcome.transitions > outcome.states


def test_symmetry_leaves_out_only_other_numberings() -> None:
    scope = TreeScope((2, 2), **NOTHING | {"losses": 1}, slow_disks=False)
    with_it = explore(scope, states=300_000)
    without = explore(TreeScope(**vars(scope) | {"symmetry": False}), states=300_000)
    assert with_it.ended == without.ended == CLOSED
    assert with_it.states <= without.states
    assert with_it.numbered >= without.states
    assert with_it.depth == without.depth


def test_the_same_actions_at_other_nodes_lead_to_the_same_state() -> None:
    space = TreeSpace(EVERYTHING[0], 1000)
    rename = {1: 2, 2: 1, 3: 4, 4: 3}
    domains = ("exclude", "readmit")
    for seed in range(50):
        trace = space.walk(seed, 60)
        space.play(trace)
        reached = space.fingerprint()
        played = space.play([(name, rename[node], other if name in domains else rename[other])
                             for name, node, other in trace])
        assert played[-1][2] is None
        assert space.fingerprint() == reached, f"seed {seed}: {text(trace)}"


@pytest.mark.parametrize("scope", EVERYTHING, ids=str)
def test_replicas_that_live_on_come_to_the_states_that_are_explored(scope: TreeScope) -> None:
    space = TreeSpace(scope, 1000)
    seen: Counter[str] = Counter()
    for seed in range(100):
        trace = space.walk(seed, 80)
        played = space.play(trace)
        assert played[-1][2] is None, f"seed {seed}: {text(trace)}"
        live = TreeLive(space)
        assert live.play(trace) is None, f"seed {seed}: {text(trace)}"
        assert live.agrees(), f"seed {seed}: {text(trace)}"
        seen.update(name for name, _, _ in trace[len(space.prefix):])
    alone = {"deliver", "cut", "connect"} if max(scope.domains) == 1 else set()
    assert set(seen) == set(NAMES) - alone - (set() if scope.slow_disks else {"sync"})


def test_it_begins_with_leaders_links_and_children_that_count() -> None:
    space = TreeSpace(TreeScope((1, 1, 1)), 1000)
    lines, judged = told(TreeScope((1, 1, 1)), space.prefix)
    assert judged is None
    assert any("node 2" in line and "leased" in line for line in lines)
    assert any("node 3" in line and "leased" in line for line in lines)
    assert parse(text(space.prefix), TreeScope((1, 1, 1))) == [
        (name, *((1, 1) if name in ("beat", "wait") else (node, other)
                 if name in ("deliver", "up", "dial") else (node, node)))
        for name, node, other in space.prefix]


@pytest.mark.parametrize(("words", "expected"), [
    ("2x2", (2, 2)), ("3x1", (1, 1, 1)), ("1/1/1", (1, 1, 1)), ("1/3", (1, 3))])
def test_sizes_are_read(words: str, expected: tuple[int, ...]) -> None:
    assert sizes(words) == expected


@pytest.mark.parametrize("arguments", [
    ["--domains", "2y2"], ["--domains", "0x2"], ["--domains", "3x2"], ["--domains", "1"],
    ["--domains", "2x2", "--nodes", "3"], ["--domains", "2x2", "--elected"], ["--pauses", "2"],
    ["--domains", "1/1", "--trace", "tick 3"], ["--domains", "1/1", "--trace", "exclude 1 1"]])
def test_what_can_not_be_explored_is_refused_with_one_line(
        arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", *arguments]) == 254
    told_of = capsys.readouterr()
    assert len(told_of.err.strip().splitlines()) == 1, told_of.err
    assert "Traceback" not in told_of.err


def test_a_trace_that_means_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="expected one of deliver"):
        parse("timeout 1", TreeScope())


def test_the_command_tells_states_and_depth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", "--domains", "1/1", "--pauses", "0", "--losses", "0",
                 "--crashes", "0"]) == 0
    out = capsys.readouterr().out
    assert "scope:    domains of 1/1 nodes" in out
    assert "ended:    closed" in out


class Leaderless(TreeSpace):
    """Its children's leaders come to be, and something is wrong then."""

    def _leased(self, domain: int) -> bool:
        raise InvariantViolation(f"held as told: domain {domain + 1}")


def test_a_violation_on_the_way_to_the_first_state_is_told_as_any_other() -> None:
    space = Leaderless(TreeScope((1, 1)), 1000)
    assert space.violation == "held as told: domain 2"
    assert not space.explore(1000)
    assert (space.count, space.depth) == (0, 0)
    begin = TreeSpace(TreeScope((1, 1)), 1000).prefix
    assert 5 < len(space.trace()) < len(begin)
    assert space.trace() == begin[:len(space.trace())]


# ---- planted bugs ----------------------------------------------------------------------------

BOUNDS = ["--domains", "1/1", "--changes", "1", "--states", "100000"]
PLANTED = {     # what is said of it, and the end of its trace (the first is found in the beginning)
    "child-not-waited-for": ("held as told: rindex 3 is applied", "tick 1, tick 2, sync 1"),
    "exclusion-without-waiting": ("lease: node 2 may answer reads", "exclude 1 2, sync 1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", PLANTED)
def test_a_planted_bug_of_domains_is_found_with_a_short_trace(mutant: str) -> None:
    path = os.pathsep.join([str(mutants_folder()), *filter(None, sys.path)])
    found, end = PLANTED[mutant]
    ended = subprocess.run(
        [sys.executable, "-m", "seatrial.harness", "explore", *BOUNDS, "--mutant", mutant],
        cwd=Path(__file__).parents[2], check=False, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    lines = dict(line.split(": ", 1) for line in ended.stdout.splitlines() if ": " in line)
    assert lines["violation"].startswith(found), ended.stdout
    trace = lines["trace"].strip(" '")
    assert trace.endswith(end), ended.stdout
    assert len(trace.split(",")) <= len(TreeSpace(TreeScope((1, 1)), 1000).prefix) + 2
    if not found.startswith("lease"):       # (the simulation judges that by the answers to reads)
        assert lines["core/invariants"].startswith("held as told"), ended.stdout
