"""Choice, timing, threads, transformations: exact sequences from the simulator."""
from __future__ import annotations

import itertools
import logging
from collections import Counter
from typing import Any

import pytest

from seatrial.harness import generator as gen
from seatrial.harness.errors import BadInput
from seatrial.harness.generator import PENDING, Context, InvalidOp, simulate
from seatrial.harness.generator.protocol import Answer, Generator
from seatrial.harness.op import INFO, INVOKE, OK, Op

from .generator_shapes import R, W, forever, seen, values

MS = 1_000_000


class Blocked(Generator, frozen=True):
    """Pending for ever."""

    def op(self, test: Any, ctx: Context) -> Answer:
        return PENDING


class TestChoice:
    def test_mix_draws_from_all_in_equal_parts(self) -> None:
        fs = Counter(seen(simulate.quick(gen.mix(forever("a"), forever("b"), forever("c")),
                                         max_ops=3000), "f"))
        assert set(fs) == {"a", "b", "c"}
        assert min(fs.values()) > 900

    def test_mix_takes_a_list_as_jepsen_does(self) -> None:
        assert set(seen(simulate.quick(gen.mix([forever("a"), forever("b")]), max_ops=50),
                        "f")) == {"a", "b"}

    def test_mix_goes_on_until_all_are_exhausted(self) -> None:
        made = seen(simulate.quick(gen.mix(gen.repeat({"f": "a"}, 5), gen.repeat({"f": "b"}, 10))),
                    "f")
        assert Counter(made) == {"a": 5, "b": 10}

    def test_mix_of_nothing_is_nothing(self) -> None:
        assert simulate.quick(gen.mix()) == []

    def test_mixes_within_mixes_draw_independently(self) -> None:
        pairs = gen.mix(gen.mix(forever("aa"), forever("ab")),
                        gen.mix(forever("ba"), forever("bb")))
        fs = Counter(seen(simulate.quick(pairs, max_ops=2000), "f"))
        assert min(fs[f] for f in ("aa", "ab", "ba", "bb")) > 400

    def test_mix_tells_its_children_of_events(self) -> None:
        assert len(simulate.perfect(gen.mix(gen.until_ok(forever("a"))),
                                    Context.start(1, ()))) == 1

    def test_weighted_draws_in_proportion(self) -> None:
        fs = Counter(seen(simulate.quick(gen.weighted([(9, forever("a")), (1, forever("b"))]),
                                         max_ops=2000), "f"))
        assert 120 < fs["b"] < 280

    def test_a_weight_below_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="weight must be at least 1, got 0"):
            gen.weighted([(0, R)])

    def test_any_takes_turns_where_all_can_go(self) -> None:
        made = simulate.quick(gen.any(gen.repeat({"f": "a"}, 3), forever("b")), max_ops=6)
        assert seen(made, "f") == ["a", "b", "a", "b", "a", "b"]

    def test_any_takes_the_soonest(self) -> None:
        made = simulate.perfect(gen.any(
            gen.on_threads([0], gen.delay(20e-9, gen.repeat({"f": "a"}, 3))),
            gen.on_threads([1], gen.delay(20e-9, gen.repeat({"f": "b"}, 3)))))
        assert seen(made, "f", "process", "time_ns") == [
            ("a", 0, 0), ("b", 1, 0), ("a", 0, 20), ("b", 1, 20), ("a", 0, 40), ("b", 1, 40)]

    def test_any_is_over_when_all_are(self) -> None:
        assert len(simulate.quick(gen.any(values(2), None, values(3)))) == 5

    def test_any_tells_all_of_all_events(self) -> None:
        made = simulate.perfect(gen.any(gen.on_threads([0], gen.until_ok(forever("a"))),
                                        gen.on_threads([1], gen.until_ok(forever("b")))))
        assert seen(made, "f", "process") == [("a", 0), ("b", 1)]

    def test_shortest_any_is_over_when_one_is(self) -> None:
        made = simulate.quick(gen.shortest_any(gen.repeat({"f": "a"}, 2), forever("b")))
        assert Counter(seen(made, "f")) == {"a": 2, "b": 1}

    def test_flip_flop_alternates_until_one_is_exhausted(self) -> None:
        made = simulate.perfect(gen.clients(gen.flip_flop(
            values(100), [{"f": "read", "value": "x"}, {"f": "read", "value": "y"}])))
        assert seen(made, "f", "value") == [
            ("write", 0), ("read", "x"), ("write", 1), ("read", "y"), ("write", 2)]


