"""Exploration of small clusters, of one domain and of several: it closes, symmetry loses nothing,
planted bugs are found."""
from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from seatrial.core.errors import InvariantViolation
from seatrial.harness.cli import main
from seatrial.harness.errors import BadInput
from seatrial.harness.sim.exhaustive.exploration import (
    CLOSED,
    STATES,
    explore,
    live_of,
    space_of,
    told,
)
from seatrial.harness.sim.exhaustive.scope import Scope
from seatrial.harness.sim.exhaustive.story import parse, text
from seatrial.harness.sim.exhaustive.tree_scope import TreeScope, sizes
from seatrial.harness.sim.exhaustive.tree_space import TreeSpace
from seatrial.workloads.systems.planted import mutants_folder

SMALL = Scope(losses=0, crashes=0)
QUIET = TreeScope(pauses=0, timeouts=0, losses=0, crashes=0)
EVERYTHING: list[Scope | TreeScope] = [
    Scope(timeouts=3, heartbeats=2, proposals=3, losses=3, crashes=2, transfers=1, elected=True),
    Scope(timeouts=3, proposals=3, losses=2, crashes=2, snapshots=2, elected=True),
    Scope(nodes=4, spares=1, timeouts=2, proposals=1, losses=1, crashes=1, changes=3, transfers=1,
          elected=True),
    Scope(timeouts=4, heartbeats=2, proposals=3, losses=3, crashes=2, slow_disks=False),
    TreeScope((2, 2), pauses=3, timeouts=4, heartbeats=3, proposals=3, losses=3, crashes=2,
              changes=2),
    TreeScope((1, 1, 1), pauses=3, timeouts=4, heartbeats=3, proposals=2, losses=3, crashes=2,
              changes=2),
    TreeScope((1, 3), pauses=2, timeouts=4, heartbeats=2, proposals=2, losses=2, crashes=2,
              changes=2, slow_disks=False),
]


def but(scope: Scope | TreeScope, **changes: Any) -> Scope | TreeScope:
    """Return a scope with other bounds."""
    return type(scope)(**vars(scope) | changes)


@pytest.mark.parametrize(("scope", "states", "depth"), [
    (SMALL, 1000, 20), (but(QUIET, changes=1), 50, 10),
    (but(QUIET, domains=(1, 1, 1), changes=1), 50, 10)], ids=str)
def test_a_small_scope_closes_and_is_sound(
        scope: Scope | TreeScope, states: int, depth: int) -> None:
    outcome = explore(scope, states=200_000)
    assert (outcome.ended, outcome.violation, outcome.waiting) == (CLOSED, None, 0)
    assert outcome.states > states
    assert outcome.depth > depth
    assert outcome.transitions > outcome.states
    if scope == SMALL:
        assert outcome.node_steps < outcome.transitions / 10


@pytest.mark.parametrize("scope", [
    SMALL, Scope(slow_disks=False, proposals=0, losses=0), Scope(nodes=2, crashes=0),
    but(QUIET, losses=1, slow_disks=False)], ids=str)
def test_symmetry_leaves_out_only_other_numberings(scope: Scope | TreeScope) -> None:
    with_it = explore(scope, states=300_000)
    without = explore(but(scope, symmetry=False), states=300_000)
    assert with_it.ended == without.ended == CLOSED
    assert with_it.depth == without.depth
    if isinstance(scope, Scope):
        assert with_it.states < without.states == with_it.numbered
    else:       # it begins with leaders: not every numbering of what comes of that can be had
        assert with_it.states <= without.states <= with_it.numbered


@pytest.mark.parametrize(("scope", "rename"), [
    (but(EVERYTHING[0], elected=False), {1: 2, 2: 3, 3: 1}),
    (but(EVERYTHING[2], elected=False), {1: 2, 2: 3, 3: 1, 4: 4}),
    (EVERYTHING[4], {1: 2, 2: 1, 3: 4, 4: 3})], ids=str)
def test_the_same_actions_at_other_nodes_lead_to_the_same_state(
        scope: Scope | TreeScope, rename: dict[int, int]) -> None:
    space = space_of(scope, 1000)
    for seed in range(100):
        trace = space.walk(seed, 50)
        space.play(trace)
        reached = space.fingerprint()
        played = space.play([
            (name, rename[node], other if name in ("exclude", "readmit") else rename[other])
            for name, node, other in trace])
        assert played[-1][2] is None
        assert space.fingerprint() == reached, f"seed {seed}: {text(trace)}"


