"""What a seed draws: a mix of its own, strong or weak, always within what a test requires."""
from __future__ import annotations

from collections import Counter

import pytest

from seatrial.harness.nemesis.catalogue import SIM_KINDS
from seatrial.harness.sim.environment import FIELDS, LEASE_DRIFT_PPM, Environment
from seatrial.harness.sim.swarm import (
    CALM,
    FEATURES,
    FEATURES_OF_TREES,
    HOSTILE,
    NEED_SPARES,
    NOT_WITH_LEASES,
    PATTERNS,
    ROUGH,
    Swarm,
    draw,
)
from seatrial.harness.testfile import Spec, validated
from seatrial.harness.yamlfile import Document

SEEDS = range(400)
FILE = """
name: small
topology: {nodes: 7, spares: 2}
workload: {name: register}
time_limit: 60
faults: {names: [kill, partition-leader], duration: 2, gap: 0.9, lanes: 1}
"""
PATIENCE = "sim: {op_timeout: [0.2, 5]}\n"


def spec(extra: str = "") -> Spec:
    return validated(Document.parse("t.yml", FILE + extra))[1]


@pytest.fixture(scope="module")
def swarms() -> list[Swarm]:
    return [draw(spec(PATIENCE), seed) for seed in SEEDS]


def test_a_seed_draws_the_same_every_time_and_another_seed_something_else() -> None:
    assert draw(spec(), 5) == draw(spec(), 5)
    assert len({repr(draw(spec(), seed)) for seed in range(50)}) == 50


def test_every_seed_keeps_the_tests_own_faults_as_they_are(swarms: list[Swarm]) -> None:
    for swarm in swarms:
        own = swarm.courses[0]
        assert (own.names, own.duration_s, own.gap_s, own.jitter, own.bursts, own.quiet_s) == (
            ("kill", "partition-leader"), 2.0, 0.9, 0.2, 0.0, 0.0)


def test_further_faults_wait_until_the_tests_own_had_the_cluster_for_themselves(
    swarms: list[Swarm],
) -> None:
    assert all(course.quiet_s >= 10 for swarm in swarms for course in swarm.courses[1:])
    late = [course for swarm in swarms for course in swarm.courses if "disk-flip" in course.names]
    assert late
    assert all(course.quiet_s >= 40 and course.names == ("disk-flip",) for course in late)


def test_some_seeds_are_calm_and_some_are_hostile(swarms: list[Swarm]) -> None:
    moods = Counter(swarm.mood for swarm in swarms)
    assert set(moods) == {CALM, ROUGH, HOSTILE}
    assert min(moods.values()) > len(SEEDS) / 20
    assert all(len(swarm.courses) == 1 for swarm in swarms if swarm.mood == CALM)
    assert all(len(swarm.courses) > 1 for swarm in swarms if swarm.mood != CALM)


def test_every_feature_is_on_in_some_seeds_and_off_in_most(swarms: list[Swarm]) -> None:
    on = Counter(name for swarm in swarms for course in swarm.courses[1:] for name in course.names)
    assert set(on) == set(FEATURES)
    assert max(on.values()) < len(SEEDS) * 0.6
    many = [sum(len(course.names) for course in swarm.courses[1:]) for swarm in swarms
            if len(swarm.courses) > 1]
    assert (min(many), max(many)) in ((1, 8), (1, 9))


def test_every_seed_that_is_not_calm_has_a_pattern(swarms: list[Swarm]) -> None:
    for swarm in swarms:
        if swarm.mood != CALM:
            assert PATTERNS.keys() & set(swarm.courses[1].names)


def test_a_lying_disk_is_never_drawn(swarms: list[Swarm]) -> None:
    assert set(SIM_KINDS) - set(FEATURES) - set(FEATURES_OF_TREES) == {
        "disk-lost-writes", "partition-halves", "partition-one", "partition-majority",
        "partition-majorities-ring", "partition-bridge"}
    assert not any("disk-lost-writes" in swarm.names for swarm in swarms)