class TestTiming:
    def test_delay_spaces_operations_equally(self) -> None:
        made = simulate.perfect(gen.delay(3e-9, gen.limit(5, forever("w"))), Context.start(10))
        assert seen(made, "time_ns") == [0, 3, 6, 9, 12]

    def test_a_late_operation_keeps_its_due_time_and_the_schedule_catches_up(self) -> None:
        ctx = Context.start(1, ())
        history = simulate.perfect_history(gen.delay(3e-9, gen.limit(5, forever("w"))), ctx)
        assert seen(history, "type", "time_ns") == [
            (INVOKE, 0), (OK, 10), (INVOKE, 3), (OK, 20), (INVOKE, 6), (OK, 30),
            (INVOKE, 9), (OK, 40), (INVOKE, 12), (OK, 50)]

    def test_without_catching_up_nothing_is_due_in_the_past(self) -> None:
        ctx = Context.start(1, ())
        made = simulate.perfect(gen.delay(3e-9, gen.limit(4, forever("w")), catch_up=False), ctx)
        assert seen(made, "time_ns") == [0, 10, 20, 30]

    def test_stagger_keeps_the_total_rate_whatever_the_number_of_threads(self) -> None:
        for clients in (3, 30):
            made = simulate.perfect(gen.stagger(20e-9, gen.limit(1000, forever("w"))),
                                    Context.start(clients))
            last = made[-1].time_ns
            assert 18_000 < last < 22_000
            gaps = [b.time_ns - a.time_ns for a, b in itertools.pairwise(made)]
            assert 0 <= min(gaps) < 3
            assert 36 < max(gaps) < 40

    def test_stagger_catches_up_after_a_stall(self) -> None:
        latency = iter([1000] + [1] * 99)
        history = simulate.run(gen.stagger(10e-9, gen.limit(100, forever("w"))),
                               lambda op, thread: (OK, next(latency)), Context.start(1, ()))
        dues = seen([op for op in history if op.type == INVOKE], "time_ns")
        assert dues == sorted(dues)
        assert dues[1] < 20
        assert 800 < dues[-1] < 1200

    def test_stagger_of_zero_is_as_fast_as_can_be(self) -> None:
        assert seen(simulate.quick(gen.stagger(0, values(3))), "time_ns") == [0, 0, 0]

    def test_sleep_keeps_one_thread_busy(self) -> None:
        made = simulate.quick(gen.nemesis([gen.sleep(3), {"f": "start"}, gen.sleep(2),
                                           {"f": "stop"}]))
        assert seen(made, "f", "time_ns") == [("start", 3 * 10**9), ("stop", 5 * 10**9)]

    def test_time_limit_counts_from_its_first_operation(self) -> None:
        made = simulate.perfect(gen.clients([
            gen.time_limit(20e-9, forever("a")), gen.time_limit(10e-9, forever("b"))]),
            Context.start(1, ()))
        assert seen(made, "f", "time_ns") == [("a", 0), ("a", 10), ("b", 20)]

    def test_nothing_starts_after_the_limit_however_early_it_was_due(self) -> None:
        history = simulate.perfect_history(
            gen.time_limit(25e-9, gen.delay(1e-9, forever("w"))), Context.start(1, ()))
        assert [op.time_ns for op in history if op.type == OK] == [10, 20, 30]

    def test_a_sleep_is_cut_short_at_the_limit(self) -> None:
        made = simulate.perfect(gen.phases(
            gen.time_limit(5, gen.clients(gen.delay(1, forever("w")),
                                          [gen.sleep(3), {"f": "start"}, gen.sleep(100)])),
            gen.nemesis({"f": "heal"})))
        assert seen(made, "f", "time_ns")[-1] == ("heal", 5 * 10**9)

    def test_time_limit_ends_a_child_that_stays_pending(self) -> None:
        made = simulate.perfect([gen.time_limit(0.01, [R, Blocked()]), W])
        assert seen(made, "f") == ["read", "write"]
        assert made[1].time_ns >= 10 * MS

    def test_cycle_times_gives_each_its_time_and_keeps_their_places(self) -> None:
        made = simulate.perfect(gen.limit(8, gen.cycle_times(
            20e-9, gen.map(lambda op: op, [{"f": "a", "value": i} for i in range(20)]),
            10e-9, forever("b"))), Context.start(1, ()))
        assert seen(made, "f", "value", "time_ns") == [
            ("a", 0, 0), ("a", 1, 10), ("b", None, 20), ("a", 2, 30), ("a", 3, 40),
            ("b", None, 50), ("a", 4, 60), ("a", 5, 70)]

    def test_cycle_times_passes_over_one_that_has_nothing_due_in_its_turn(self) -> None:
        made = simulate.perfect(gen.cycle_times(
            10e-9, gen.delay(1e-6, gen.limit(2, forever("rare"))),
            10e-9, gen.limit(3, forever("often"))), Context.start(1, ()))
        assert seen(made, "f", "time_ns") == [
            ("rare", 0), ("often", 10), ("often", 30), ("often", 50)]

    @pytest.mark.parametrize("schedule", [(), (5,), (0, R)])
    def test_a_wrong_schedule_of_cycle_times_is_refused(self, schedule: Any) -> None:
        with pytest.raises(ValueError, match="cycle_times"):
            gen.cycle_times(*schedule)


