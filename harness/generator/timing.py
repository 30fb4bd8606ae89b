"""When operations are due.

stagger and delay make a schedule that doesn't depend on how fast the system answers: an
operation that finds all threads busy is late, keeps its due time, and its latency counts from
there (no coordinated omission); the schedule then catches up. ``catch_up=False`` is for where
a backlog makes no sense, as with faults: the next one is due no earlier than now.
"""
from __future__ import annotations

from typing import Any

import msgspec

from ..op import Op
from .choice import one_hears, replaced, seeded_all, updated_all
from .context import Context
from .lift import lift
from .protocol import PENDING, SLEEP, Answer, Generator, split

SECOND_NS = 1_000_000_000
NOT_STARTED = -1


def ns(seconds: float) -> int:
    """Return seconds as nanoseconds."""
    return round(seconds * SECOND_NS)


def stagger(mean_s: float, gen: Any, *, catch_up: bool = True) -> Generator:
    """Operations at random intervals, uniform between 0 and twice the mean.

    The rate is that of all threads together: ``stagger(1 / 100, gen)`` makes 100 a second.
    """
    lifted = lift(gen)
    return Stagger(lifted, 2 * ns(mean_s), NOT_STARTED, catch_up, 0, lifted.hears)


def delay(seconds: float, gen: Any, *, catch_up: bool = True) -> Generator:
    """Operations at equal intervals, for all threads together."""
    lifted = lift(gen)
    return Delay(lifted, ns(seconds), NOT_STARTED, catch_up, lifted.hears)


def sleep(seconds: float) -> Generator:
    """Keep one thread busy for so long."""
    return lift(Op("sleep", seconds, type=SLEEP))


def time_limit(seconds: float, gen: Any) -> Generator:
    """``gen`` for so long, counted from its first operation. A sleep at the end is cut short."""
    lifted = lift(gen)
    return TimeLimit(lifted, ns(seconds), NOT_STARTED, lifted.hears)


def cycle_times(*schedule: Any) -> Generator:
    """``cycle_times(5, a, 10, b)``: a for 5 seconds, b for 10, and so on, keeping their places.

    Over when the one whose time it is is exhausted.
    """
    if len(schedule) % 2 or not schedule:
        raise ValueError("cycle_times expects seconds, generator, seconds, generator...")
    spans_ns = tuple(map(ns, schedule[::2]))
    if min(spans_ns) <= 0:
        raise ValueError(f"cycle_times: each turn must last longer than 0 s, got {schedule[::2]}")
    lifted = tuple(map(lift, schedule[1::2]))
    return CycleTimes(lifted, spans_ns, NOT_STARTED, one_hears(lifted))


class Stagger(Generator, frozen=True, gc=False):
    """``due``: when the next operation is; ``state`` of the stream that draws intervals."""

    gen: Generator
    span_ns: int
    due_ns: int
    catch_up: bool
    state: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        op, after = answer
        op.time_ns = due = on_schedule(op, self.due_ns, ctx.time_ns, self.catch_up)
        rng = ctx.roster.rng
        rng.state = self.state
        due += rng.below(self.span_ns) if self.span_ns else 0
        return op, Stagger(after, self.span_ns, due, self.catch_up, rng.state, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        if after is self.gen:
            return self
        return Stagger(after, self.span_ns, self.due_ns, self.catch_up, self.state, after.hears)

    def seeded(self, seed: int) -> Generator:
        return msgspec.structs.replace(self, gen=self.gen.seeded(split(seed, 0)), state=seed)


class Delay(Generator, frozen=True, gc=False):
    """``due``: when the next operation is."""

    gen: Generator
    step_ns: int
    due_ns: int
    catch_up: bool
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        op, after = answer
        op.time_ns = due = on_schedule(op, self.due_ns, ctx.time_ns, self.catch_up)
        return op, Delay(after, self.step_ns, due + self.step_ns, self.catch_up, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        if after is self.gen:
            return self
        return msgspec.structs.replace(self, gen=after, hears=after.hears)

    def seeded(self, seed: int) -> Generator:
        return msgspec.structs.replace(self, gen=self.gen.seeded(seed))


def on_schedule(op: Op, due_ns: int, now_ns: int, catch_up: bool) -> int:
    """Return when an operation is due, by its own time and by the schedule."""
    if due_ns == NOT_STARTED or op.time_ns != now_ns:   # the operation has a schedule of its own
        return max(op.time_ns, due_ns)
    return due_ns if catch_up else max(due_ns, now_ns)


class TimeLimit(Generator, frozen=True, gc=False):
    """Nothing starts at ``end`` or later."""

    gen: Generator
    limit_ns: int
    end_ns: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        end, now = self.end_ns, ctx.time_ns
        if now >= end != NOT_STARTED:
            return None
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        op, after = answer
        start = max(op.time_ns, now)
        if end == NOT_STARTED:
            end = start + self.limit_ns
        if start >= end:
            return None
        if op.type == SLEEP:
            op.value = min(op.value, (end - start) / SECOND_NS)
        return op, TimeLimit(after, self.limit_ns, end, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        if after is self.gen:
            return self
        return TimeLimit(after, self.limit_ns, self.end_ns, after.hears)

    def seeded(self, seed: int) -> Generator:
        return TimeLimit(self.gen.seeded(seed), self.limit_ns, self.end_ns, self.hears)


class CycleTimes(Generator, frozen=True, gc=False):
    """``start``: when the first round began."""

    gens: tuple[Generator, ...]
    spans_ns: tuple[int, ...]
    start_ns: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        now = ctx.time_ns
        start = now if self.start_ns == NOT_STARTED else self.start_ns
        while True:
            i, end = self._turn(start, now)
            answer = self.gens[i].op(test, ctx.at(now))
            if answer is None or answer is PENDING:
                return answer
            if max(answer[0].time_ns, now) < end:
                op, after = answer
                gens = replaced(self.gens, i, after)
                return op, CycleTimes(gens, self.spans_ns, start, self.hears or after.hears)
            now = end           # not in this turn: perhaps the next one has something by then

    def _turn(self, start: int, now: int) -> tuple[int, int]:
        """Return whose turn it is, and when it ends."""
        total = sum(self.spans_ns)
        begin = now - (now - start) % total
        for i, span in enumerate(self.spans_ns):
            begin += span
            if now < begin:
                return i, begin
        raise AssertionError(f"{now} is in none of the turns {self.spans_ns} from {start}")

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        gens = updated_all(self.gens, test, ctx, event)
        if gens is self.gens:
            return self
        return msgspec.structs.replace(self, gens=gens, hears=one_hears(gens))

    def seeded(self, seed: int) -> Generator:
        gens = seeded_all(self.gens, seed)
        return msgspec.structs.replace(self, gens=gens)
