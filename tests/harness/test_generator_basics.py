"""What lifts to a generator, order and number: exact sequences from the simulator."""
from __future__ import annotations

import itertools
from typing import Any

import pytest

from seatrial.harness import generator as gen
from seatrial.harness.generator import PENDING, Context, simulate
from seatrial.harness.op import INFO, INVOKE, OK, Op

from .generator_shapes import R, W, seen, values


class TestLifting:
    def test_none_makes_no_operation(self) -> None:
        assert simulate.perfect(None) == []

    def test_a_mapping_is_one_operation_with_time_and_process_filled_in(self) -> None:
        assert simulate.perfect(R) == [Op("read", process=0, time_ns=0)]

    def test_a_mapping_keeps_its_own_fields(self) -> None:
        made = simulate.perfect({"f": "cas", "value": [1, 2], "key": b"k", "process": 1})
        assert made == [Op("cas", [1, 2], b"k", process=1, time_ns=0)]

    def test_a_mapping_is_pending_while_all_threads_are_busy(self) -> None:
        ctx = Context.start(1, ()).took(0, 5)
        assert gen.lift(R).op(None, ctx) is PENDING

    def test_a_mapping_for_a_busy_process_is_pending(self) -> None:
        ctx = Context.start(2, ()).took(1, 5)
        assert gen.lift({"f": "read", "process": 1}).op(None, ctx) is PENDING
        assert gen.lift({"f": "read", "process": 0}).op(None, ctx) is not PENDING

    def test_a_mapping_due_later_starts_then(self) -> None:
        assert seen(simulate.perfect([{"f": "a", "time_ns": 100}, {"f": "b"}]), "f", "time_ns") == [
            ("a", 100), ("b", 100)]

    def test_an_operation_is_copied_each_time_it_is_made(self) -> None:
        op = Op("read", 3)
        made = simulate.perfect(gen.repeat(op, 2))
        assert op.process == -2
        assert op.time_ns == -1
        assert seen(made, "value", "process") == [(3, 0), (3, 1)]

    def test_a_function_is_called_until_it_returns_none(self) -> None:
        left = iter([R, W, None, R])
        assert seen(simulate.quick(lambda: next(left)), "f") == ["read", "write"]

    def test_a_function_may_return_an_operation(self) -> None:
        assert seen(simulate.quick(gen.limit(2, lambda: Op("read", 1))), "value") == [1, 1]

    def test_a_function_may_take_test_and_context(self) -> None:
        def write(test: Any, ctx: Context) -> dict[str, Any]:
            return {"f": "write", "value": (test.concurrency, ctx.time_ns)}
        assert seen(simulate.quick(gen.limit(1, write)), "value") == [(2, 0)]

    def test_a_function_that_returns_a_list_is_called_again_after_the_list(self) -> None:
        calls = itertools.count()
        made = simulate.quick(gen.limit(5, lambda: [
            {"f": "a", "value": next(calls)}, {"f": "b"}]))
        assert seen(made, "f", "value") == [("a", 0), ("b", None), ("a", 1), ("b", None), ("a", 2)]

    def test_a_function_that_returns_generators_for_ever_does_not_nest_them(self) -> None:
        n = 3000                                           # deeper than the stack
        assert len(simulate.quick(gen.limit(n, lambda: [R]))) == n

    def test_a_function_is_not_called_while_no_thread_is_free(self) -> None:
        ctx = Context.start(1, ()).took(0, 0)

        def never() -> None:
            raise AssertionError("called")
        assert gen.lift(never).op(None, ctx) is PENDING

    def test_an_infinite_iterator_is_read_as_far_as_needed(self) -> None:
        count = itertools.count()
        source = ({"f": "write", "value": i} for i in count)
        assert seen(simulate.quick(gen.limit(3, source)), "value") == [0, 1, 2]
        assert next(count) <= 4

    def test_an_iterator_can_be_asked_twice_for_the_same_place(self) -> None:
        lifted = gen.lift(iter(values(2)))
        ctx = Context.start(1, ())
        first, again = lifted.op(None, ctx), lifted.op(None, ctx)
        assert isinstance(first, tuple)
        assert isinstance(again, tuple)
        assert first[0] == again[0]
        assert seen(simulate.quick(first[1]), "value") == [1]
        assert seen(simulate.quick(again[1]), "value") == [1]

    @pytest.mark.parametrize("junk", [42, "read", {"read"}, [R, 42]])
    def test_anything_else_is_refused_with_what_was_expected(self, junk: Any) -> None:
        with pytest.raises(TypeError, match="can't make a generator of"):
            gen.lift(junk)

    @pytest.mark.parametrize("fields", [{"value": 1}, {"f": "read", "valeu": 1}])
    def test_a_mapping_with_wrong_fields_is_refused_naming_them(self, fields: Any) -> None:
        with pytest.raises(TypeError, match="expected 'f' and any of value, key"):
            gen.lift(fields)

    def test_a_function_with_three_parameters_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"called as f\(\) or f\(test, ctx\)"):
            gen.lift(lambda a, b, c: None)


