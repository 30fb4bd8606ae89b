"""Order and number: one after the other, waiting, repeating, limiting."""
from __future__ import annotations

from typing import Any

import msgspec

from ..op import FAIL, INFO, OK, Op
from .context import Context
from .lift import lift
from .protocol import NOTHING, PENDING, Answer, Generator, split


def concat(*gens: Any) -> Generator:
    """All operations of the first, then of the second...; operations in flight may overlap."""
    return lift(gens)


def then(first: Any, second: Any) -> Generator:
    """``first``, and when all its operations have completed, ``second``."""
    return concat(first, synchronize(second))


def phases(*gens: Any) -> Generator:
    """One after the other, each beginning when everything before it has completed."""
    return concat(*map(synchronize, gens))


def synchronize(gen: Any) -> Generator:
    """``gen``, from the moment when all its threads are free."""
    lifted = lift(gen)
    return Synchronize(lifted, lifted.hears)


def limit(n: int, gen: Any) -> Generator:
    """At most ``n`` operations."""
    lifted = lift(gen)
    return Limit(n, lifted, lifted.hears)


def once(gen: Any) -> Generator:
    """One operation."""
    return limit(1, gen)


def repeat(gen: Any, times: int | None = None) -> Generator:
    """The first operation of ``gen`` again and again, for ever or so many times.

    ``gen`` itself doesn't move on, except that each operation gets draws of its own.
    """
    lifted = lift(gen)
    return Repeat(lifted, -1 if times is None else times, 0, 0, lifted.hears)


def cycle(gen: Any, times: int | None = None) -> Generator:
    """All of ``gen``, started over when it is exhausted, for ever or so many times."""
    return Cycle(lift(gen), -1 if times is None else times, NOTHING, 0, 0, False)


def until_ok(gen: Any) -> Generator:
    """Operations of ``gen`` until one of them completed ok."""
    return UntilOk(lift(gen), frozenset(), False)


class Synchronize(Generator, frozen=True, gc=False):
    """Waits for all threads, then is its child."""

    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        return self.gen.op(test, ctx) if ctx.all_free else PENDING

    def seeded(self, seed: int) -> Generator:
        return Synchronize(self.gen.seeded(seed), self.hears)


class Limit(Generator, frozen=True, gc=False):
    """``left`` more operations."""

    left: int
    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        if self.left <= 0:
            return None
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        after = answer[1]
        return answer[0], Limit(self.left - 1, after, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        return self if after is self.gen else Limit(self.left, after, after.hears)

    def seeded(self, seed: int) -> Generator:
        return Limit(self.left, self.gen.seeded(seed), self.hears)


class Repeat(Generator, frozen=True, gc=False):
    """``left`` more times (negative: for ever) the first operation of ``gen``."""

    gen: Generator
    left: int
    done: int
    seed: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        if self.left == 0:
            return None
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        gen = self.gen.seeded(split(self.seed, self.done))
        return answer[0], Repeat(gen, self.left - 1, self.done + 1, self.seed, self.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        if after is self.gen:
            return self
        return msgspec.structs.replace(self, gen=after, hears=after.hears)

    def seeded(self, seed: int) -> Generator:
        gen = self.gen.seeded(split(seed, -1))
        return Repeat(gen, self.left, self.done, seed, self.hears)


class Cycle(Generator, frozen=True, gc=False):
    """What is left of ``current``, and ``left`` more times (negative: for ever) all of ``gen``."""

    gen: Generator
    left: int
    current: Generator
    started: int
    seed: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        left, current, started = self.left, self.current, self.started
        answer = current.op(test, ctx)
        if answer is None:
            if left == 0:
                return None
            current = self.gen.seeded(split(self.seed, started))
            left, started = left - 1, started + 1
            answer = current.op(test, ctx)       # None again: an empty cycle is over
        if answer is None or answer is PENDING:
            return answer
        after = answer[1]
        return answer[0], Cycle(self.gen, left, after, started, self.seed, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.current.update(test, ctx, event)
        if after is self.current:
            return self
        return msgspec.structs.replace(self, current=after, hears=after.hears)

    def seeded(self, seed: int) -> Generator:
        return msgspec.structs.replace(self, seed=seed)


class UntilOk(Generator, frozen=True, gc=False):
    """``flying``: the processes whose operations are ours."""

    gen: Generator
    flying: frozenset[int]
    done: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        if self.done:
            return None
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        return answer[0], UntilOk(answer[1], self.flying | {answer[0].process}, False)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        gen = self.gen.update(test, ctx, event)
        if event.type not in (OK, FAIL, INFO) or event.process not in self.flying:
            return UntilOk(gen, self.flying, self.done)
        return UntilOk(gen, self.flying - {event.process}, self.done or event.type == OK)

    def seeded(self, seed: int) -> Generator:
        return UntilOk(self.gen.seeded(seed), self.flying, self.done)
