"""The checks of domains against a world that keeps its promises, bugs in it, and a slow twin.

SEATRIAL_DOMAIN_HISTORIES sets how many small histories the twin judges; SEATRIAL_SEED the first
seed.
"""
from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from domain_oracle import Answered, history_of, possible
from domain_world import BUGS, TREE, World
from elements import draw_intervals

from seatrial.checker import History, Verdict
from seatrial.checker.domains import Guarantee, Guarantees, check_domains
from seatrial.checker.domains.view import View

HISTORIES = int(os.environ.get("SEATRIAL_DOMAIN_HISTORIES", "2000"))
FIRST_SEED = int(os.environ.get("SEATRIAL_SEED", "0"))
WORLDS = 50
PLAIN = Guarantees([Guarantee("A"), Guarantee("B", "A", "sync")])


def broken(history: History, tree: Guarantees = TREE) -> set[str]:
    """The guarantees that a history breaks."""
    return {result.name.removeprefix("domain-")
            for result in check_domains(history, tree, engine="monitor")
            if result.verdict not in (Verdict.PASS, Verdict.NO_COVERAGE)}


@pytest.mark.randomised
@pytest.mark.parametrize("coordinates", [True, False])
@pytest.mark.parametrize("faults", [True, False])
def test_a_world_that_keeps_its_promises_passes(coordinates: bool, faults: bool) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + WORLDS):
        history = World(seed, coordinates=coordinates, faults=faults).run()
        assert broken(history) == set(), seed


@pytest.mark.randomised
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_breaks_the_guarantee_of_its_name_and_no_other(bug: str) -> None:
    certain, *besides = BUGS[bug]
    found = Counter[str]()
    for seed in range(FIRST_SEED, FIRST_SEED + WORLDS):
        world = World(seed, bug)
        guarantees = broken(world.run())
        assert guarantees <= {certain, *besides}, seed
        assert certain in guarantees or not world.bugs, seed
        found.update(guarantees)
    assert found[certain] > WORLDS // 10, found


@pytest.mark.randomised
@pytest.mark.parametrize(("bug", "guarantee"), [
    ("stale-read", "visibility"), ("dirty-read", "committed"), ("never-written", "prefix"),
    ("slow", "lag"), ("too-old", "bounded"), ("unfenced", "fencing")])
def test_bugs_are_found_by_values_alone(bug: str, guarantee: str) -> None:
    found = Counter[str]()
    for seed in range(FIRST_SEED, FIRST_SEED + WORLDS):
        found.update(broken(World(seed, bug, coordinates=False).run()))
    assert found[guarantee] > WORLDS // 20, found


def test_the_same_history_is_told_in_the_same_words() -> None:
    for bug in BUGS:
        said = []
        for _ in range(2):
            results = check_domains(World(3, bug).run(), TREE, engine="monitor")
            said.append([(r.name, r.verdict, r.summary, r.text, r.evidence.get("counterexamples"))
                         for r in results])
        assert said[0] == said[1]


# --- small histories, every life tried -------------------------------------------------------

def drawn(seed: int, coordinates: bool) -> list[Answered]:
    """A small history of a working tree, then perhaps one answer of it changed."""
    rng = random.Random(f"{seed}{coordinates}")
    crash = 0.0 if coordinates else rng.choice((0.0, 0.2))
    log: list[tuple[int, str, int]] = []
    tokens: dict[int, int] = {}
    end = 0
    calls = []
    keys = rng.choice(("x", "xy", "xyz"))
    cuts: dict[int, int] = {}

    def at(key: str, until: int) -> int | None:
        return next((v for r, k, v in reversed(log) if k == key and r <= until), None)

    for number, (process, inv, ret) in enumerate(
            draw_intervals(rng, rng.randint(3, 8), rng.randint(2, 3), crash), 1):
        key = rng.choice(keys)
        f = rng.choice(("write", "read", "read-prefix", "read-prefix"))
        if f == "write":
            if ret is None and rng.random() < 0.4:
                calls.append(Answered(process, f, key, number, inv, None))
                continue                                    # it never takes effect
            end += rng.choice((1, 1, 2)) if coordinates else 1
            log.append((end, key, number))
            calls.append(Answered(process, f, key, number, inv, ret, 0,
                                  end if coordinates and ret is not None else None))
            place = end
        elif ret is None:
            continue
        else:
            token = tokens.get(process) if rng.random() < 0.6 else None
            if not coordinates and token is not None:
                token = 0
            floor = cuts.get(process, 0) if token is not None else 0
            place = end if f == "read" else rng.randint(floor, end)
            calls.append(Answered(process, f, key, at(key, place), inv, ret, 1,
                                  place if coordinates else None, token))
        if ret is not None:
            cuts[process] = max(cuts.get(process, 0), place)
            tokens[process] = max(tokens.get(process, 0), place if coordinates else 0)
    return changed(rng, calls, keys) if rng.random() < 0.6 else calls


def changed(rng: random.Random, calls: list[Answered], keys: str) -> list[Answered]:
    reads = [i for i, call in enumerate(calls) if call.f != "write"]
    if not reads:
        return calls
    i = rng.choice(reads)
    call = calls[i]
    written = [other.value for other in calls if other.f == "write" and other.key == call.key]
    how = rng.randrange(3)
    if how == 0 or call.rindex is None:
        return [*calls[:i], replace(call, value=rng.choice([None, *written])), *calls[i + 1:]]
    if how == 1:
        return [*calls[:i], replace(call, rindex=rng.randint(0, 8)), *calls[i + 1:]]
    i = rng.randrange(len(calls))
    moved = calls[i].rindex
    if moved is None:
        return calls
    other = replace(calls[i], rindex=max(1, moved + rng.choice((-1, 1))))
    return [*calls[:i], other, *calls[i + 1:]]