class TestOrder:
    def test_a_list_goes_on_without_waiting_for_operations_in_flight(self) -> None:
        made = simulate.perfect([R, [W, None, R], W], Context.start(2, ()))
        assert seen(made, "f", "process", "time_ns") == [
            ("read", 0, 0), ("write", 1, 0), ("read", 0, 10), ("write", 1, 10)]

    def test_only_the_current_one_of_a_list_hears_of_events(self) -> None:
        made = simulate.quick([gen.until_ok(lambda: R), gen.limit(1, gen.until_ok(lambda: W))])
        assert seen(made, "f") == ["read", "write"]

    def test_synchronize_waits_for_all_its_threads(self) -> None:
        made = simulate.perfect(gen.clients([R, R, gen.synchronize(W)]))
        assert seen(made, "f", "time_ns") == [("read", 0), ("read", 0), ("write", 10)]

    def test_then_waits_for_the_first_to_complete(self) -> None:
        made = simulate.perfect(gen.clients(gen.then(gen.repeat(R, 3), W)))
        assert seen(made, "f", "time_ns") == [
            ("read", 0), ("read", 0), ("read", 10), ("write", 20)]

    def test_phases_wait_for_each_other(self) -> None:
        made = simulate.perfect(gen.clients(gen.phases(
            gen.repeat({"f": "a"}, 2), gen.repeat({"f": "b"}, 1), gen.repeat({"f": "c"}, 3))))
        assert seen(made, "f", "process", "time_ns") == [
            ("a", 0, 0), ("a", 1, 0), ("b", 0, 10), ("c", 1, 20), ("c", 0, 20), ("c", 1, 30)]

    def test_phases_hear_of_events(self) -> None:
        made = simulate.imperfect(gen.clients(gen.phases(
            gen.until_ok(gen.repeat(R)), W)), Context.start(1, ()))
        assert seen(made, "f", "type") == [
            ("read", INVOKE), ("read", "fail"), ("read", INVOKE), ("read", INFO),
            ("read", INVOKE), ("read", OK), ("write", INVOKE), ("write", "fail")]

    def test_a_faults_sleep_counts_for_a_phase_of_all_threads(self) -> None:
        made = simulate.perfect(gen.phases(gen.clients(R, gen.sleep(1e-6)), gen.clients(W)))
        assert seen(made, "f", "time_ns") == [("read", 0), ("write", 1000)]


class TestNumber:
    def test_limit_stops_after_so_many(self) -> None:
        assert len(simulate.quick(gen.limit(3, gen.repeat(R)))) == 3

    @pytest.mark.parametrize("n", [0, -1])
    def test_limit_of_nothing_makes_nothing(self, n: int) -> None:
        assert simulate.quick(gen.limit(n, R)) == []

    def test_limit_is_over_when_its_child_is(self) -> None:
        assert len(simulate.quick([gen.limit(5, values(2)), R])) == 3

    def test_once_makes_one_operation(self) -> None:
        assert seen(simulate.quick(gen.once(values(5))), "value") == [0]

    def test_repeat_makes_the_first_operation_again(self) -> None:
        assert seen(simulate.quick(gen.repeat(values(5), 3)), "value") == [0, 0, 0]

    def test_repeat_without_times_goes_on_for_ever(self) -> None:
        assert len(simulate.quick(gen.repeat(R), max_ops=500)) == 500

    def test_repeat_of_nothing_is_nothing(self) -> None:
        assert simulate.quick(gen.repeat(None)) == []

    def test_each_repetition_draws_anew(self) -> None:
        draw = gen.repeat(lambda test, ctx: {"f": "write", "value": ctx.rng.below(1000)}, 20)
        assert len(set(seen(simulate.quick(draw), "value"))) > 10

    def test_cycle_starts_over(self) -> None:
        assert seen(simulate.quick(gen.cycle(values(2), 3)), "value") == [0, 1, 0, 1, 0, 1]

    def test_cycle_of_an_iterator_starts_over(self) -> None:
        assert seen(simulate.quick(gen.cycle(iter(values(2)), 2)), "value") == [0, 1, 0, 1]

    def test_cycle_without_times_goes_on_for_ever(self) -> None:
        assert len(simulate.quick(gen.cycle([R, W]), max_ops=500)) == 500

    def test_cycle_of_nothing_is_nothing(self) -> None:
        assert simulate.quick(gen.cycle([None, []])) == []

    def test_each_round_of_a_cycle_draws_anew(self) -> None:
        def draw(test: Any, ctx: Context) -> dict[str, Any]:
            return {"f": "write", "value": ctx.rng.below(1000)}
        assert len(set(seen(simulate.quick(gen.cycle([gen.once(draw)], 20)), "value"))) > 10

    def test_until_ok_stops_after_the_first_success(self) -> None:
        history = simulate.imperfect(gen.clients(gen.until_ok(gen.repeat(R))), Context.start(1, ()))
        assert seen(history, "type", "process") == [
            (INVOKE, 0), ("fail", 0), (INVOKE, 0), (INFO, 0), (INVOKE, 1), (OK, 1)]

    def test_until_ok_takes_no_credit_for_others_successes(self) -> None:
        made = simulate.perfect(gen.any(
            gen.on_threads([0], gen.repeat(W, 3)),
            gen.limit(4, gen.until_ok(gen.on_threads([1], [{"f": "read", "time_ns": 15}, R])))))
        assert seen(made, "f", "time_ns") == [
            ("write", 0), ("write", 10), ("read", 15), ("write", 20), ]

    def test_until_ok_is_over_when_its_child_is(self) -> None:
        assert len(simulate.perfect_info([gen.until_ok([R, R]), W])) == 3
