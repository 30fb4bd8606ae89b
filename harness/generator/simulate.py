"""Runs a generator against imaginary clients and a virtual clock, in microseconds of real time.

The same rules as the scheduler's, in one small loop: soonest event first, completions before
new operations of the same moment. ``respond(op, thread)`` says how an operation ends and after
how many nanoseconds. All functions return the history: invocations and completions in order.
"""
from __future__ import annotations

import heapq
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..op import FAIL, INFO, INVOKE, OK, Op
from .context import Context
from .lift import lift
from .protocol import LOG, PENDING, SLEEP, Answer

PERFECT_NS = 10                # what an operation takes
POLL_NS = 1_000_000            # after so long a pending generator is asked again
PATIENCE = 1000                # so often, with nothing going on, before it counts as stuck

Respond = Callable[[Op, int], tuple[str, int]]


class Stuck(AssertionError):
    """A generator stayed pending though nothing was going on."""


def default_context(clients: int = 2) -> Context:
    """Return the context of Jepsen's generator tests: two clients and the nemesis."""
    return Context.start(clients)


def perfect(gen: Any, ctx: Context | None = None, **options: Any) -> list[Op]:
    """Every operation succeeds after 10 ns. Return invocations only."""
    return [op for op in run(gen, ok_after(PERFECT_NS), ctx, **options) if op.type == INVOKE]


def perfect_history(gen: Any, ctx: Context | None = None, **options: Any) -> list[Op]:
    """Every operation succeeds after 10 ns."""
    return run(gen, ok_after(PERFECT_NS), ctx, **options)


def quick(gen: Any, ctx: Context | None = None, **options: Any) -> list[Op]:
    """Every operation succeeds at once. Return invocations only."""
    return [op for op in run(gen, ok_after(0), ctx, **options) if op.type == INVOKE]


def perfect_info(gen: Any, ctx: Context | None = None, **options: Any) -> list[Op]:
    """Every operation crashes after 10 ns. Return invocations only."""
    history = run(gen, lambda op, thread: (INFO, PERFECT_NS), ctx, **options)
    return [op for op in history if op.type == INVOKE]


def imperfect(gen: Any, ctx: Context | None = None, **options: Any) -> list[Op]:
    """Each thread's operations fail, crash, succeed, in turn, after 10 ns."""
    turns: dict[int, int] = {}

    def respond(op: Op, thread: int) -> tuple[str, int]:
        turn = turns[thread] = turns.get(thread, -1) + 1
        return (FAIL, INFO, OK)[turn % 3], PERFECT_NS
    return run(gen, respond, ctx, **options)


def ok_after(latency_ns: int) -> Respond:
    """Return the response of a client that always succeeds."""
    return lambda op, thread: (OK, latency_ns)


def run(gen: Any, respond: Respond, ctx: Context | None = None, *, seed: int = 1,
        max_ops: int = 10_000, test: Any = None) -> list[Op]:
    """Return the history of a generator with these clients, up to ``max_ops`` invocations."""
    ctx = ctx or default_context()
    test = test or SimpleNamespace(seed=seed, nodes=[], concurrency=ctx.roster.clients)
    gen = lift(gen).seeded(seed)
    history: list[Op] = []
    flying: list[tuple[int, int, int, Op]] = []      # heap: (ends, number, thread, completion)
    number = polls = 0
    while True:
        if flying and flying[0][0] <= ctx.time_ns:
            answer: Answer = PENDING                 # first, what is over
        else:
            answer = gen.op(test, ctx) if max_ops > 0 else None
        if isinstance(answer, tuple) and not (flying and flying[0][0] <= answer[0].time_ns):
            op, gen = answer
            thread = ctx.thread_of(op.process)
            polls = 0
            if op.type == LOG:
                continue
            ctx = ctx.took(thread, max(ctx.time_ns, op.time_ns))
            number += 1
            if op.type == SLEEP:
                heapq.heappush(flying, (ctx.time_ns + round(op.value * 1e9), number, thread, op))
                continue
            max_ops -= 1
            history.append(op)
            gen = gen.update(test, ctx, op)
            kind, latency_ns = respond(op, thread)
            done = op.completed(kind, op.value)
            done.time_ns = ctx.time_ns + latency_ns
            heapq.heappush(flying, (done.time_ns, number, thread, done))
        elif flying:
            ends, _, thread, done = heapq.heappop(flying)
            ctx = ctx.freed(thread, max(ctx.time_ns, ends))
            if done.type != SLEEP:
                history.append(done)
                gen = gen.update(test, ctx, done)
                if done.type == INFO and done.process >= 0:
                    ctx = ctx.crashed(thread)
        elif answer is None:
            return history
        else:
            polls += 1
            if polls > PATIENCE:
                raise Stuck(f"{gen!r:.300} is pending at {ctx.time_ns} ns with nothing going on")
            ctx = ctx.at(ctx.time_ns + POLL_NS)
