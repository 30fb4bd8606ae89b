"""An event loop for asyncio whose time is a world's: nothing in it waits, and all of it repeats.

The harness's own coroutines (scheduler, workers, workloads, nemesis) run on it unchanged. What is
ready runs first, in the order in which it became ready; then the world's next event happens,
which moves its clock and may make something ready; and so on. Timers are events of the world.

There are no sockets, threads, processes or signals here: whatever awaits one of those would wait
for something outside, at a moment that no seed decides. Such an attempt ends the run with an
error that names the line which made it, whoever catches exceptions on the way. So does a future
of another loop, and a wait that nothing can end any more.
"""
from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterator, Sized
from itertools import repeat
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol, TypeVar, cast

from seatrial.core.errors import InvariantViolation

from ..errors import HarnessFailure

logger = logging.getLogger(__name__)

T = TypeVar("T")
MOST_CALLBACKS = 1_000_000       # at one moment of virtual time: more is a loop that never ends
MOST_NAMED = 10                  # of those who wait for ever
NOT_HERE = ("no part of the simulated world, where only the test's own clients, asyncio's timers "
            "and its futures can be awaited")


class Foreign(HarnessFailure):
    """Something was awaited that is not the simulated world's."""


class Stuck(HarnessFailure):
    """Somebody waits for what can't happen."""


class Timer(Protocol):
    """A callback that the world will make."""

    def cancel(self) -> None:
        """Don't."""


