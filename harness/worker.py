"""A worker: one process's life, in a task of its own.

It opens its client when the first operation comes, does one operation after the other, and
ends when one of them ends in info: then nobody knows what state the connection is in, so the
client is closed and the scheduler goes on with a new worker, under the next process id, while
this one is still closing. Lanes of the nemesis are workers too, with a ``Lane`` as client.

Every outcome is reported exactly once, unless the scheduler has given up on the worker before.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from .deadline import Timer
from .errors import HarnessFailure
from .op import FAIL, INFO, OK, Op
from .protocols import Addressing, Client

logger = logging.getLogger(__name__)

MS = 1_000_000
COMPLETIONS = (OK, FAIL, INFO)
FIRST_PAUSE_NS = 100 * MS        # after a client could not be opened; doubles with each failure
LONGEST_PAUSE_NS = 2_000 * MS


class Nemesis(Protocol):
    """What breaks things."""

    async def invoke(self, test: Any, op: Op) -> Op:
        """Do ``op``; return its completion, of type info. Any exception counts as info."""


class Lane:
    """A nemesis as the client of a worker: nothing to open, nothing to close."""

    def __init__(self, nemesis: Nemesis) -> None:
        self.invoke = nemesis.invoke

    async def open(self, test: Any, node: int, process: int) -> Lane:
        """Return the lane itself."""
        return self

    async def close(self) -> None:
        """Do nothing: a nemesis outlives its operations."""


def describe(error: BaseException) -> str:
    """Return an exception as the error of an operation: class and message."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Worker(Timer):
    """A process. As a timer it is the deadline of its operation, or the end of its pause.

    op: what it does now, None when nothing. f: that operation's f, which a client can't change.
    invoking: whether the operation has reached the client (before, it certainly did not happen).
    pause_ns: how long to leave it alone after it could not open its client; else 0.
    sleeping: whether the scheduler keeps it busy with a sleep.
    addresses: whether its client says where an operation goes before it is recorded.
    """

    __slots__ = ("addresses", "client", "f", "inbox", "invoking", "node", "op", "pause_ns",
                 "process", "prototype", "report", "sleeping", "task", "test", "thread")

    def __init__(self, test: Any, prototype: Client | Lane, thread: int, process: int, node: int,
                 report: Callable[[Worker, Op], None]) -> None:
        super().__init__()
        self.test = test
        self.prototype = prototype
        self.addresses = isinstance(prototype, Addressing)
        self.thread = thread
        self.process = process
        self.node = node
        self.report = report
        self.op: Op | None = None
        self.f = ""
        self.invoking = False
        self.pause_ns = 0
        self.sleeping = False
        self.client: Any = None
        self.inbox: asyncio.Future[Op | None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self._live(), name=f"process {process}")

    def address(self, op: Op) -> None:
        """Let the client say where an operation goes; the prototype, while there is no client."""
        who: Any = self.prototype if self.client is None else self.client
        who.address(self.test, op)

    def give(self, op: Op) -> None:
        """Start an operation; its end is reported."""
        self.op = op
        self.f = op.f
        self.invoking = False
        self.inbox.set_result(op)

    def retire(self) -> None:
        """End this life: at once if something is going on, else by closing the client."""
        if self.op is None and not self.inbox.done():
            self.inbox.set_result(None)
        elif not self.task.cancelling():
            self.task.cancel()

    def next_pause_ns(self) -> int:
        """Return the next pause: longer and longer while the client can't be opened."""
        return min(self.pause_ns * 2 or FIRST_PAUSE_NS, LONGEST_PAUSE_NS)

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (op := await self.inbox) is not None:
                self.inbox = loop.create_future()
                completion = None if self.client is not None else await self._open(op)
                if completion is None:
                    self.invoking = True
                    try:
                        completion = await self.client.invoke(self.test, op)
                    except (Exception, asyncio.CancelledError) as error:
                        if self.task.cancelling():
                            raise                # it was us
                        completion = op.completed(INFO, op.value, describe(error))
                if self.op is not op:
                    return                       # the scheduler has given up on this worker
                self._check(completion)
                self.report(self, completion)
                if completion.type == INFO and self.process >= 0:
                    return
        finally:
            await self._close()

    def _check(self, completion: Op) -> None:
        """Refuse an answer that is no completion: a client that is wrong proves nothing."""
        if not (type(completion) is Op and completion.type in COMPLETIONS
                and completion.process == self.process and completion.f == self.f):
            raise HarnessFailure(
                f"client {type(self.client).__name__} answered {completion!r:.300} to {self.f!r} "
                f"of process {self.process}: expected the operation with type ok, fail or info")

    async def _open(self, op: Op) -> Op | None:
        """Open the client; return the operation's completion if that is not possible."""
        try:
            self.client = await self.prototype.open(self.test, self.node, self.process)
        except Exception as error:
            self.pause_ns = self.next_pause_ns()
            return op.completed(FAIL, op.value, f"no-client: {describe(error)}")
        self.pause_ns = 0
        return None

    async def _close(self) -> None:
        if self.client is None:
            return
        try:
            await self.client.close()
        except Exception as error:
            logger.warning("process %d: its client did not close: %s", self.process,
                           describe(error))
