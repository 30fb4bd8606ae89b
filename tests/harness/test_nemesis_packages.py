"""Packages: the schedule of faults that a seed gives, and composition."""
from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from seatrial.harness import generator as gen
from seatrial.harness.errors import BadInput
from seatrial.harness.generator import Context, simulate
from seatrial.harness.nemesis import Options, Package, Perf, compose, packages
from seatrial.harness.nemesis.catalogue import HOST_KINDS
from seatrial.harness.op import INFO, NEMESIS, Op

NAMES = tuple(HOST_KINDS)
OPERATION_NS = 400_000_000          # what starting or stopping a fault takes


def campaign(names: tuple[str, ...], options: Options, seed: int, limit_s: float) -> list[Op]:
    """Return the operations of a run of faults alone, heal included."""
    package = packages(names, options)
    whole = gen.phases(gen.time_limit(limit_s, package.generator), package.final_generator)
    ctx = Context.start(2, package.lanes)
    return [op for op in simulate.run(whole, lambda op, thread: (INFO, OPERATION_NS), ctx,
                                      seed=seed) if op.type == "invoke"]


def starts(ops: list[Op]) -> list[Op]:
    return [op for op in ops if op.value and op.value["action"] == "start"]


@pytest.mark.parametrize("seed", range(5))
def test_as_many_faults_as_names_contain_every_name(seed: int) -> None:
    names = [op.f for op in starts(campaign(NAMES, Options(), seed, 30 * len(NAMES)))]
    rounds = [names[i:i + len(NAMES)] for i in range(0, len(names) - len(NAMES), len(NAMES))]
    assert len(rounds) > 3
    assert all(sorted(names) == sorted(NAMES) for names in rounds)
    assert len({tuple(names) for names in rounds}) > 1


def test_a_minute_with_short_faults_holds_at_least_ten() -> None:
    options = Options(duration_s=2.5, gap_s=1.5, time_limit_s=60)
    assert min(len(starts(campaign(NAMES, options, seed, 60))) for seed in range(20)) >= 10


@pytest.mark.parametrize("seed", range(10))
def test_no_fault_starts_that_could_not_be_held_in_full(seed: int) -> None:
    ops = campaign(NAMES, Options(time_limit_s=60), seed, 60)
    assert ops[-1].f == "heal"
    assert [op.value["action"] for op in ops[:-1]] == ["start", "stop"] * (len(ops) // 2)
    without = starts(campaign(NAMES, Options(), seed, 60))
    assert 0 <= len(without) - len(starts(ops)) <= 1


def test_what_a_file_says_of_a_faults_strength_is_not_drawn() -> None:
    given = {"clock-drift": {"slow": 1, "apart": 1}}
    ops = starts(campaign(("kill", "clock-drift"), Options(parameters=given), 1, 60))
    assert {op.f for op in ops} == {"kill", "clock-drift"}
    for op in ops:
        assert op.value.get("parameters", {}) == given.get(op.f, {})


def test_no_time_for_a_single_fault_means_none() -> None:
    assert [op.f for op in campaign(NAMES, Options(time_limit_s=3), 1, 60)] == ["heal"]


def test_the_seed_decides_names_targets_and_times() -> None:
    def trace(seed: int) -> list[tuple[str, Any, int]]:
        return [(op.f, op.value, op.time_ns) for op in campaign(NAMES, Options(), seed, 60)]

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)
    assert len({op.value["seed"] for op in starts(campaign(NAMES, Options(), 1, 60))}) > 5


def test_a_fault_is_held_and_then_comes_peace_each_counted_from_the_end_of_the_last_step() -> None:
    options = Options(duration_s=4, gap_s=2, jitter=0.25)
    ops = campaign(NAMES, options, 3, 600)
    took = OPERATION_NS / 1e9
    for before, after in pairwise(ops[:-1]):
        mean = 4 if after.value["action"] == "stop" else 2
        waited = (after.time_ns - before.time_ns) / 1e9 - took
        assert mean * 0.75 <= waited <= mean * 1.25
        if after.value["action"] == "stop":
            assert (before.f, before.value["id"]) == (after.f, after.value["id"])


