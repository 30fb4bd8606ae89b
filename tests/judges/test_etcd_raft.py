"""Our Raft against etcd's: what is compared, and that a difference would be seen and made small.

``python -m tests.judges.etcd_raft`` compares more (make nightly: 10,000 schedules).
"""
from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from seatrial.core.raft import ROLES

from .disk import Disk
from .etcd_raft import Comparison, Judge, NoJudge, differences, read, report
from .ours import FEATURES, Cluster
from .schedules import Schedule, draw, shrink

pytestmark = pytest.mark.skipif("pre-candidate" not in ROLES, reason="our Raft has no pre-vote")
SCHEDULES = int(os.environ.get("SEATRIAL_ETCD_SCHEDULES", "300"))


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    try:
        process = Judge()
    except NoJudge as error:
        pytest.skip(str(error))
    with process:
        yield process


@pytest.mark.slow
@pytest.mark.randomised
@pytest.mark.timeout(3600)
def test_ours_and_etcds_hold_the_same_at_every_quiescent_point(judge: Judge) -> None:
    comparison = Comparison(judge)
    for seed in range(1, SCHEDULES + 1):
        schedule = draw(seed, features=FEATURES)
        assert len(schedule.steps) >= 200
        problem = comparison.run(schedule)
        if problem:
            small = comparison.smallest(schedule)
            pytest.fail(f"seed {seed}: {problem}\nthe smallest that differs; python -m "
                        f"tests.judges.etcd_raft --replay FILE runs it again:\n"
                        + report(small, comparison.run(small)))
    print(comparison.summary())
    assert not comparison.never(FEATURES), "never compared"


STORY = """
nodes 3 voters 3
campaign 1
settle
propose
settle
cut 1 2
cut 1 3
propose
propose
check 1
lapse 2
lapse 3
campaign 2
settle
propose
heal 1 2
heal 1 3
settle
"""


def test_a_leader_that_is_cut_off_loses_its_entries_in_both(judge: Judge) -> None:
    comparison = Comparison(judge)
    assert comparison.run(read(STORY)) == ""
    assert comparison.counts["conflicts"] == 1
    assert comparison.counts["elections"] == 2


BEHIND = """
nodes 4 voters 3
campaign 1
settle
propose
settle
crash 3
propose
propose
settle
compact 1 1
compact 2 0
tear 2
restart 2
settle
restart 3
part 1 3
compact 1 0
settle
propose
conf l4
settle
lapse 2
lapse 3
crash 1
crash 3
restart 3
lapse 3
campaign 3
settle
"""


def test_who_is_far_behind_is_sent_a_snapshot_in_both(judge: Judge) -> None:
    """Once broken off; to who came back and to a new member, which the snapshot doesn't know."""
    comparison = Comparison(judge)
    assert comparison.run(read(BEHIND)) == ""
    counts = comparison.counts
    assert counts["compactions"] == 2
    assert counts["snapshots"] == 2
    assert counts["broken transfers"] == 1
    assert counts["elections"] == 2


def test_a_state_that_a_snapshot_lost_is_a_difference(judge: Judge) -> None:
    """The judged side of this test forgets the log after the snapshot that it was sent."""
    before = Disk.trim

    def trim(self: Disk, first: int) -> None:
        if self.last > first:
            self.sums[-1] ^= 1
        before(self, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Disk, "trim", trim)
        assert "sum" in Comparison(judge).run(read(BEHIND))


def test_a_difference_is_found_and_made_small(judge: Judge) -> None:
    """The judged side of this test loses the votes of node 3."""
    comparison = Comparison(judge)
    before = Cluster.deliver

    def deliver(self: Cluster, a: int, b: int) -> bool:
        if a == 3 and self.queues[a, b]:
            self.queues[a, b] = []
            return True
        return before(self, a, b)

    schedule = Schedule(3, 3, ["propose", *read(STORY).steps])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "deliver", deliver)
        problem = comparison.run(schedule)
        assert problem
        small = comparison.smallest(schedule)
        assert 2 <= len(small.steps) <= 6, small.steps
        assert read(report(small, problem)) == small


def test_only_what_is_documented_may_differ() -> None:
    cluster = Cluster(1, 1)
    for step in ("campaign 1", "settle"):
        cluster.do(step)
    ours = cluster.states()[0]
    theirs = ours | {"floor": 0}
    assert differences(ours, theirs, 1) == []
    for key in ("term", "vote", "role", "leader", "commit", "last", "sum", "up", "first", "snap",
                "held"):
        assert differences(ours, theirs | {key: 7}, 8) == [key]
    assert differences(ours | {"commit": 0}, theirs | {"floor": 1}, 8) == []
    assert differences(ours, theirs | {"floor": 1, "commit": 0}, 8) == ["commit"]


def test_shrinking_keeps_what_fails() -> None:
    schedule = Schedule(3, 3, [str(n) for n in range(64)])
    small = shrink(schedule, lambda s: {"3", "40", "41"} <= set(s.steps))
    assert small.steps == ["3", "40", "41"]


def test_a_seed_means_one_schedule() -> None:
    assert draw(5, features=FEATURES) == draw(5, features=FEATURES)
    assert draw(5, features=FEATURES) != draw(6, features=FEATURES)