@pytest.mark.parametrize("scope", EVERYTHING, ids=str)
def test_machines_that_live_on_come_to_the_states_that_are_explored(
        scope: Scope | TreeScope) -> None:
    space = space_of(scope, 1000)
    seen: Counter[str] = Counter()
    for seed in range(150):
        trace = space.walk(seed, 70)
        played = space.play(trace)
        assert played[-1][2] is None, f"seed {seed}: {text(trace)}"
        live = live_of(space)
        assert live.play(trace) is None, f"seed {seed}: {text(trace)}"
        assert live.agrees(), f"seed {seed}: {text(trace)}"
        seen.update(name for name, _, _ in trace[len(space.prefix):])
    assert set(seen) == set(scope.ACTIONS) - impossible(scope)


def impossible(scope: Scope | TreeScope) -> set[str]:
    """Return the actions that there are not in a scope."""
    names = set() if scope.slow_disks else {"sync"}
    if isinstance(scope, TreeScope):
        return names | ({"deliver", "cut", "connect"} if max(scope.domains) == 1 else set())
    for bound, its in {"heartbeats": {"heartbeat"}, "changes": {"toggle", "replace"},
                       "transfers": {"transfer"}, "snapshots": {"snapshot"}}.items():
        names |= set() if getattr(scope, bound) else its
    return names


def test_machines_that_come_to_another_state_do_not_agree() -> None:
    for scope in (EVERYTHING[0], EVERYTHING[4]):
        space = space_of(scope, 1000)
        live = live_of(space)
        assert live.play(space.walk(1, 20)) is None
        space.play(space.walk(2, 20))
        assert not live.agrees()


def test_a_cap_ends_an_exploration() -> None:
    outcome = explore(Scope(), states=5000)
    assert outcome.ended == STATES
    assert 4000 < outcome.states <= 5000
    assert outcome.waiting > 0


# ---- where a tree begins -----------------------------------------------------------------------

def test_a_tree_begins_with_leaders_links_and_children_that_count() -> None:
    scope = TreeScope((1, 1, 1))
    begin = space_of(scope, 1000).prefix
    lines, judged = told(scope, begin)
    assert judged is None
    assert any("node 2" in line and "leased" in line for line in lines)
    assert any("node 3" in line and "leased" in line for line in lines)


class Leaderless(TreeSpace):
    """Its children's leaders come to be, and something is wrong then."""

    def _leased(self, domain: int) -> bool:
        raise InvariantViolation(f"held as told: domain {domain + 1}")


def test_a_violation_on_the_way_to_the_first_state_is_told_as_any_other() -> None:
    space = Leaderless(TreeScope((1, 1)), 1000)
    assert space.violation == "held as told: domain 2"
    assert not space.explore(1000)
    assert (space.count, space.depth) == (0, 0)
    begin = space_of(TreeScope((1, 1)), 1000).prefix
    assert 5 < len(space.trace()) < len(begin)
    assert space.trace() == begin[:len(space.trace())]


# ---- traces ------------------------------------------------------------------------------------

def test_a_trace_is_told_as_a_story() -> None:
    trace = parse("timeout 1, late 2 1, deliver 1 2, sync 1, deliver 2 1", Scope())
    lines, judged = told(Scope(), trace)
    assert judged is None
    assert lines[0] == "  1. node 1's election timer rings"
    assert "pre-candidate" in lines[1]
    assert any("takes VOTE (term 1, last entry 0 of term 0) from node 1" in line
               for line in lines)


def test_a_trace_of_a_tree_is_told_with_its_beginning_and_its_links() -> None:
    scope = TreeScope((1, 1))
    begin = space_of(scope, 1000).prefix
    lines, judged = told(scope, [*begin, ("propose", 1, 1), ("sync", 1, 1), ("up", 1, 2)])
    assert judged is None
    beginning = lines.index("     that was the beginning; from here on anything could happen")
    assert lines[beginning + 1].endswith("a client asks node 1 to append an entry")
    assert any("to its child's node 2: LINK_APPEND (T " in line for line in lines[beginning:])
    assert lines[-2].endswith("node 1 takes nothing from node 2 of its child")
    assert lines[-1].strip() == "can't happen here"


@pytest.mark.parametrize("scope", [*EVERYTHING[:3], EVERYTHING[5]], ids=str)
def test_a_trace_in_words_is_the_same_trace(scope: Scope | TreeScope) -> None:
    for seed in range(20):
        trace = space_of(scope, 100).walk(seed, 40)
        words = text(trace)
        assert text(parse(words, scope)) == words
        assert space_of(scope, 100).play(parse(words, scope))[-1][2] is None