def test_one_lane_never_has_two_faults_at_once_and_three_lanes_have_three() -> None:
    for lanes in (1, 3):
        held: set[str] = set()
        most = 0
        for op in campaign(NAMES, Options(lanes=lanes), 1, 60)[:-1]:
            if op.value["action"] == "start":
                held.add(op.value["id"])
            else:
                held.remove(op.value["id"])
            most = max(most, len(held))
        assert most == lanes


def test_lanes_strike_with_different_faults() -> None:
    ops = starts(campaign(NAMES, Options(lanes=2), 1, 60))
    by_lane = [[op.f for op in ops if op.value["id"].startswith(lane)] for lane in "01"]
    assert by_lane[0][:5] != by_lane[1][:5]
    assert max(Counter(op.value["id"] for op in ops).values()) == 1


def test_a_campaign_ends_with_healing() -> None:
    assert campaign(NAMES, Options(), 1, 60)[-1].f == "heal"


def test_no_names_make_no_operations() -> None:
    assert campaign((), Options(), 1, 60) == []


def test_an_unknown_fault_is_refused_with_the_list_of_those_that_exist() -> None:
    with pytest.raises(BadInput, match=r"unknown fault 'partition-halve'; expected one of kill, "):
        packages(["kill", "partition-halve"])


@pytest.mark.parametrize(("options", "complaint"), [
    ({"duration_s": 0}, "duration_s is 0; expected more than 0"),
    ({"gap_s": -1}, "gap_s is -1"),
    ({"jitter": 1}, "jitter is 1"),
    ({"lanes": 0}, "lanes is 0"),
    ({"targets": ["two"]}, r"targets is \['two'\]; expected some of one, minority, majority"),
    ({"targets": []}, r"targets is \[\]"),
])
def test_options_out_of_range_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        Options(**options)


class Rain:
    """A user's own nemesis."""

    def __init__(self) -> None:
        self.fs = frozenset({"rain", "heal"})
        self.faults: list[Any] = []
        self.seen: list[str] = []

    async def setup(self, test: Any, record: Any) -> None:
        self.seen.append("setup")

    async def invoke(self, test: Any, op: Op) -> Op:
        self.seen.append(op.f)
        return op.completed(INFO)

    async def teardown(self, test: Any) -> list[Any]:
        self.seen.append("teardown")
        raise OSError("the roof leaks")


def test_packages_compose_and_each_operation_reaches_who_understands_it() -> None:
    rain, storm = Rain(), Rain()
    storm.fs = frozenset({"storm", "heal"})
    whole = compose([
        Package(nemesis, gen.on_threads("nemesis", gen.repeat({"f": nemesis_f})), gen.NOTHING,
                (Perf(nemesis_f, "weather"),))
        for nemesis, nemesis_f in ((rain, "rain"), (storm, "storm"))])
    assert [perf.name for perf in whole.perf] == ["rain", "storm"]
    assert whole.lanes == ("nemesis",)
    ops = simulate.perfect(gen.limit(20, whole.generator))
    assert {op.f for op in ops} == {"rain", "storm"}

    async def play() -> None:
        await whole.nemesis.setup(None, lambda op: None)    # type: ignore[arg-type]
        for f in ("rain", "storm", "heal"):
            await whole.nemesis.invoke(None, Op(f, process=NEMESIS))  # type: ignore[arg-type]
        hail = await whole.nemesis.invoke(None, Op("hail", process=NEMESIS))  # type: ignore[arg-type]
        assert hail.error == "no nemesis knows 'hail'"
        with pytest.raises(ExceptionGroup) as caught:
            await whole.nemesis.teardown(None)              # type: ignore[arg-type]
        assert len(caught.value.exceptions) == 2

    asyncio.run(play())
    assert rain.seen == ["setup", "rain", "heal", "teardown"]
    assert storm.seen == ["setup", "storm", "heal", "teardown"]


def test_two_nemeses_that_claim_the_same_fault_are_refused() -> None:
    one, two = (Package(Rain(), gen.NOTHING, gen.NOTHING, ()) for _ in range(2))
    with pytest.raises(BadInput, match="'rain': two of the composed nemeses claim it"):
        compose([one, two])
