"""The scheduler against scripted clients: nothing lost, nothing late for ever, nothing hidden."""
from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from seatrial.harness import generator as gen
from seatrial.harness.errors import HarnessFailure
from seatrial.harness.generator import PENDING, Context, Generator, InvalidOp
from seatrial.harness.op import FAIL, INFO, INVOKE, NEMESIS, OK, Op
from seatrial.harness.scheduler import Scheduler

from .generator_shapes import R, W, forever, seen, values

MS = 1_000_000
Script = Callable[[Op], Awaitable[Op]]


async def at_once(op: Op) -> Op:
    return op.completed(OK, op.value)


async def never(op: Op) -> Op:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable")


class Scripted:
    """A client whose answers come from a function; remembers who was opened and closed."""

    def __init__(self, script: Script = at_once, *, refuse: int = 0) -> None:
        self.script = script
        self.refuse = refuse             # so many attempts to open fail
        self.opened: list[tuple[int, int]] = []
        self.closed: list[int] = []
        self.process = -1

    async def open(self, test: Any, node: int, process: int) -> Scripted:
        if self.refuse:
            self.refuse -= 1
            raise ConnectionRefusedError("nobody listens")
        self.opened.append((process, node))
        client = type(self)(self.script)
        client.opened, client.closed, client.process = self.opened, self.closed, process
        return client

    async def invoke(self, test: Any, op: Op) -> Op:
        return await self.script(op)

    async def close(self) -> None:
        self.closed.append(self.process)


def a_test(concurrency: int = 2, *, op_timeout_ms: int = 10_000, nodes: int = 3) -> Any:
    return SimpleNamespace(seed=1, nodes=["n"] * nodes, concurrency=concurrency,
                           op_timeout_ns=op_timeout_ms * MS)


def play(generator: Any, client: Any, test: Any = None, **options: Any) -> list[Op]:
    """Run a generator to its end and return the history, checked for what always holds."""
    history: list[Op] = []

    async def main() -> None:
        async with Scheduler(test or a_test(), client, history.append, **options) as scheduler:
            await scheduler.run(generator)
    asyncio.run(main())
    check_history(history)
    return history


def check_history(history: list[Op]) -> None:
    """Check that each invocation has exactly one completion, by the same process."""
    flying: dict[int, Op] = {}
    for op in history:
        if op.process == NEMESIS:
            continue
        if op.type == INVOKE:
            assert op.process not in flying
            flying[op.process] = op
        else:
            assert flying.pop(op.process).f == op.f
    assert not flying


def clients_only(history: list[Op]) -> list[Op]:
    return [op for op in history if op.process != NEMESIS]


