"""The virtual event loop: asyncio as anywhere, time as the world says, nothing from outside."""
from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from seatrial.core.errors import InvariantViolation
from seatrial.harness.sim.loop import Foreign, SimLoop, Stuck

from .sim_timeline import Timeline

T = TypeVar("T")
HOUR = 3600.0


@pytest.fixture
def loop() -> Iterator[SimLoop]:
    made = SimLoop(Timeline())
    yield made
    made.close()


def line_of(comment: str) -> str:
    """Return ``file:line`` of the one line in this file that ends in a comment."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    numbers = [n for n, line in enumerate(lines, 1) if line.endswith(f"  # {comment}")]
    assert len(numbers) == 1, numbers
    return f"{__file__}:{numbers[0]}"


def test_time_passes_only_when_all_have_had_their_turns(loop: SimLoop) -> None:
    async def main() -> list[float]:
        began = loop.time()
        await asyncio.sleep(HOUR)
        seen = [loop.time() - began]
        for _ in range(5):
            await asyncio.sleep(0)
        return [*seen, loop.time() - began]

    assert loop.run_until_complete(main()) == [HOUR, HOUR]


def test_a_timer_is_exact_to_the_nanosecond(loop: SimLoop) -> None:
    async def main() -> int:
        await asyncio.sleep(0.123456789)
        await asyncio.sleep(59.000000001)
        return loop.world.now_ns

    assert loop.run_until_complete(main()) == 59_123_456_790


def test_what_becomes_ready_first_runs_first(loop: SimLoop) -> None:
    heard: list[str] = []

    async def say(name: str, *delays: float) -> None:
        for delay in delays:
            await asyncio.sleep(delay)
            heard.append(name)

    async def main() -> None:
        await asyncio.gather(say("a", 2, 2), say("b", 1, 1, 1), say("c", 0, 2, 2))

    loop.run_until_complete(main())
    assert heard == ["c", "b", "a", "c", "b", "b", "a", "c"]


def test_timeouts_cancel_at_their_virtual_time(loop: SimLoop) -> None:
    async def main() -> float:
        with suppress(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.sleep(HOUR)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_future(), 3)
        async with asyncio.timeout(HOUR):
            await asyncio.sleep(1)
        return loop.time()

    assert loop.run_until_complete(main()) == 11.0


def test_queues_events_and_groups_work_as_anywhere(loop: SimLoop) -> None:
    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        done = asyncio.Event()

        async def produce() -> None:
            for number in range(5):
                await queue.put(number)
                await asyncio.sleep(1)
            done.set()

        async def consume() -> list[int]:
            await done.wait()
            return [*got, queue.get_nowait()]

        got: list[int] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            last = group.create_task(consume())
            for _ in range(4):
                got.append(await queue.get())  # noqa: PERF401
        return last.result()

    assert loop.run_until_complete(main()) == [0, 1, 2, 3, 4]


def test_context_variables_follow_their_tasks(loop: SimLoop) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who")

    async def say(name: str) -> str:
        who.set(name)
        await asyncio.sleep(1)
        return who.get()

    async def main() -> list[str]:
        return await asyncio.gather(say("a"), say("b"))

    assert loop.run_until_complete(main()) == ["a", "b"]


def test_a_cancelled_callback_is_not_made(loop: SimLoop) -> None:
    heard: list[int] = []

    async def main() -> None:
        for handle in (loop.call_soon(heard.append, 1), loop.call_later(1, heard.append, 2),
                       loop.call_at(2, heard.append, 3)):
            assert not handle.cancelled()
            handle.cancel()
            assert handle.cancelled()
        await asyncio.sleep(3)

    loop.run_until_complete(main())
    assert heard == []


def test_what_the_world_raises_comes_out_and_no_coroutine_can_hide_it(loop: SimLoop) -> None:
    def break_it() -> None:
        raise InvariantViolation("two leaders in term 3")

    async def main() -> None:
        while True:
            with suppress(Exception):
                await asyncio.sleep(1)

    loop.world.call_at(5, break_it)
    with pytest.raises(InvariantViolation, match="two leaders in term 3"):
        loop.run_until_complete(main())


def test_close_gives_coroutines_a_last_turn_but_no_time(loop: SimLoop) -> None:
    ended: list[str] = []

    async def polite() -> None:
        try:
            await asyncio.sleep(HOUR)
        finally:
            ended.append("polite")

    async def late() -> None:
        try:
            await asyncio.sleep(HOUR)
        finally:
            await asyncio.sleep(1)
            ended.append("late")

    async def main() -> list[asyncio.Task[None]]:
        tasks = [loop.create_task(late()), loop.create_task(polite())]
        await asyncio.sleep(1)
        return tasks

    tasks = loop.run_until_complete(main())
    loop.close()
    assert ended == ["polite"]
    assert [task.done() for task in tasks] == [False, True]
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(polite_future := asyncio.Future(loop=loop))
    assert not polite_future.done()


# What is not of this world. Each coroutine tries to hide what happened, as a client may.

async def hiding(coroutine: Coroutine[Any, Any, Any]) -> None:
    try:
        await coroutine
    except Exception:
        await asyncio.sleep(HOUR)


async def connects() -> None:
    await asyncio.open_connection("127.0.0.1", 1)  # sockets


async def starts_a_process() -> None:
    await asyncio.create_subprocess_exec("true")  # processes


async def uses_a_thread() -> None:
    await asyncio.to_thread(print)  # threads


async def watches_a_file() -> None:
    asyncio.get_running_loop().add_reader(0, print)  # files


async def listens_to_signals() -> None:
    asyncio.get_running_loop().add_signal_handler(2, print)  # signals


@pytest.mark.parametrize(("coroutine", "what", "where"), [
    (connects, "create_connection", "sockets"),
    (starts_a_process, "subprocess_exec", "processes"),
    (uses_a_thread, "run_in_executor", "threads"),
    (watches_a_file, "add_reader", "files"),
    (listens_to_signals, "add_signal_handler", "signals"),
])
def test_awaiting_what_is_outside_ends_the_run_and_names_the_line(
    loop: SimLoop, coroutine: Any, what: str, where: str,
) -> None:
    with pytest.raises(Foreign) as told:
        loop.run_until_complete(hiding(coroutine()))
    assert str(told.value).startswith(
        f"{line_of(where)} ({coroutine.__name__}): {what} is no part of the simulated world")
    assert loop.world.now_ns == 0


def test_a_future_of_another_loop_ends_the_run_and_names_the_line(loop: SimLoop) -> None:
    other = SimLoop(Timeline())
    foreign = other.create_future()

    async def waits() -> None:
        await foreign  # another loop

    with pytest.raises(Foreign) as told:
        loop.run_until_complete(asyncio.wait_for(hiding(waits()), HOUR))
    assert str(told.value).startswith(
        f"{line_of('another loop')} (waits): a future of another event loop is no part")
    other.close()


def test_a_wait_that_nothing_can_end_is_told_with_who_waits_where(loop: SimLoop) -> None:
    async def forgets() -> None:
        await loop.create_future()  # for ever

    async def main() -> None:
        await asyncio.sleep(1.5)
        await asyncio.wait([loop.create_task(forgets(), name="process 3")])

    with pytest.raises(Stuck) as told:
        loop.run_until_complete(main())
    said = str(told.value)
    assert said.startswith("nothing can happen any more at 1.500000 s; waiting: ")
    assert f"process 3 at {line_of('for ever')} (forgets)" in said


def test_a_result_from_another_thread_ends_the_run(loop: SimLoop) -> None:
    async def asks_a_thread() -> None:
        future = loop.create_future()

        def answer() -> None:
            with suppress(Foreign):
                loop.call_soon_threadsafe(future.set_result, 1)

        thread = threading.Thread(target=answer)
        thread.start()
        thread.join()
        await future

    with pytest.raises(Foreign, match=r"\(answer\): call_soon_threadsafe is no part"):
        loop.run_until_complete(asks_a_thread())


def test_a_loop_in_which_time_stands_still_is_told(
    loop: SimLoop, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seatrial.harness.sim.loop.MOST_CALLBACKS", 1000)

    async def spins() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match=r"^time stands still at 0\.000000 s: 1,000 callbacks"):
        loop.run_until_complete(spins())