class TestThreads:
    def test_clients_leave_the_nemesis_alone(self) -> None:
        made = simulate.perfect(gen.limit(5, gen.clients(forever("r"))))
        assert set(seen(made, "process")) == {0, 1}

    def test_nemesis_works_on_lanes_of_its_own(self) -> None:
        lanes = Context.start(2, ("nemesis", "nemesis:slow"))
        made = simulate.perfect(gen.limit(4, gen.nemesis(forever("kill"))), lanes)
        assert seen(made, "process", "time_ns") == [(-1, 0), (-3, 0), (-1, 10), (-3, 10)]

    def test_a_lane_is_addressed_by_its_name(self) -> None:
        lanes = Context.start(2, ("nemesis", "nemesis:slow"))
        made = simulate.perfect(gen.limit(2, gen.on_threads("nemesis:slow", forever("k"))), lanes)
        assert seen(made, "process") == [-3, -3]

    def test_clients_and_nemesis_go_side_by_side(self) -> None:
        made = simulate.perfect(gen.clients(gen.repeat(R, 3), gen.repeat({"f": "kill"}, 2)))
        assert Counter(seen(made, "f", "process")) == {
            ("read", 0): 2, ("read", 1): 1, ("kill", -1): 2}
        assert seen(made, "time_ns") == [0, 0, 0, 10, 10]

    def test_a_faults_generator_is_over_as_soon_as_its_last_operation_began(self) -> None:
        made = simulate.perfect([gen.nemesis(gen.once({"f": "kill"})), gen.clients(R)])
        assert seen(made, "f", "time_ns") == [("kill", 0), ("read", 0)]

    def test_threads_can_be_chosen_by_a_predicate(self) -> None:
        made = simulate.perfect(gen.limit(3, gen.on_threads(lambda t: t == 1, forever("r"))))
        assert seen(made, "process") == [1, 1, 1]

    @pytest.mark.parametrize(("which", "name"), [
        (["nemesis:x"], "nemesis:x"), (9, "9"), (lambda thread: False, "<lambda>")])
    def test_work_for_threads_that_do_not_exist_is_refused(self, which: Any, name: str) -> None:
        with pytest.raises(BadInput, match=f"meant for {name}: there are 0, 1, nemesis"):
            simulate.quick(gen.on_threads(which, R))

    def test_faults_without_a_nemesis_are_refused(self) -> None:
        with pytest.raises(BadInput, match="meant for the nemesis: there are 0, 1"):
            simulate.quick(gen.clients(R, {"f": "kill"}), Context.start(2, ()))
        assert len(simulate.quick(gen.clients(R, []), Context.start(2, ()))) == 1

    def test_work_goes_round_when_there_is_little_of_it(self) -> None:
        made = simulate.quick(gen.clients(gen.delay(1e-3, gen.limit(6, forever("r")))),
                              Context.start(3))
        assert seen(made, "process") == [0, 1, 2, 0, 1, 2]

    def test_each_thread_does_its_own_copy(self) -> None:
        made = simulate.perfect(gen.each_thread([{"f": "a"}, {"f": "b"}]))
        assert seen(made, "time_ns", "process", "f") == [
            (0, 0, "a"), (0, 1, "a"), (0, -1, "a"), (10, 0, "b"), (10, 1, "b"), (10, -1, "b")]

    def test_each_thread_is_over_when_all_copies_are(self) -> None:
        made = simulate.perfect(gen.clients([gen.each_thread(R), W]))
        assert seen(made, "f", "time_ns") == [("read", 0), ("read", 0), ("write", 10)]

    def test_each_threads_copy_hears_of_its_own_thread_only(self) -> None:
        made = simulate.perfect(gen.clients(gen.each_thread(gen.until_ok(forever("r")))))
        assert seen(made, "process") == [0, 1]

    def test_each_thread_draws_for_itself(self) -> None:
        def draw(test: Any, ctx: Context) -> dict[str, Any]:
            return {"f": "w", "value": ctx.rng.below(10**9)}
        made = simulate.perfect(gen.clients(gen.each_thread(gen.once(draw))), Context.start(5))
        assert len(set(seen(made, "value"))) == 5

    def test_each_thread_goes_on_under_its_next_process(self) -> None:
        made = simulate.perfect_info(gen.clients(gen.each_thread([R, W])), Context.start(1))
        assert seen(made, "f", "process") == [("read", 0), ("write", 1)]

    def test_each_process_starts_over_under_the_next_process(self) -> None:
        made = simulate.perfect_info(gen.limit(3, gen.clients(gen.each_process([R, W]))),
                                     Context.start(1))
        assert seen(made, "f", "process") == [("read", 0), ("read", 1), ("read", 2)]

    def test_reserve_divides_the_threads(self) -> None:
        made = simulate.perfect(gen.limit(12, gen.clients(gen.reserve(
            1, forever("a"), 2, forever("b"), forever("c")))), Context.start(6))
        assert {(op.process, op.f) for op in made} == {
            (0, "a"), (1, "b"), (2, "b"), (3, "c"), (4, "c"), (5, "c")}

    def test_reserve_shares_work_in_proportion_to_threads(self) -> None:
        made = simulate.quick(gen.limit(100, gen.clients(gen.delay(1e-3, gen.reserve(
            1, forever("a"), forever("b"))))), Context.start(5))
        assert Counter(seen(made, "f")) == {"a": 20, "b": 80}

    def test_reserve_is_over_when_all_parts_are(self) -> None:
        made = simulate.quick(gen.clients(gen.reserve(1, values(2), values(3))))
        assert len(made) == 5

    def test_each_part_of_reserve_hears_of_its_own_threads(self) -> None:
        made = simulate.perfect(gen.clients(gen.reserve(
            1, gen.until_ok(forever("a")), gen.until_ok(forever("b")))))
        assert seen(made, "f") == ["a", "b"]

    def test_reserving_too_many_threads_is_refused(self) -> None:
        with pytest.raises(BadInput, match=r"reserve: 5 threads are reserved, but there are 2"):
            simulate.quick(gen.clients(gen.reserve(5, R, W)))

    def test_reserving_without_a_rest_is_refused(self) -> None:
        with pytest.raises(ValueError, match="a generator for all other threads"):
            gen.reserve(5, R)

    def test_process_limit_counts_all_processes(self) -> None:
        made = simulate.perfect_info(gen.clients(gen.process_limit(5, forever("r"))))
        assert len(made) == 4
        assert set(seen(made, "process")) == {0, 1, 2, 3}

    def test_concurrency_limit_bounds_what_is_in_flight(self) -> None:
        made = simulate.perfect(gen.clients(gen.concurrency_limit(2, gen.repeat(R, 6))),
                                Context.start(5))
        assert seen(made, "time_ns") == [0, 0, 10, 10, 20, 20]

    def test_a_sleep_is_no_operation_in_flight(self) -> None:
        made = simulate.perfect(gen.clients(gen.concurrency_limit(1, [gen.sleep(1e-6), R])))
        assert seen(made, "time_ns") == [0]