class Breaker:
    """A nemesis that answers from a function."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script

    async def invoke(self, test: Any, op: Op) -> Op:
        return await self.script(op) if self.script else op.completed(INFO, "done")


class TestOperations:
    def test_each_operation_is_invoked_and_completed(self) -> None:
        history = play(gen.clients(values(3)), Scripted(), a_test(1))
        assert seen(history, "type", "value", "process") == [
            (INVOKE, 0, 0), (OK, 0, 0), (INVOKE, 1, 0), (OK, 1, 0), (INVOKE, 2, 0), (OK, 2, 0)]
        times = seen(history, "time_ns")
        assert times == sorted(times)

    def test_all_clients_work_at_the_same_time(self) -> None:
        together = asyncio.Barrier(5)

        async def meet(op: Op) -> Op:
            await together.wait()
            return op.completed(OK)
        history = play(gen.clients(gen.repeat(R, 10)), Scripted(meet), a_test(5))
        assert seen(history, "type")[:5] == [INVOKE] * 5
        assert len(history) == 20

    def test_clients_prefer_nodes_in_turn(self) -> None:
        client = Scripted()
        play(gen.clients(gen.each_thread(R)), client, a_test(5, nodes=3))
        assert sorted(client.opened) == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]
        assert sorted(client.closed) == [0, 1, 2, 3, 4]

    def test_a_client_is_opened_with_its_first_operation_only(self) -> None:
        client = Scripted()
        play(gen.on_threads([0], gen.repeat(R, 3)), client)
        assert client.opened == [(0, 0)]

    def test_an_invocation_is_recorded_before_its_client_hears_of_it(self) -> None:
        history: list[Op] = []
        heard: list[int] = []

        async def look(op: Op) -> Op:
            heard.append(len(history))
            return op.completed(OK)

        async def main() -> None:
            async with Scheduler(a_test(1), Scripted(look), history.append) as scheduler:
                await scheduler.run(gen.clients(gen.repeat(R, 3)))
        asyncio.run(main())
        assert heard == [1, 3, 5]

    def test_a_late_operation_keeps_the_time_when_it_was_due(self) -> None:
        async def slow(op: Op) -> Op:
            await asyncio.sleep(0.05)
            return op.completed(OK)
        history = play(gen.clients(gen.delay(0.001, gen.limit(3, forever("r")))),
                       Scripted(slow), a_test(1))
        due = [op.time_ns for op in history if op.type == INVOKE]
        assert [d - due[0] for d in due] == [0, MS, 2 * MS]
        latency = history[-1].time_ns - due[-1]
        assert latency > 140 * MS

    def test_what_is_due_within_a_tick_of_the_loops_timers_is_due_now(
            self, monkeypatch: pytest.MonkeyPatch) -> None:
        hour_ns = 3600 * 1000 * MS
        monkeypatch.setattr("seatrial.harness.scheduler.GRAIN_NS", hour_ns)
        invoked, completed = play(gen.clients({"f": "read", "time_ns": hour_ns}), Scripted())
        assert invoked.time_ns <= completed.time_ns < hour_ns

    def test_an_operation_due_later_starts_then(self) -> None:
        invoked, _ = play(gen.clients({"f": "read", "time_ns": 30 * MS}), Scripted())
        assert 29 * MS <= invoked.time_ns <= 30 * MS

    def test_the_generator_hears_of_every_event(self) -> None:
        heard: list[tuple[str, bool]] = []

        def listen(this: Generator, test: Any, ctx: Context, event: Op) -> Generator:
            heard.append((event.type, bool(ctx.free & 1)))
            return this
        play(gen.clients(gen.on_update(listen, gen.repeat(R, 2))), Scripted(), a_test(1))
        assert heard == [(INVOKE, False), (OK, True)] * 2

    def test_listeners_hear_of_every_event(self) -> None:
        heard: list[Op] = []
        history = play(gen.clients(values(3), {"f": "kill"}), Scripted(), listeners=[heard.append],
                       nemeses={"nemesis": Breaker()})
        assert heard == history

    def test_a_second_generator_goes_on_with_the_same_processes(self) -> None:
        history: list[Op] = []
        client = Scripted()

        async def crash(op: Op) -> Op:
            return op.completed(INFO if op.f == "write" else OK)

        async def main() -> None:
            client.script = crash
            async with Scheduler(a_test(1), client, history.append) as scheduler:
                await scheduler.run(gen.clients(W))
                await scheduler.run(gen.clients(R))
        asyncio.run(main())
        assert seen(history, "f", "process") == [
            ("write", 0), ("write", 0), ("read", 1), ("read", 1)]

    def test_a_generator_that_is_pending_is_asked_again(self) -> None:
        asked: list[int] = []

        class Reluctant(Generator, frozen=True):
            def op(self, test: Any, ctx: Context) -> Any:
                asked.append(ctx.time_ns)
                return PENDING if len(asked) < 4 else None
        assert play(Reluctant(), Scripted()) == []
        assert len(asked) == 4

    def test_a_message_is_logged_and_no_event(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            assert play([gen.log("half time")], Scripted()) == []
        assert "half time" in caplog.messages

    def test_nothing_is_done_for_nothing(self) -> None:
        client = Scripted()
        assert play(None, client) == []
        assert client.opened == []

    @pytest.mark.parametrize("concurrency", [1, 7, 64])
    def test_many_operations_of_mixed_fates_are_all_accounted_for(self, concurrency: int) -> None:
        fates = iter(range(10**6))

        async def fate(op: Op) -> Op:
            n = next(fates)
            if n % 3:
                await asyncio.sleep(0)
            if n % 11 == 0:
                raise ConnectionResetError("gone")
            return op.completed((OK, FAIL, INFO, OK, OK)[n % 5])
        history = play(gen.clients(gen.limit(2000, forever("r"))), Scripted(fate),
                       a_test(concurrency))
        assert sum(op.type == INVOKE for op in history) == 2000
        crashed = [op.process for op in history if op.type == INFO]
        assert len(crashed) == len(set(crashed)) > 300


class TestUnknownOutcomes:
    def test_after_info_the_thread_goes_on_as_its_next_process_with_a_fresh_client(self) -> None:
        async def crash(op: Op) -> Op:
            return op.completed(INFO, error="maybe")
        client = Scripted(crash)
        history = play(gen.on_threads([1], gen.repeat(R, 3)), client, a_test(2, nodes=2))
        assert seen(history, "process", "type") == [
            (1, INVOKE), (1, INFO), (3, INVOKE), (3, INFO), (5, INVOKE), (5, INFO)]
        assert client.opened == [(1, 1), (3, 1), (5, 1)]
        assert sorted(client.closed) == [1, 3, 5]

    def test_a_client_that_raises_is_info_with_class_and_message(self) -> None:
        async def fall(op: Op) -> Op:
            raise ZeroDivisionError("by nothing")
        history = play(gen.clients(gen.once(W)), Scripted(fall))
        assert seen(history, "type", "error") == [
            (INVOKE, None), (INFO, "ZeroDivisionError: by nothing")]

    def test_a_client_that_cancels_itself_is_info_at_once(self) -> None:
        async def cancelled(op: Op) -> Op:
            inner = asyncio.get_running_loop().create_future()
            inner.cancel()
            await inner
            raise AssertionError("unreachable")
        history = play(gen.on_threads([0], [R, R]), Scripted(cancelled))
        assert seen(history, "type", "process", "error") == [
            (INVOKE, 0, None), (INFO, 0, "CancelledError"),
            (INVOKE, 2, None), (INFO, 2, "CancelledError")]

    def test_an_operation_without_an_answer_is_info_when_its_time_is_over(self) -> None:
        client = Scripted(never)
        history = play(gen.on_threads([0], [R, R]), client, a_test(2, op_timeout_ms=30))
        assert seen(history, "type", "process", "error") == [
            (INVOKE, 0, None), (INFO, 0, "timeout: no answer within 0.03 s"),
            (INVOKE, 2, None), (INFO, 2, "timeout: no answer within 0.03 s")]
        assert sorted(client.closed) == [0, 2]
        for invoked, gave_up in ((history[0], history[1]), (history[2], history[3])):
            assert gave_up.time_ns - invoked.time_ns >= 30 * MS

    def test_an_answer_after_that_time_changes_nothing(
            self, caplog: pytest.LogCaptureFixture) -> None:
        async def stubborn(op: Op) -> Op:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                return op.completed(OK, "too late")
            raise AssertionError("unreachable")
        history = play(gen.on_threads([0], [R, R]), Scripted(stubborn), a_test(op_timeout_ms=20))
        assert seen(history, "type") == [INVOKE, INFO, INVOKE, INFO]
        assert caplog.messages == [], "its worker outlived its answer"

    def test_a_client_that_will_not_be_cancelled_is_left_behind(
            self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("seatrial.harness.scheduler.CLOSE_TIMEOUT_S", 0.02)
        release = asyncio.Event()

        async def immovable(op: Op) -> Op:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    asyncio.get_running_loop().call_later(0.05, release.set)
            return op.completed(OK)
        history = play(gen.on_threads([0], R), Scripted(immovable), a_test(op_timeout_ms=20))
        assert seen(history, "type") == [INVOKE, INFO]
        assert any("process 0 did not close within 0.02 s" in line for line in caplog.messages)

    def test_a_client_that_fails_to_close_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        class Sticky(Scripted):
            async def close(self) -> None:
                raise OSError("stuck")
        play(gen.on_threads([0], R), Sticky())
        assert "process 0: its client did not close: OSError: stuck" in caplog.messages


class TestUnreachable:
    def test_a_client_that_cannot_be_opened_certainly_did_nothing(self) -> None:
        client = Scripted(refuse=1)
        history = play(gen.on_threads([0], [R, R]), client)
        assert seen(history, "type", "process", "error") == [
            (INVOKE, 0, None), (FAIL, 0, "no-client: ConnectionRefusedError: nobody listens"),
            (INVOKE, 0, None), (OK, 0, None)]

    def test_its_thread_rests_longer_after_each_failure(self) -> None:
        history = play(gen.on_threads([0], [R, R, R]), Scripted(refuse=2))
        invoked = [op.time_ns for op in history if op.type == INVOKE]
        failed = [op.time_ns for op in history if op.type == FAIL]
        assert invoked[1] - failed[0] >= 100 * MS
        assert invoked[2] - failed[1] >= 200 * MS

    def test_opening_takes_no_longer_than_an_operation_may(self) -> None:
        class Slow(Scripted):
            async def open(self, test: Any, node: int, process: int) -> Scripted:
                self.opened.append((process, node))
                if len(self.opened) == 1:
                    await asyncio.get_running_loop().create_future()
                return self
        client = Slow()
        history = play(gen.on_threads([0], [R, R]), client, a_test(op_timeout_ms=30))
        assert seen(history, "type", "process", "error") == [
            (INVOKE, 0, None), (FAIL, 0, "no-client: timeout: no answer within 0.03 s"),
            (INVOKE, 0, None), (OK, 0, None)]


class TestNemesis:
    def test_faults_are_events_of_the_nemesis_and_always_info(self) -> None:
        history = play(gen.nemesis({"f": "kill", "value": "n1"}), Scripted(),
                       nemeses={"nemesis": Breaker()})
        assert seen(history, "process", "type", "f", "value") == [
            (NEMESIS, INFO, "kill", "n1"), (NEMESIS, INFO, "kill", "done")]

    def test_lanes_overlap_and_share_the_nemesis_process_in_the_history(self) -> None:
        both = asyncio.Barrier(2)

        async def meet(op: Op) -> Op:
            await both.wait()
            return op.completed(INFO)
        lanes = {"nemesis": Breaker(meet), "nemesis:slow": Breaker(meet)}
        history = play(gen.nemesis(gen.each_thread({"f": "kill"})), Scripted(), nemeses=lanes)
        assert seen(history, "process") == [NEMESIS] * 4

    def test_each_lane_drives_its_own_nemesis(self) -> None:
        done: list[str] = []

        def doing(name: str) -> Breaker:
            async def do(op: Op) -> Op:
                done.append(f"{name} {op.f}")
                return op.completed(INFO)
            return Breaker(do)
        play([gen.on_threads("nemesis:x", {"f": "cut"}), gen.on_threads("nemesis", {"f": "kill"})],
             Scripted(), nemeses={"nemesis": doing("main"), "nemesis:x": doing("x")})
        assert sorted(done) == ["main kill", "x cut"]

    def test_a_fault_that_raises_is_told_in_the_history(self) -> None:
        async def fail(op: Op) -> Op:
            raise HarnessFailure("n1: no route")
        history = play(gen.nemesis([{"f": "kill"}, {"f": "heal"}]), Scripted(),
                       nemeses={"nemesis": Breaker(fail)})
        assert seen(history, "f", "error") == [
            ("kill", None), ("kill", "HarnessFailure: n1: no route"),
            ("heal", None), ("heal", "HarnessFailure: n1: no route")]

    def test_a_fault_that_hangs_is_given_up_on_and_its_lane_goes_on(self) -> None:
        async def hang(op: Op) -> Op:
            return await never(op) if op.f == "kill" else op.completed(INFO)
        history = play(gen.nemesis([{"f": "kill"}, {"f": "heal"}]), Scripted(),
                       nemeses={"nemesis": Breaker(hang)}, nemesis_timeout_ns=30 * MS)
        assert seen(history, "f", "error") == [
            ("kill", None), ("kill", "timeout: no answer within 0.03 s"),
            ("heal", None), ("heal", None)]

    def test_a_late_fault_is_recorded_when_it_starts(self) -> None:
        async def slow(op: Op) -> Op:
            await asyncio.sleep(0.03)
            return op.completed(INFO)
        history = play(gen.nemesis(gen.delay(0.001, gen.limit(2, forever("kill")))), Scripted(),
                       nemeses={"nemesis": Breaker(slow)})
        assert history[2].time_ns >= history[1].time_ns

    def test_a_sleep_keeps_a_lane_busy(self) -> None:
        history = play(gen.nemesis([{"f": "a"}, gen.sleep(0.03), {"f": "b"}]), Scripted(),
                       nemeses={"nemesis": Breaker()})
        assert seen(history, "f") == ["a", "a", "b", "b"]
        assert history[2].time_ns - history[1].time_ns >= 30 * MS


class TestEndings:
    def stopped(self, client: Any, test: Any, generator: Any, **options: Any) -> list[Op]:
        """Run a generator, stop when the first operation was invoked, and return the history."""
        history: list[Op] = []

        async def main() -> None:
            def stop_once(op: Op) -> None:
                asyncio.get_running_loop().call_soon(scheduler.stop)
            async with Scheduler(test, client, history.append, listeners=[stop_once],
                                 **options) as scheduler:
                await scheduler.run(generator)
        asyncio.run(main())
        check_history(history)
        return history

    def test_stop_lets_what_is_in_flight_finish(self) -> None:
        async def slow(op: Op) -> Op:
            await asyncio.sleep(0.05)
            return op.completed(OK)
        history = self.stopped(Scripted(slow), a_test(3), gen.clients(forever("r")))
        assert seen(history, "type") == [INVOKE] * 3 + [OK] * 3

    def test_stop_ends_what_takes_longer_than_an_operation_may(self) -> None:
        history = self.stopped(Scripted(never), a_test(2, op_timeout_ms=30),
                               gen.clients(forever("r"), {"f": "kill"}),
                               nemeses={"nemesis": Breaker(never)})
        ends = [op for op in history if op.error]
        assert len(ends) == 3
        assert {op.type for op in ends} == {INFO}

    def test_stop_does_not_wait_for_sleeps(self) -> None:
        history = self.stopped(Scripted(), a_test(1), gen.clients(
            gen.once(R), gen.sleep(10_000)), nemeses={"nemesis": Breaker()})
        assert seen(history, "type") == [INVOKE, OK]

    def test_after_stop_nothing_more_runs(self) -> None:
        history: list[Op] = []

        async def main() -> None:
            async with Scheduler(a_test(), Scripted(), history.append) as scheduler:
                scheduler.stop()
                await scheduler.run(gen.clients(forever("r")))
                await scheduler.run(gen.clients(R))
        asyncio.run(main())
        assert history == []

    def test_a_run_that_is_cancelled_leaves_no_operation_open(self) -> None:
        history: list[Op] = []
        client = Scripted(never)

        async def main() -> None:
            begun = asyncio.Event()
            async with Scheduler(a_test(2), client, history.append,
                                 listeners=[lambda op: begun.set()]) as scheduler:
                run = asyncio.create_task(scheduler.run(gen.clients(forever("r"))))
                await begun.wait()
                await asyncio.sleep(0)
                run.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await run
        asyncio.run(main())
        check_history(history)
        assert {op.error for op in history if op.type != INVOKE} <= {
            "the run ended before this operation did",
            "no-client: the run ended before this operation did"}

    def test_an_answer_that_came_before_the_end_is_told(self) -> None:
        history: list[Op] = []

        async def main() -> None:
            async def end_it(op: Op) -> Op:
                if op.f == "read":
                    return await never(op)
                run.cancel()
                return op.completed(OK, "in time")
            async with Scheduler(a_test(2), Scripted(end_it), history.append) as scheduler:
                run = asyncio.create_task(scheduler.run(gen.clients([R, W])))
                await asyncio.wait([run])
                assert run.cancelled()
        asyncio.run(main())
        assert seen(history, "f", "type", "value") == [
            ("read", INVOKE, None), ("write", INVOKE, None),
            ("write", OK, "in time"), ("read", INFO, None)]

    def test_an_error_of_the_generator_ends_the_run_with_it(self) -> None:
        asked = iter(range(3))

        def break_later() -> Any:
            if next(asked) == 2:
                raise KeyError("broken generator")
            return R
        history: list[Op] = []

        async def main() -> None:
            async with Scheduler(a_test(3), Scripted(never), history.append) as scheduler:
                await scheduler.run(gen.clients(break_later))
        with pytest.raises(KeyError, match="broken generator"):
            asyncio.run(main())
        check_history(history)
        assert len(history) == 4

    def test_whoever_breaks_at_an_invocation_leaves_it_completed(self) -> None:
        for by_listener in (True, False):
            history: list[Op] = []
            heard: list[Any] = []

            def break_at_the_second(*args: Any, heard: list[Any] = heard) -> Any:
                heard.append(args)
                if len(heard) >= 2:
                    raise KeyError("no such gauge")
                return args[0]
            load = [R, R, R]
            listeners = [break_at_the_second] if by_listener else []
            generator = gen.clients(load if by_listener else gen.on_update(
                break_at_the_second, load))

            async def main(generator: Any, listeners: Any, history: list[Op]) -> None:
                async with Scheduler(a_test(), Scripted(), history.append,
                                     listeners=listeners) as scheduler:
                    await scheduler.run(generator)
            with pytest.raises(KeyError, match="no such gauge"):
                asyncio.run(main(generator, listeners, history))
            check_history(history)
            assert seen(history, "type") == [INVOKE, INVOKE, FAIL, FAIL]

    def test_a_generator_that_gives_work_to_a_busy_process_ends_the_run(self) -> None:
        class Greedy(Generator, frozen=True):
            def op(self, test: Any, ctx: Context) -> Any:
                return Op("read", process=0, time_ns=ctx.time_ns), self
        with pytest.raises(InvalidOp, match=r"wants process 0 to do 'read'; free .* \[1\]"):
            play(Greedy(), Scripted(never))

    @pytest.mark.parametrize("answer", [
        None, Op("write", process=0, type=OK), Op("read", process=9, type=OK),
        Op("read", process=0, type=INVOKE), Op("read", process=0, type="okay")])
    def test_an_answer_that_is_no_completion_ends_the_run_naming_the_client(
            self, answer: Any) -> None:
        async def nonsense(op: Op) -> Any:
            return answer
        with pytest.raises(HarnessFailure, match=r"client Scripted answered .* to 'read' of"):
            play(gen.on_threads([0], R), Scripted(nonsense))

    def test_a_history_that_cannot_be_written_ends_the_run(self) -> None:
        def full(op: Op) -> None:
            raise HarnessFailure("history.arrow: no space left")

        async def main() -> None:
            async with Scheduler(a_test(), Scripted(), full) as scheduler:
                await scheduler.run(gen.clients(R))
        with pytest.raises(HarnessFailure, match="no space left"):
            asyncio.run(main())

    def test_the_history_is_flushed_while_nothing_happens(self) -> None:
        async def main() -> None:
            flushed = asyncio.Event()
            async with Scheduler(a_test(1), Scripted(never), lambda op: None,
                                 flush=flushed.set) as scheduler:
                run = asyncio.create_task(scheduler.run(gen.clients(R)))
                await flushed.wait()
                assert not run.done()
                run.cancel()
                await asyncio.wait([run])
        asyncio.run(main())

    def test_no_task_outlives_the_scheduler(self) -> None:
        async def main() -> None:
            async with Scheduler(a_test(4), Scripted(), lambda op: None,
                                 nemeses={"nemesis": Breaker()}) as scheduler:
                await scheduler.run(gen.clients(gen.repeat(R, 20), {"f": "kill"}))
            assert asyncio.all_tasks() == {asyncio.current_task()}
        asyncio.run(main())
        gc.collect()
