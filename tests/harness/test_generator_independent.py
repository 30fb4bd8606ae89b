"""Independent keys: who works on which key, and that never too many are worked on."""
from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import pytest

from seatrial.harness import generator as gen
from seatrial.harness.errors import BadInput
from seatrial.harness.generator import Context, simulate
from seatrial.harness.op import INFO, INVOKE, OK, Op

from .generator_shapes import seen, values


def of_key(n: int) -> Any:
    return lambda key: values(n)


def most_keys_at_once(history: list[Op]) -> int:
    """Return how many keys had operations in flight at the same time, at most."""
    flying: dict[int, bytes | None] = {}
    most = 0
    for op in history:
        if op.type == INVOKE:
            flying[op.process] = op.key
            most = max(most, len(set(flying.values())))
        else:
            del flying[op.process]
    return most


def test_sequential_keys_come_one_after_the_other() -> None:
    made = simulate.perfect(gen.clients(gen.sequential_generator(["x", "y"], of_key(3))))
    assert seen(made, "key", "value", "time_ns") == [
        (b"x", 0, 0), (b"x", 1, 0), (b"x", 2, 10), (b"y", 0, 10), (b"y", 1, 20), (b"y", 2, 20)]


def test_sequential_keys_may_be_infinite_and_are_made_when_needed() -> None:
    asked: list[int] = []

    def of(key: int) -> Any:
        asked.append(key)
        return values(2)
    simulate.quick(gen.limit(5, gen.sequential_generator(itertools.count(), of)))
    assert asked == [0, 1, 2]


def test_each_key_has_threads_of_its_own() -> None:
    made = simulate.perfect(gen.concurrent_generator(2, range(3), of_key(4)), Context.start(6))
    threads = defaultdict(set)
    for op in made:
        threads[op.key].add(op.process)
    assert threads == {b"0": {0, 1}, b"1": {2, 3}, b"2": {4, 5}}
    assert {key: [op.value for op in made if op.key == key] for key in threads} == {
        key: [0, 1, 2, 3] for key in threads}


def test_a_group_takes_the_next_key_when_its_own_is_done() -> None:
    made = simulate.perfect(gen.concurrent_generator(1, "abc", of_key(2)), Context.start(2))
    assert seen(made, "key", "process", "time_ns") == [
        (b"a", 0, 0), (b"b", 1, 0), (b"a", 0, 10), (b"b", 1, 10), (b"c", 0, 20), (b"c", 0, 30)]


def test_the_nemesis_takes_no_part() -> None:
    made = simulate.perfect(gen.concurrent_generator(1, "abc", of_key(2)), Context.start(2))
    assert min(seen(made, "process")) == 0


def test_a_slow_operation_keeps_its_group_from_the_next_key() -> None:
    latency = {0: 1000, 1: 10}
    history = simulate.run(gen.concurrent_generator(2, "ab", of_key(3)),
                           lambda op, thread: (OK, latency[thread]), Context.start(2))
    assert most_keys_at_once(history) == 1
    first_b = next(op for op in history if op.key == b"b")
    assert first_b.time_ns == 1000


def test_at_most_so_many_keys_are_worked_on_at_once() -> None:
    slow = itertools.cycle([3, 70, 11, 5])
    history = simulate.run(
        gen.concurrent_generator(2, range(40), of_key(5), at_once=3),
        lambda op, thread: (INFO if op.value == 2 else OK, next(slow)), Context.start(9))
    assert most_keys_at_once(history) == 3
    assert {op.key for op in history} == {b"%d" % i for i in range(40)}
    assert {op.process % 9 for op in history} == {0, 1, 2, 3, 4, 5}


def test_keys_share_the_load_evenly() -> None:
    made = simulate.quick(gen.limit(100, gen.delay(1e-3, gen.concurrent_generator(
        1, range(5), lambda key: gen.repeat({"f": "read"})))), Context.start(5))
    assert sorted(seen(made, "key")) == sorted([b"%d" % i for i in range(5)] * 20)


def test_a_key_hears_of_its_own_events_only() -> None:
    made = simulate.perfect(gen.concurrent_generator(
        1, range(4), lambda key: gen.until_ok(gen.repeat({"f": "read"}))), Context.start(2))
    assert sorted(seen(made, "key")) == [b"0", b"1", b"2", b"3"]


def test_each_key_draws_for_itself() -> None:
    def draw(test: Any, ctx: Context) -> dict[str, Any]:
        return {"f": "write", "value": ctx.rng.below(10**9)}
    made = simulate.quick(gen.concurrent_generator(1, range(20), lambda key: gen.once(draw)),
                          Context.start(2))
    assert len(set(seen(made, "value"))) == 20


@pytest.mark.parametrize(("key", "expected"), [
    (b"\xff", b"\xff"), ("k\u00e4se", b"k\xc3\xa4se"), (7, b"7")])
def test_keys_are_bytes_text_or_numbers(key: Any, expected: bytes) -> None:
    assert seen(simulate.quick(gen.sequential_generator([key], of_key(1))), "key") == [expected]


@pytest.mark.parametrize(("threads", "at_once", "message"), [
    (3, None, "1 keys at once with 3 clients each need 3 clients, but there are 2"),
    (1, 5, "5 keys at once with 1 clients each need 5 clients, but there are 2"),
])
def test_too_few_clients_are_refused(threads: int, at_once: int | None, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        simulate.quick(gen.concurrent_generator(threads, "ab", of_key(1), at_once=at_once))


def test_clients_that_would_have_nothing_to_do_are_told() -> None:
    with pytest.raises(BadInput, match="5 clients can't be divided into groups of 2: 1 would"):
        simulate.quick(gen.concurrent_generator(2, "ab", of_key(1)), Context.start(5))
    assert len(simulate.quick(gen.concurrent_generator(2, "ab", of_key(1), at_once=2),
                              Context.start(5))) == 2


def test_no_threads_for_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        gen.concurrent_generator(0, "ab", of_key(1))
