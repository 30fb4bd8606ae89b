"""The deadline wheel: never early, at most a tick late, nothing forgotten."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seatrial.harness.deadline import NEVER, TICK_NS, Timer, Wheel

MS = 1_000_000


def test_a_timer_fires_when_its_deadline_has_passed() -> None:
    wheel, timer = Wheel(), Timer()
    wheel.arm(timer, 100 * MS)
    assert wheel.expire(99 * MS) == []
    assert wheel.expire(100 * MS + TICK_NS) == [timer]
    assert wheel.expire(200 * MS) == []


def test_an_empty_wheel_has_nothing_to_wait_for() -> None:
    assert Wheel().next_ns() == NEVER


def test_a_disarmed_timer_does_not_fire() -> None:
    wheel, timer = Wheel(), Timer()
    wheel.arm(timer, 100 * MS)
    wheel.disarm(timer)
    assert wheel.expire(500 * MS) == []
    assert wheel.next_ns() == NEVER


def test_a_deadline_that_is_pushed_further_costs_no_new_place() -> None:
    wheel, timer = Wheel(), Timer()
    for now in range(1000):
        wheel.arm(timer, (5000 + now) * MS)
    assert sum(len(bucket) for bucket in wheel._buckets.values()) == 1
    assert wheel.expire(5000 * MS + 2 * TICK_NS) == []
    assert wheel.expire(5999 * MS + TICK_NS) == [timer]


def test_a_deadline_can_be_brought_forward() -> None:
    wheel, timer = Wheel(), Timer()
    wheel.arm(timer, 5000 * MS)
    wheel.arm(timer, 10 * MS)
    assert wheel.next_ns() <= 10 * MS + TICK_NS
    assert wheel.expire(10 * MS + TICK_NS) == [timer]
    assert wheel.expire(6000 * MS) == []


def test_a_timer_may_be_armed_again_after_it_fired() -> None:
    wheel, timer = Wheel(), Timer()
    for due in (10 * MS, 20 * MS):
        wheel.arm(timer, due)
        assert wheel.expire(due + TICK_NS) == [timer]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["arm", "disarm", "wait"]),
                          st.integers(0, 50 * MS)), max_size=60))
def test_the_wheel_agrees_with_a_list_of_deadlines(steps: list[tuple[int, str, int]]) -> None:
    wheel, timers, now = Wheel(), [Timer() for _ in range(5)], 0
    due: dict[int, int] = {}
    for which, action, amount in steps:
        if action == "arm":
            wheel.arm(timers[which], now + amount)
            due[which] = now + amount
        elif action == "disarm":
            wheel.disarm(timers[which])
            due.pop(which, None)
        else:
            now += amount
            fired = {timers.index(timer) for timer in wheel.expire(now)}
            assert all(due[i] <= now for i in fired), "fired early"
            assert {i for i, d in due.items() if d + TICK_NS <= now} <= fired, "fired late"
            for i in fired:
                del due[i]
        assert wheel.next_ns() <= min(due.values(), default=NEVER) + TICK_NS