@pytest.mark.parametrize(("words", "scope", "message"), [
    ("", Scope(), "expected one of deliver, late"),
    ("sleep 1", Scope(), "expected one of deliver, late"),
    ("timeout 1", TreeScope(), "expected one of deliver, sync"),
    ("timeout 4", Scope(), "expected the number of a node, 1 to 3"),
    ("timeout x", Scope(), "expected the number of a node, 1 to 3"),
    ("cut 1", Scope(), "the number of two nodes, 1 to 3"),
    ("cut 1 1", Scope(), "two different nodes"),
    ("wait 1", TreeScope(), "expected no number"),
    ("tick", TreeScope(), "expected the number of a node, 1 to 4"),
    ("exclude 1 1", TreeScope(), "expected a child's number, 2 to 2"),
    ("exclude 1", TreeScope(), "expected the numbers of a node, 1 to 4, and of a child"),
])
def test_a_trace_that_means_nothing_is_refused(
        words: str, scope: Scope | TreeScope, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse(words, scope)


def test_what_can_not_happen_is_told_so() -> None:
    lines, judged = told(Scope(), parse("timeout 1, sync 1, crash 2", Scope()))
    assert lines[-1].strip() == "can't happen here"
    assert judged is None


# ---- the command -------------------------------------------------------------------------------

@pytest.mark.parametrize(("words", "expected"), [
    ("2x2", (2, 2)), ("3x1", (1, 1, 1)), ("1/1/1", (1, 1, 1)), ("1/3", (1, 3))])
def test_sizes_are_read(words: str, expected: tuple[int, ...]) -> None:
    assert sizes(words) == expected


def test_a_scope_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 to 15"):
        Scope(timeouts=16)
    with pytest.raises(ValueError, match="expected 0 to 8"):
        TreeScope(pauses=9)
    with pytest.raises(ValueError, match="only without symmetry"):
        Scope(snapshots=1, changes=1)


@pytest.mark.parametrize("arguments", [
    ["--spares", "3"], ["--trace", "tick 1"],
    ["--domains", "2y2"], ["--domains", "0x2"], ["--domains", "3x2"], ["--domains", "1"],
    ["--domains", "2x2", "--nodes", "3"], ["--domains", "2x2", "--elected"], ["--pauses", "2"],
    ["--domains", "1/1", "--trace", "tick 3"], ["--domains", "1/1", "--trace", "exclude 1 1"]])
def test_what_can_not_be_explored_is_refused_with_one_line(
        arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", *arguments]) == 254
    told_of = capsys.readouterr()
    assert len(told_of.err.strip().splitlines()) == 1, told_of.err
    assert "Traceback" not in told_of.err


@pytest.mark.parametrize(("arguments", "scope"), [
    ([], "3 nodes, 1 timeout, 1 proposal"),
    (["--domains", "1/1", "--pauses", "0"], "domains of 1/1 nodes, 1 timeout")])
def test_the_command_tells_states_and_depth(
        arguments: list[str], scope: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explore", *arguments, "--losses", "0", "--crashes", "0"]) == 0
    out = capsys.readouterr().out
    assert f"scope:    {scope}" in out
    assert "ended:    closed" in out
    assert "depth:" in out
    assert main(["explore", *arguments, "--states", "250"]) == 2
    assert "capped by --states" in capsys.readouterr().out


# ---- planted bugs ----------------------------------------------------------------------------

IN_A_TREE = ("--domains", "1/1", "--changes", "1", "--states", "100000")
PLANTED = {     # options, what is said of it, what the simulation's checkers say of it
    "vote-not-persisted": ((), "one vote a term", "one vote a term"),
    # (a vote that was sent counts there, durable or not)
    "vote-before-durable": ((), "election by majority", "sees nothing wrong"),
    "leader-counts-itself": ((), "durability", "durability"),
    "restart-commits-all": ((), "durability", "durability"),
    "ack-before-durable": ((), "durability", "durability"),
    "match-from-heartbeat": ((), "durability", "durability"),
    "child-not-waited-for": (IN_A_TREE, "held as told: rindex 3 is applied", "held as told"),
    # (the simulation judges that by the answers to reads)
    "exclusion-without-waiting": (IN_A_TREE, "lease: node 2 may answer reads", ""),
}
ENDS = {"child-not-waited-for": "tick 1, tick 2, sync 1",       # (found in the beginning)
        "exclusion-without-waiting": "exclude 1 2, sync 1"}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", PLANTED)
def test_a_planted_bug_is_found_with_a_short_trace(mutant: str) -> None:
    path = os.pathsep.join([str(mutants_folder()), *filter(None, sys.path)])
    options, found, judged = PLANTED[mutant]
    ended = subprocess.run(
        [sys.executable, "-m", "seatrial.harness", "explore", *options, "--mutant", mutant],
        cwd=Path(__file__).parents[2], check=False, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    lines = dict(line.split(": ", 1) for line in ended.stdout.splitlines() if ": " in line)
    trace = lines["trace"].strip(" '")
    assert lines["violation"].startswith(found), ended.stdout
    assert lines["core/invariants"].startswith(judged), ended.stdout
    assert trace.endswith(ENDS.get(mutant, "")), ended.stdout
    longest = len(space_of(TreeScope((1, 1)), 1000).prefix) + 2 if options else 16
    assert len(trace.split(",")) <= longest
