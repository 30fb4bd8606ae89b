"""The scheduler: asks a generator what to do, has workers do it, and records what happened.

One task does everything that has an order: it takes completions, expires deadlines, and hands
out operations to all free workers, in one pass without an ``await``; then it sleeps until
something completes or is due. So the order of the history is the order of these steps: an
invocation is recorded before its client hears of it, a completion before anything that is
started because of it.

- Each invocation gets exactly one completion: the client's, or ``info`` when its time is over,
  when it raised, or when the run ends around it.
- An operation's time is when it was due, though it may start later, when a worker is free: its
  latency shows the queue. A fault's time is when it starts.
- After info a client's thread goes on as process + concurrency with a fresh client. A client
  that can't be opened is a ``fail`` (certainly did not happen), and its thread rests a while.
- A broken generator or client answer, a history that can't be written, or a bug of ours ends the
  run with that exception, after what was in flight has been recorded as info.
"""
from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from .deadline import NEVER, Timer, Wheel
from .generator import NOTHING, PENDING, Answer, Context, Generator, InvalidOp, lift
from .generator.protocol import LOG, SLEEP
from .op import FAIL, INFO, NEMESIS, Op
from .protocols import Client
from .rng import Rng
from .worker import MS, Lane, Nemesis, Worker

logger = logging.getLogger(__name__)

GRAIN_NS = MS                    # timers of event loops tick in milliseconds: what is due within a
                                 # tick is due now, or each latency had half a tick of ours in it
POLL_NS = 5 * MS                 # a pending generator is asked again after so long, at the latest
FLUSH_NS = 250 * MS
NEMESIS_TIMEOUT_NS = 120_000 * MS
CLOSE_TIMEOUT_S = 5.0


class TestLike(Protocol):
    """What the scheduler needs to know of a test; the rest is between clients and workload."""

    @property
    def seed(self) -> int:
        """Decides every draw of the generator."""

    @property
    def nodes(self) -> Sequence[Any]:
        """Clients prefer them in turn."""

    @property
    def concurrency(self) -> int:
        """How many clients there are."""

    @property
    def op_timeout_ns(self) -> int:
        """After so long an operation's outcome counts as unknown."""