class Timeline(Protocol):
    """What the loop needs of a world."""

    @property
    def now_ns(self) -> int:
        """Virtual time."""

    def call_at(self, when_ns: int, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call back at that time."""

    def run(self, ready: Sized) -> bool:
        """Let events happen until ``ready`` is not empty; False when there is none any more."""


class Handle:
    """A callback that waits for its turn."""

    __slots__ = ("args", "callback", "context")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...],
                 context: contextvars.Context) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args
        self.context = context

    def cancel(self) -> None:
        """Don't call it."""
        self.callback = None

    def cancelled(self) -> bool:
        """Whether it won't be called."""
        return self.callback is None


class TimerHandle(Handle):
    """A callback for a later time."""

    __slots__ = ("timer", "when_ns")

    timer: Timer
    when_ns: int

    def cancel(self) -> None:
        """Don't call it, nor wait for its time."""
        self.callback = None
        self.timer.cancel()

    def when(self) -> float:
        """Return its time as the loop counts it."""
        return self.when_ns / 1e9


class SimLoop(asyncio.AbstractEventLoop):
    """See the module's docstring. ``run_until_complete``, then ``close``."""

    def __init__(self, world: Timeline) -> None:
        self.world = world
        self._ready: deque[Handle] = deque()
        self._make_ready = self._ready.append
        self._step_type: type | None = None
        self._broken: HarnessFailure | InvariantViolation | None = None
        self._running = False
        self._closed = False

    # ---- running

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Let virtual time pass until this is done; return its result.

        What the world raises comes out as it is, whatever the coroutines would make of it.
        """
        if self._running or self._closed:
            raise RuntimeError("this event loop is closed, or runs already")
        asyncio.events._set_running_loop(self)
        self._running = True
        try:
            main = asyncio.ensure_future(cast(Awaitable[T], future), loop=self)
            try:
                self._run_until(main)
            except BaseException:
                main.cancel()
                self._run_ready()                # a last turn, to end in order what it began
                raise
            return main.result()
        finally:
            self._running = False
            asyncio.events._set_running_loop(None)

    def _run_until(self, main: asyncio.Future[Any]) -> None:
        ready, run = self._ready, self.world.run
        while True:
            self._run_ready()
            if self._broken is not None:
                raise self._broken
            if main.done():
                return
            if not run(ready):
                raise self._stuck()

    def _run_ready(self) -> None:
        ready = self._ready
        for _ in repeat(None, MOST_CALLBACKS):
            if not ready:
                return
            handle = ready.popleft()
            if handle.callback is not None:
                handle.context.run(handle.callback, *handle.args)
        raise Stuck(f"time stands still at {self._now()}: {MOST_CALLBACKS:,} callbacks in a row "
                    f"made one another ready; {self._who_waits()}")

    def close(self) -> None:
        """End what is left: tasks are cancelled and get their turns, but no time any more."""
        if self._running:
            raise RuntimeError("a running event loop can't be closed")
        if self._closed:
            return
        self._closed = True
        asyncio.events._set_running_loop(self)
        try:
            for task in self._tasks():
                task.cancel()
            self._run_ready()
        finally:
            asyncio.events._set_running_loop(None)
        for task in self._tasks():
            task._log_destroy_pending = False    # type: ignore[attr-defined]

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._running

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def fail(self, error: HarnessFailure | InvariantViolation) -> None:
        """End the run with this error, whatever the coroutines do."""
        self._broken = self._broken or error
        self.call_soon(self.get_debug)           # so that the world hands over at once

    # ---- callbacks and time

    def call_soon(                                              # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None,
    ) -> Handle:
        """Call back once everything that is ready now has had its turn."""
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context)
        self._make_ready(handle)
        if type(callback) is self._step_type:
            self._look_for_foreign_futures(callback)
        return handle

    def call_later(                                             # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        """Call back after so many virtual seconds."""
        when_ns = self.world.now_ns + max(0, round(delay * 1e9))
        return self._at(when_ns, callback, args, context)

    def call_at(                                                # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        """Call back at that virtual time (in seconds, as ``time`` tells it)."""
        return self._at(max(self.world.now_ns, round(when * 1e9)), callback, args, context)

    def _at(self, when_ns: int, callback: Callable[..., Any], args: tuple[Any, ...],
            context: contextvars.Context | None) -> TimerHandle:
        handle = TimerHandle(callback, args,
                             contextvars.copy_context() if context is None else context)
        handle.when_ns = when_ns
        handle.timer = self.world.call_at(when_ns, self._make_ready, handle)
        return handle

    def time(self) -> float:
        """Return virtual seconds."""
        return self.world.now_ns / 1e9

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Return a task that runs a coroutine on this loop."""
        task = asyncio.Task(coro, loop=self, **options)
        self._step_type = type(self._ready[-1].callback)         # of its first step
        return task

    # ---- what asyncio asks of any loop

    def get_debug(self) -> bool:
        """asyncio's debug mode does not exist here."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what asyncio could tell nobody else, such as an exception in a forgotten task."""
        error = context.get("exception")
        logger.error("%s: %r", context["message"], context.get("task") or context.get("future"),
                     exc_info=error if isinstance(error, BaseException) else None)

    # ---- what is not of this world

    def refuse(self, what: str, where: str) -> NoReturn:
        """End the run: somebody wants something that only real worlds have."""
        error = Foreign(f"{where}: {what} is {NOT_HERE}")
        self.fail(error)
        raise error

    def _look_for_foreign_futures(self, step: Any) -> None:
        """Hear of a task that awaited a future of another loop.

        asyncio throws its complaint into that coroutine, in the step that it schedules here; a
        client's caller would take that for the outcome of an operation. Other steps that are
        not a future's wake-up are a task's first, and the one after ``sleep(0)``.
        """
        told = [held for held in gc.get_referents(step) if isinstance(held, RuntimeError)]
        if told:
            task = step.__self__
            error = Foreign(f"{awaiting(task)}: a future of another event loop is {NOT_HERE} "
                            f"({task.get_name()})")
            self.fail(error)

    def _stuck(self) -> Stuck:
        return Stuck(f"nothing can happen any more at {self._now()}; {self._who_waits()}")

    def _who_waits(self) -> str:
        waiting = [f"{task.get_name()} at {awaiting(task)}" for task in self._tasks()]
        more = f", and {len(waiting) - MOST_NAMED} more" if len(waiting) > MOST_NAMED else ""
        return f"waiting: {', '.join(waiting[:MOST_NAMED])}{more}"

    def _tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that are not done, by name: asyncio keeps them in no order."""
        return sorted(asyncio.all_tasks(self), key=lambda task: (len(task.get_name()),
                                                                 task.get_name()))

    def _now(self) -> str:
        return f"{self.world.now_ns / 1e9:.6f} s"


def awaiting(task: asyncio.Task[Any]) -> str:
    """Return the line at which a suspended task waits: that of its innermost coroutine."""
    frame = None
    for inner in _chain(task.get_coro()):
        frame = inner
    return told(frame) if frame is not None else "a place without Python code"


def _chain(awaited: Any) -> Iterator[FrameType]:
    """Yield the frames of a coroutine and of what it awaits, outermost first."""
    while awaited is not None:
        frame, following = None, None
        for prefix, link in (("cr", "await"), ("gi", "yieldfrom"), ("ag", "await")):
            frame = frame or getattr(awaited, f"{prefix}_frame", None)
            following = following or getattr(awaited, f"{prefix}_{link}", None)
        if frame is not None and not _is_machinery(frame):
            yield frame
        awaited = following


def told(frame: FrameType) -> str:
    """Return a frame as a place in a file."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"


MACHINERY = (str(Path(asyncio.__file__).parent), __file__)


def _is_machinery(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(MACHINERY)


def caller() -> str:
    """Return the line that called into asyncio or this loop."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_machinery(frame):
        frame = frame.f_back
    return told(frame) if frame is not None else "a place without Python code"


def _refusing(name: str) -> Callable[..., Any]:
    def refused(self: SimLoop, *args: Any, **options: Any) -> NoReturn:
        self.refuse(name, caller())

    return refused


for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(SimLoop):
        setattr(SimLoop, _name, _refusing(_name))
