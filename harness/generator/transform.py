"""Changing, watching and checking what a generator makes."""
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import HarnessFailure
from ..op import INVOKE, Op
from .context import Context
from .lift import lift
from .protocol import LOG, PENDING, SLEEP, Answer, Generator

logger = logging.getLogger(__name__)

OnUpdate = Callable[[Generator, Any, Context, Op], Any]


def map(f: Callable[[Op], Op], gen: Any) -> Generator:
    """``gen`` with ``f`` applied to each operation."""
    lifted = lift(gen)
    return Map(f, lifted, lifted.hears)


def f_map(names: Mapping[str, str], gen: Any) -> Generator:
    """``gen`` with its ``f`` renamed, for composing nemeses; names not in the map stay."""
    def rename(op: Op) -> Op:
        op.f = names.get(op.f, op.f)
        return op
    return map(rename, gen)


def filter(keep: Callable[[Op], bool], gen: Any) -> Generator:
    """``gen`` without the operations that ``keep`` refuses."""
    lifted = lift(gen)
    return Filter(keep, lifted, lifted.hears)


def on_update(f: OnUpdate, gen: Any) -> Generator:
    """``gen``, which after each event becomes ``f(gen, test, ctx, event)``."""
    return Watch(f, lift(gen))


def log(message: str) -> Generator:
    """Print a message into the run's log."""
    return lift(Op("log", message, type=LOG))


def trace(name: str, gen: Any) -> Generator:
    """``gen``, with all that it is asked and answers in the debug log, under ``name``."""
    return Trace(name, lift(gen))


def validate(gen: Any) -> Generator:
    """``gen``, with each answer checked against the protocol."""
    lifted = lift(gen)
    return Validate(lifted, lifted.hears)


class InvalidOp(HarnessFailure):
    """A generator broke the protocol."""


class Map(Generator, frozen=True, gc=False):
    """``f`` of each operation."""

    f: Callable[[Op], Op]
    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        after = answer[1]
        return self.f(answer[0]), Map(self.f, after, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        return self if after is self.gen else Map(self.f, after, after.hears)

    def seeded(self, seed: int) -> Generator:
        return Map(self.f, self.gen.seeded(seed), self.hears)


class Filter(Generator, frozen=True, gc=False):
    """Only what ``keep`` accepts."""

    keep: Callable[[Op], bool]
    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        gen = self.gen
        while True:
            answer = gen.op(test, ctx)
            if answer is None or answer is PENDING:
                return answer
            op, gen = answer
            if self.keep(op):
                return op, Filter(self.keep, gen, gen.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        return Filter(self.keep, after, after.hears)

    def seeded(self, seed: int) -> Generator:
        return Filter(self.keep, self.gen.seeded(seed), self.hears)


class Watch(Generator, frozen=True, gc=False):
    """Hands its child and each event to ``f``, which says what comes instead."""

    f: OnUpdate
    gen: Generator

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        return answer[0], Watch(self.f, answer[1])

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        return Watch(self.f, lift(self.f(self.gen, test, ctx, event)))

    def seeded(self, seed: int) -> Generator:
        return Watch(self.f, self.gen.seeded(seed))


class Trace(Generator, frozen=True, gc=False):
    """Logs everything that passes."""

    name: str
    gen: Generator

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        said = answer[0] if isinstance(answer, tuple) else answer
        logger.debug("%s: op at %d ns, free %s: %s", self.name, ctx.time_ns, ctx.free_threads, said)
        return (answer[0], Trace(self.name, answer[1])) if isinstance(answer, tuple) else answer

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        logger.debug("%s: update at %d ns: %s", self.name, ctx.time_ns, event)
        return Trace(self.name, self.gen.update(test, ctx, event))

    def seeded(self, seed: int) -> Generator:
        return Trace(self.name, self.gen.seeded(seed))


class Validate(Generator, frozen=True, gc=False):
    """Raises InvalidOp at the first answer that breaks the protocol."""

    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        if problem := what_is_wrong(answer, ctx):
            raise InvalidOp(f"generator {type(self.gen).__name__} answered {answer!r:.500} at "
                            f"{ctx.time_ns} ns: {problem}")
        after = answer[1]
        return answer[0], Validate(after, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        return Validate(after, after.hears)

    def seeded(self, seed: int) -> Generator:
        return Validate(self.gen.seeded(seed), self.hears)


def what_is_wrong(answer: Any, ctx: Context) -> str | None:
    """Return what breaks the protocol in an answer that is neither None nor PENDING."""
    if not (isinstance(answer, tuple) and len(answer) == 2):
        return "expected None, PENDING or a pair (operation, next generator)"
    op, after = answer
    if not isinstance(op, Op):
        return "expected an Op as the first of the pair"
    if not isinstance(after, Generator):
        return "expected a Generator as the second of the pair (NOTHING when it is exhausted)"
    if not isinstance(op.f, str) or not op.f:
        return "f must be a name"
    if op.type not in (INVOKE, SLEEP, LOG):
        return f"type must be {INVOKE}, {SLEEP} or {LOG}"
    if not isinstance(op.time_ns, int) or op.time_ns < 0:
        return "time_ns must be an int, 0 or more"
    if not isinstance(op.process, int):
        return "process must be an int"
    thread = ctx.thread_of(op.process)
    if not (0 <= thread < len(ctx.processes)) or ctx.processes[thread] != op.process:
        return f"there is no process {op.process}; there are {ctx.workers}"
    if not ctx.free >> thread & 1:
        return f"process {op.process} is busy; free threads are {ctx.free_threads}"
    return None