class Scheduler:
    """Runs generators with the clients and nemesis lanes of one test. An async context manager.

    record: takes each event, in order. flush: called every 250 ms, to let a history be written.
    listeners: hear each event after it was recorded.
    nemeses: lane (``nemesis``, ``nemesis:x``) -> what breaks things there.
    clock: returns ns. origin_ns: the start of the run on it; default: now.
    """

    def __init__(
        self, test: TestLike, client: Client, record: Callable[[Op], Any], *,
        nemeses: Mapping[str, Nemesis] | None = None, flush: Callable[[], Any] | None = None,
        listeners: Sequence[Callable[[Op], Any]] = (),
        clock: Callable[[], int] = time.monotonic_ns, origin_ns: int | None = None,
        nemesis_timeout_ns: int = NEMESIS_TIMEOUT_NS,
    ) -> None:
        self._test = test
        self._sink = record
        self._flush = flush
        self._listeners = tuple(listeners)
        self._clock = clock
        self._grain_ns = GRAIN_NS if clock is time.monotonic_ns else 0     # virtual time is exact
        self._origin_ns = clock() if origin_ns is None else origin_ns
        nemeses = nemeses or {}
        self._ctx = Context.start(test.concurrency, tuple(nemeses))
        self._prototypes = [client] * test.concurrency + [Lane(n) for n in nemeses.values()]
        self._limits_ns = ([test.op_timeout_ns] * test.concurrency
                           + [nemesis_timeout_ns] * len(nemeses))
        self._gen: Generator = NOTHING
        self._promise: tuple[Generator | None, Context | None, Answer] = None, None, None
        self._runs = 0
        self._workers: list[Worker] = []
        self._retired: set[asyncio.Task[None]] = set()
        self._done: deque[tuple[Worker, Op, int]] = deque()
        self._in_flight = 0
        self._wheel = Wheel()
        self._flush_timer = Timer()
        self._stop_timer = Timer()
        self._stopping = False
        self._bug: BaseException | None = None
        self._wakeup: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ns = NEVER

    async def __aenter__(self) -> Self:
        self._workers = [self._hire(thread, process)
                         for thread, process in enumerate(self._ctx.processes)]
        if self._flush is not None:
            self._wheel.arm(self._flush_timer, self.now_ns() + FLUSH_NS)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self._close()

    def now_ns(self) -> int:
        """Return nanoseconds since the start of the run."""
        return self._clock() - self._origin_ns

    def stop(self) -> None:
        """Ask for nothing more; what is in flight may take its time, but at most op_timeout."""
        if not self._stopping:
            self._stopping = True
            self._wheel.arm(self._stop_timer, self.now_ns() + self._test.op_timeout_ns)
            self._wake()

    async def run(self, generator: Any) -> None:
        """Do all that a generator wants; return when it is exhausted and everything completed.

        May be called again: processes and clients go on from where they were.
        """
        seed = Rng(self._test.seed).split(f"generator {self._runs}").next64()
        self._runs += 1
        self._gen = lift(generator).seeded(seed)
        try:
            while (wake_ns := self._pass()) is not None:
                await self._sleep_until(wake_ns)
        except BaseException:
            self._gen, self._listeners = NOTHING, ()     # one of them may be what broke
            self._take_completions()             # an answer that came is told, whatever broke
            self._give_up_on_all("the run ended before this operation did")
            raise
        finally:
            if self._flush is not None:
                self._flush()

    # ---- one pass

    def _pass(self) -> int | None:
        """Do all that can be done now; return when to look again, None when all is done."""
        if self._bug is not None:
            raise self._bug
        self._take_completions()
        for timer in self._wheel.expire(self.now_ns()):
            self._expired(timer)
        if self._stopping:
            self._end_sleeps()
        wake_ns = self._hand_out()
        if wake_ns is None and not self._in_flight:
            return None
        return min(self._wheel.next_ns(), NEVER if wake_ns is None else wake_ns)

    def _take_completions(self) -> None:
        while self._done:
            self._complete(*self._done.popleft())

    def _hand_out(self) -> int | None:
        """Start all that is due; return when more is due, None if nothing will ever be."""
        while self._ctx.free:
            if self._stopping:
                return None
            now_ns = self._clock() - self._origin_ns
            answer = self._gen.op(self._test, self._ctx.at(now_ns))
            if answer is None:
                return None
            if answer is PENDING:
                return now_ns + POLL_NS
            op = answer[0]
            if op.time_ns > now_ns:
                if op.time_ns - now_ns > self._grain_ns:
                    return op.time_ns - self._grain_ns
                op.time_ns = now_ns
            self._gen = answer[1]
            self._start(op, now_ns)
        return NEVER

    def _start(self, op: Op, now_ns: int) -> None:
        thread = self._ctx.thread_of(op.process)
        if not self._ctx.free >> thread & 1 or self._ctx.processes[thread] != op.process:
            raise InvalidOp(f"the generator wants process {op.process} to do {op.f!r}; free "
                            f"threads are {self._ctx.free_threads} of {self._ctx.workers}")
        if op.type == LOG:
            logger.info("%s", op.value)
            return
        worker = self._workers[thread]
        self._ctx = self._ctx.took(thread, now_ns)
        self._in_flight += 1
        if op.type == SLEEP:
            worker.sleeping = True
            self._wheel.arm(worker, now_ns + round(op.value * 1e9))
            return
        if op.process < 0:
            op.time_ns = now_ns
        if worker.addresses:
            worker.address(op)
        event = self._record(op)
        self._wheel.arm(worker, now_ns + self._limits_ns[thread])
        worker.give(op)                          # from here on, whatever breaks, it gets completed
        self._tell(event, op)

    def _complete(self, worker: Worker, completion: Op, time_ns: int) -> None:
        assert worker.op is not None, f"process {worker.process} completed {completion} twice"
        worker.op = None
        self._wheel.disarm(worker)
        self._in_flight -= 1
        thread = worker.thread
        completion.time_ns = time_ns
        if worker.pause_ns:
            self._ctx = self._ctx.at(time_ns)
            self._wheel.arm(worker, time_ns + worker.pause_ns)
        else:
            self._ctx = self._ctx.freed(thread, time_ns)
        self._tell(self._record(completion), completion)
        if completion.type == INFO and worker.process >= 0:
            self._ctx = self._ctx.crashed(thread)
            self._replace(worker)

    def _expired(self, timer: Timer) -> None:
        if not isinstance(timer, Worker):
            if timer is self._stop_timer:
                self._give_up_on_all("the run was stopped")
            elif self._flush is not None:
                self._flush()
                self._wheel.arm(timer, self.now_ns() + FLUSH_NS)
        elif timer.op is not None:
            limit_s = self._limits_ns[timer.thread] / 1e9
            self._give_up_on(timer, f"timeout: no answer within {limit_s:g} s")
        else:                                    # it slept, or rested after a failure to open
            self._in_flight -= timer.sleeping
            timer.sleeping = False
            self._ctx = self._ctx.freed(timer.thread, self.now_ns())

    def _end_sleeps(self) -> None:
        for worker in self._workers:
            if worker.sleeping:
                self._wheel.disarm(worker)
                self._expired(worker)

    # ---- endings

    def _give_up_on(self, worker: Worker, reason: str) -> None:
        """Complete an operation in its client's stead: info, or fail if it never got there."""
        op = worker.op
        assert op is not None, f"process {worker.process} has nothing to give up"
        worker.task.cancel()
        if worker.invoking:
            self._complete(worker, op.completed(INFO, op.value, reason), self.now_ns())
            if worker.process < 0:
                self._replace(worker)
        else:
            worker.pause_ns = worker.next_pause_ns()
            self._complete(worker, op.completed(FAIL, op.value, f"no-client: {reason}"),
                           self.now_ns())
            self._replace(worker)

    def _give_up_on_all(self, reason: str) -> None:
        for worker in list(self._workers):
            if worker.op is not None:
                self._give_up_on(worker, reason)

    def _hire(self, thread: int, process: int) -> Worker:
        node = thread % max(len(self._test.nodes), 1)
        worker = Worker(self._test, self._prototypes[thread], thread, process, node, self._report)
        worker.task.add_done_callback(self._ended)
        return worker

    def _replace(self, worker: Worker) -> None:
        """Let a new worker take the thread, under the thread's present process."""
        thread = worker.thread
        successor = self._hire(thread, self._ctx.processes[thread])
        successor.pause_ns = worker.pause_ns
        self._workers[thread] = successor
        self._retired.add(worker.task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Hear that a worker's task is over: an exception in it ends the run."""
        self._retired.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._bug = self._bug or task.exception()
            self._wake()

    async def _close(self) -> None:
        """Close all clients. One that doesn't is left behind, and said so."""
        if self._alarm is not None:
            self._alarm.cancel()
        for worker in self._workers:
            worker.retire()
        tasks = self._retired | {worker.task for worker in self._workers}
        _, late = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
        for task in late:
            task.cancel()
        if late:
            logger.warning("%s did not close within %g s", ", ".join(
                sorted(task.get_name() for task in late)), CLOSE_TIMEOUT_S)
            await asyncio.wait(late, timeout=1.0)

    # ---- events and sleep

    def _record(self, op: Op) -> Op:
        """Put an event into the history; return it as it is there.

        All lanes are the nemesis there, and always info.
        """
        if op.process < 0:
            op = Op(op.f, op.value, op.key, INFO, NEMESIS, op.time_ns, op.error, op.node,
                    op.domain, op.rindex, op.epoch, op.term, confirmed=op.confirmed)
        self._sink(op)
        return op

    def _tell(self, event: Op, op: Op) -> None:
        """Tell listeners and the generator of an event."""
        for listener in self._listeners:
            listener(event)
        if self._gen.hears:
            self._gen = self._gen.update(self._test, self._ctx, op)

    def _report(self, worker: Worker, completion: Op) -> None:
        """Take a worker's completion; it is dealt with in the next pass."""
        self._done.append((worker, completion, self._clock() - self._origin_ns))
        self._wake()

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _sleep_until(self, wake_ns: int) -> None:
        """Sleep until something happens, or it is ``wake_ns``; sometimes a little less."""
        loop = asyncio.get_running_loop()
        self._wakeup = loop.create_future()
        if wake_ns < self._alarm_ns:             # else the alarm that is set rings early enough
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = loop.call_later(max(0, wake_ns - self.now_ns()) / 1e9, self._ring)
            self._alarm_ns = wake_ns
        await self._wakeup

    def _ring(self) -> None:
        self._alarm, self._alarm_ns = None, NEVER
        self._wake()