class TestTransformations:
    def test_map_changes_each_operation(self) -> None:
        def double(op: Op) -> Op:
            op.value *= 2
            return op
        assert seen(simulate.quick(gen.map(double, values(3))), "value") == [0, 2, 4]

    def test_f_map_renames(self) -> None:
        made = simulate.quick(gen.f_map({"start": "start-partition"}, [{"f": "start"}, R]))
        assert seen(made, "f") == ["start-partition", "read"]

    def test_filter_drops_what_is_not_wanted(self) -> None:
        made = simulate.quick(gen.filter(lambda op: op.value % 2 == 0, values(6)))
        assert seen(made, "value") == [0, 2, 4]

    def test_on_update_may_change_course(self) -> None:
        def confirm(this: Generator, test: Any, ctx: Context, event: Op) -> Any:
            return {"f": "confirm", "value": event.value} if event.type == OK else this
        made = simulate.perfect(gen.clients(gen.limit(3, gen.on_update(
            confirm, gen.limit(2, forever("r"))))), Context.start(1))
        assert seen(made, "f", "time_ns") == [("r", 0), ("confirm", 10), ("confirm", 20)]

    def test_log_is_no_operation_and_takes_no_time(self) -> None:
        made = simulate.perfect(gen.phases(gen.log("begin"), R, gen.log("end")))
        assert seen(made, "f", "time_ns") == [("read", 0)]

    def test_trace_tells_what_passes(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            simulate.quick(gen.trace("clients", gen.once(R)), Context.start(1, ()))
        told = [record.getMessage() for record in caplog.records]
        assert told[0].startswith("clients: op at 0 ns, free [0]: Op(f='read'")
        assert any(line.startswith("clients: update at 0 ns") for line in told)
        assert told[-1].endswith("None")

    def test_what_a_valid_generator_makes_passes_unchanged(self) -> None:
        assert simulate.perfect(gen.validate(values(3))) == simulate.perfect(values(3))

    @pytest.mark.parametrize(("op", "problem"), [
        ("read", "expected an Op"),
        (Op("", process=0, time_ns=0), "f must be a name"),
        (Op("read", process=0, time_ns=-1), "time_ns must be an int, 0 or more"),
        (Op("read", process=7, time_ns=0), "no process 7"),
        (Op("read", process=-9, time_ns=0), "no process -9"),
        (Op("read", process=1, time_ns=0), "process 1 is busy"),
        (Op("read", type=OK, process=0, time_ns=0), "type must be invoke, sleep or log"),
    ])
    def test_an_answer_that_breaks_the_protocol_is_named(self, op: Any, problem: str) -> None:
        class Broken(Generator, frozen=True):
            def op(self, test: Any, ctx: Context) -> Answer:
                return op, gen.NOTHING
        ctx = Context.start(2).took(1, 0)
        with pytest.raises(InvalidOp, match=problem):
            gen.validate(Broken()).op(None, ctx)

    def test_an_answer_without_a_next_generator_is_named(self) -> None:
        class Broken(Generator, frozen=True):
            def op(self, test: Any, ctx: Context) -> Any:
                return Op("read", process=0, time_ns=0), None
        with pytest.raises(InvalidOp, match="NOTHING when it is exhausted"):
            gen.validate(Broken()).op(None, Context.start(1))


class TestSimulator:
    def test_imperfect_clients_fail_crash_and_succeed_in_turn(self) -> None:
        history = simulate.imperfect(gen.clients(gen.repeat(R, 3)), Context.start(1))
        assert seen(history, "type", "process") == [
            (INVOKE, 0), ("fail", 0), (INVOKE, 0), (INFO, 0), (INVOKE, 1), (OK, 1)]

    def test_a_generator_that_is_pending_for_ever_is_told(self) -> None:
        with pytest.raises(simulate.Stuck, match=r"pending at .* with nothing going on"):
            simulate.quick(Blocked())

    def test_asking_does_not_change_a_generator(self) -> None:
        tree = gen.lift(gen.stagger(1, gen.mix(forever("a"), forever("b")))).seeded(7)
        ctx = Context.start(3)
        assert tree.op(None, ctx) == tree.op(None, ctx)
        assert tree.op(None, ctx) is not PENDING