JUDGED = {"linearizable", "committed", "visibility", "prefix", "coordinates", "session"}


@pytest.mark.randomised
def test_with_coordinates_nothing_is_found_that_some_life_explains() -> None:
    impossible = found_ = 0
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        calls = drawn(seed, True)
        if calls:
            explained = possible(calls)
            found = broken(history_of(calls), PLAIN)
            assert found <= JUDGED
            assert not (found and explained), (seed, found, calls)
            impossible += not explained
            found_ += bool(found)
    assert impossible > HISTORIES // 10
    assert found_ > 0.97 * impossible, (found_, impossible)


@pytest.mark.randomised
def test_by_values_alone_nothing_is_found_that_some_life_explains() -> None:
    impossible = found_ = 0
    for seed in range(FIRST_SEED, FIRST_SEED + HISTORIES):
        calls = drawn(seed, False)
        if not calls:
            continue
        found = broken(history_of(calls), PLAIN)
        explained = possible(calls)
        assert not (found and explained), (seed, found, calls)
        impossible += not explained
        found_ += bool(found)
    assert impossible > HISTORIES // 10
    assert found_ > 0.97 * impossible, (found_, impossible)


# --- versions --------------------------------------------------------------------------------

@pytest.mark.randomised
def test_versions_are_those_of_the_plainest_definition() -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + 100):
        world = World(seed, random.Random(seed).choice(["", *BUGS]))
        view = View(world.run(), TREE)
        plain = twin(view)
        versions = view.versions
        for i, expected in plain.items():
            version = int(view.seen[i])
            assert int(versions.first[version]) == expected["first"], (seed, i)
            assert int(view.shown_late_at[i]) == expected["late"], (seed, i)
            assert int(view.behind[i]) <= expected["behind"], (seed, i)


def twin(view: View) -> dict[int, dict[str, Any]]:
    """What versions.pyx says of each read, by comparing all with all."""
    ops = view.operations
    never = (1 << 63) - 1
    floor = view.committed_before(ops.inv)
    found: dict[tuple[int, int], dict[str, Any]] = {}

    def version(i: int, value: int) -> dict[str, Any]:
        return found.setdefault((int(ops.key[i]), value), {
            "first": never, "least": None, "most": None, "lo": None, "inv": None, "writers": 0})

    for key in range(len(ops.keys)):
        found[key, view.initial] = {"first": -1, "least": None, "most": -1, "lo": None,
                                    "inv": None, "writers": 1}
    for i in range(len(ops)):
        cas = ops.kind[i] == 3
        if view.is_read[i] or (cas and view.ended[i]):
            one = version(i, int(ops.a[i]))
            one["first"] = min(one["first"], int(ops.ret[i]))
            # (a failed compare-and-set stands where its answer says, or before)
            if view.is_read[i] and not view.declined[i] and view.rindex[i] >= 0:
                one["lo"] = min(never if one["lo"] is None else one["lo"], int(view.rindex[i]))
        if not view.is_read[i]:
            one = version(i, int(ops.b[i] if cas else ops.a[i]))
            one["first"] = min(one["first"], int(ops.ret[i]))
            one["writers"] += 1
            one["inv"], one["least"] = int(ops.inv[i]), max(0, int(floor[i])) + 1
            one["most"] = int(view.rindex[i]) if view.rindex[i] >= 0 else None
    result = {}
    for i in np.flatnonzero(view.is_read).tolist():
        mine = found[int(ops.key[i]), int(ops.a[i])]
        ends_by = min([place for place in (mine["most"], mine["lo"]) if place is not None],
                      default=never)
        late, behind = never, 0
        for (key, value), other in found.items():
            if key != ops.key[i] or value == ops.a[i] or other["inv"] is None:
                continue
            ends_by = max(ends_by, mine["least"] or -1)
            by_time = max(mine["first"], mine["inv"] or -1) < other["inv"]
            seen = mine["lo"] if mine["lo"] is not None or mine["inv"] else -1
            behind_it = seen is not None and other["lo"] is not None and seen < other["lo"]
            if mine["writers"] == 1 and (by_time or other["least"] > ends_by or behind_it):
                late = min(late, other["first"])
                behind += other["first"] < ops.inv[i]
        result[i] = {"first": mine["first"], "late": late, "behind": behind}
    return result


def test_the_ages_of_a_world_are_never_more_than_they_were() -> None:
    """What is measured is a lower bound: a read in B is not older than the oldest entry missing."""
    from seatrial.checker.domains.events import events_of
    from seatrial.checker.domains.lag import measure

    for seed in range(20):
        world = World(seed, "slow", faults=False)
        view = View(world.run(), TREE)
        lag = measure(view, events_of(view.history))
        for i in np.flatnonzero(lag.reads).tolist():
            to = int(view.rindex[i])
            if to < len(world.log):
                oldest = view.begin_ns[i] - world.committed_ms[to] * 1_000_000
                assert lag.age_ns[i] <= max(0, oldest), (seed, i)
                assert lag.entries[i] <= len(world.log) - to
            else:
                assert lag.age_ns[i] == 0