def test_fixed_parameters_are_those_of_the_kind_and_within_its_range(swarms: list[Swarm]) -> None:
    fixed = free = 0
    for course in (course for swarm in swarms for course in swarm.courses[1:]):
        assert set(course.parameters) == set(course.names)
        for name, given in course.parameters.items():
            ranges = SIM_KINDS[name].parameters
            assert all(ranges[key].low <= value <= ranges[key].high
                       for key, value in given.items())
            fixed, free = fixed + len(given), free + len(ranges) - len(given)
    assert fixed > 100
    assert free > 100


def test_surroundings_differ_in_everything_that_can_be_set(swarms: list[Swarm]) -> None:
    """Crash points are left to the fault of that name, so that they are told."""
    for field in FIELDS:
        values = {getattr(swarm.environment, field) for swarm in swarms}
        assert (len(values) > 1) == (not field.startswith("crash_")), field


def test_most_networks_and_disks_are_quick_and_none_is_hopeless(swarms: list[Swarm]) -> None:
    trips = sorted(2 * (e.latency_ns + e.jitter_ns) + e.sync_ns + e.sync_jitter_ns
                   for e in (swarm.environment for swarm in swarms))
    assert trips[len(trips) // 2] < 5_000_000
    assert trips[-1] < 60_000_000


def test_tiny_batches_go_with_short_trips(swarms: list[Swarm]) -> None:
    tiny = [swarm.environment for swarm in swarms if swarm.environment.max_batch_bytes < 1000]
    assert len(tiny) > len(SEEDS) / 20
    assert all(e.latency_ns + e.jitter_ns + e.sync_ns < 1_000_000 for e in tiny)


def test_what_a_file_says_of_the_surroundings_holds_for_every_seed() -> None:
    given = spec("sim: {environment: {latency_ns: 7, frames: true}}\n")
    for seed in range(50):
        drawn = draw(given, seed).environment
        assert (drawn.latency_ns, drawn.frames) == (7, True)


def test_without_a_swarm_all_seeds_are_alike() -> None:
    given = spec("sim: {swarm: false}\n")
    assert draw(given, 1) == draw(given, 2)
    assert draw(given, 1).environment == Environment()
    assert len(draw(given, 1).courses) == 1


def test_a_test_without_faults_gets_none() -> None:
    given = validated(Document.parse("t.yml", "name: s\nworkload: {name: register}\n"))[1]
    assert all(draw(given, seed).names == [] for seed in range(50))
    assert draw(given, 1).package(given).perf == ()


def test_the_package_has_a_lane_for_each_course(swarms: list[Swarm]) -> None:
    for swarm in swarms[:20]:
        package = swarm.package(spec())
        assert len(package.lanes) == len(swarm.courses)
        assert [perf.name for perf in package.perf] == swarm.names


def test_a_draw_is_in_whole_numbers_so_that_it_means_the_same_everywhere(
    swarms: list[Swarm],
) -> None:
    for swarm in swarms:
        for field in FIELDS:
            assert isinstance(getattr(swarm.environment, field), int | bool | tuple)


def test_where_leaders_have_leases_no_clock_jumps_or_is_off_by_more_than_they_stand(
    swarms: list[Swarm],
) -> None:
    leased = [swarm for swarm in swarms if swarm.environment.leases]
    assert len(SEEDS) / 5 < len(leased) < len(SEEDS) / 2
    assert all(swarm.environment.drift_ppm <= LEASE_DRIFT_PPM for swarm in leased)
    assert not any(set(swarm.names) & set(NOT_WITH_LEASES) for swarm in leased)
    assert any(set(swarm.names) & set(NOT_WITH_LEASES) for swarm in swarms)


def test_a_test_whose_own_faults_let_clocks_jump_has_no_leases() -> None:
    given = validated(Document.parse("t.yml", FILE.replace("kill,", "clock-bump,")))[1]
    assert not any(draw(given, seed).environment.leases for seed in SEEDS)


def test_where_members_change_no_disk_is_damaged_for_good(swarms: list[Swarm]) -> None:
    changing = [swarm for swarm in swarms if any(n.startswith("member-") for n in swarm.names)]
    assert len(changing) > len(SEEDS) / 5
    assert not any("disk-flip" in swarm.names for swarm in changing)


def test_without_spares_nobody_is_added() -> None:
    given = validated(Document.parse("t.yml", FILE.replace("spares: 2", "spares: 0")))[1]
    assert not any(set(draw(given, seed).names) & set(NEED_SPARES) for seed in SEEDS)
