"""Who does what: routing to threads, and limits on threads and processes.

Where several children own different threads, the one that owns the next free thread in turn
is asked first, so that work is shared in proportion to threads.
"""
from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

import msgspec

from ..errors import BadInput
from ..op import INVOKE, Op
from .choice import any, one_hears, replaced, seeded_all
from .context import Context, Thread, bits
from .lift import lift
from .protocol import PENDING, Answer, Generator, split


def is_client(thread: Thread) -> bool:
    """Whether a thread is a client, not a lane of the nemesis."""
    return isinstance(thread, int)


def is_nemesis(thread: Thread) -> bool:
    """Whether a thread is a lane of the nemesis."""
    return not isinstance(thread, int)


class Named(msgspec.Struct, frozen=True):
    """The predicate "is one of these threads", equal to another one with the same names."""

    names: frozenset[Thread]

    def __call__(self, thread: Thread) -> bool:
        return thread in self.names


def name_of(which: Callable[[Thread], bool]) -> str:
    """Return what a person calls a choice of threads."""
    if isinstance(which, Named):
        return ", ".join(sorted(map(str, which.names)))
    if which is is_client:
        return "clients"
    return "the nemesis" if which is is_nemesis else getattr(which, "__name__", repr(which))


def on_threads(which: Callable[[Thread], bool] | Collection[Thread] | Thread,
               gen: Any) -> Generator:
    """``gen``, with only some threads to work with and only their events to hear.

    ``which``: a predicate on thread names, a collection of names, or one name.
    """
    if isinstance(which, int | str):
        which = Named(frozenset([which]))
    elif not callable(which):
        which = Named(frozenset(which))
    lifted = lift(gen)
    return OnThreads(which, lifted, lifted.hears)


def clients(gen: Any, nemesis_gen: Any = None) -> Generator:
    """``gen`` on the clients (and, if given, another one on the nemesis)."""
    ours = on_threads(is_client, gen)
    return ours if nemesis_gen is None else any(ours, nemesis(nemesis_gen))


def nemesis(gen: Any, clients_gen: Any = None) -> Generator:
    """``gen`` on all lanes of the nemesis (and, if given, another one on the clients)."""
    ours = on_threads(is_nemesis, gen)
    return ours if clients_gen is None else any(ours, clients(clients_gen))


def reserve(*parts: Any) -> Generator:
    """``reserve(5, a, 10, b, rest)``: the first 5 threads do a, the next 10 b, all others rest."""
    if len(parts) % 2 == 0:
        raise ValueError("reserve expects count, generator, count, generator..., and a generator "
                         "for all other threads")
    lifted = tuple(map(lift, (*parts[1::2], parts[-1])))
    return Reserve(tuple(parts[:-1:2]), lifted, one_hears(lifted))


def each_thread(gen: Any) -> Generator:
    """A copy of ``gen`` for each thread."""
    lifted = lift(gen)
    return EachThread(lifted, (), (), 0, False, lifted.hears)


def each_process(gen: Any) -> Generator:
    """A copy of ``gen`` for each process: a thread starts over under its next process."""
    lifted = lift(gen)
    return EachThread(lifted, (), (), 0, True, lifted.hears)


def process_limit(n: int, gen: Any) -> Generator:
    """``gen``, until going on could take more than ``n`` different processes."""
    lifted = lift(gen)
    return ProcessLimit(n, frozenset(), lifted, lifted.hears)


def concurrency_limit(n: int, gen: Any) -> Generator:
    """``gen``, with at most ``n`` of its operations in flight at once."""
    return ConcurrencyLimit(n, frozenset(), lift(gen))


class OnThreads(Generator, frozen=True, gc=False):
    """A child that sees only the threads that ``which`` selects."""

    which: Callable[[Thread], bool]
    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        ours = ctx.only(ctx.roster.select(self.which))
        answer = self.gen.op(test, ours)
        if answer is None or answer is PENDING:
            if answer is PENDING and not ours.threads:
                raise BadInput(f"no thread can do what is meant for {name_of(self.which)}: there "
                               f"are {', '.join(map(str, ctx.workers)) or 'none'}")
            return answer
        after = answer[1]
        return answer[0], OnThreads(self.which, after, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        mask = ctx.roster.select(self.which)
        if not mask >> ctx.thread_of(event.process) & 1:
            return self
        after = self.gen.update(test, ctx.only(mask), event)
        return self if after is self.gen else OnThreads(self.which, after, after.hears)

    def seeded(self, seed: int) -> Generator:
        return OnThreads(self.which, self.gen.seeded(seed), self.hears)


@lru_cache(maxsize=256)
def divide(threads: int, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Divide a mask into masks of so many threads each, lowest first, and one of the rest."""
    free = list(bits(threads))
    if sum(counts) > len(free):
        raise BadInput(f"reserve: {' + '.join(map(str, counts))} threads are reserved, but there "
                       f"are {len(free)} (concurrency)")
    masks = []
    for count in counts:
        masks.append(sum(1 << t for t in free[:count]))
        del free[:count]
    return (*masks, sum(1 << t for t in free))


class Reserve(Generator, frozen=True, gc=False):
    """Children with so many threads each; the last one has the rest."""

    counts: tuple[int, ...]
    gens: tuple[Generator, ...]
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        masks, gens, n = divide(ctx.threads, self.counts), self.gens, len(self.gens)
        turn = ctx.free_thread() if ctx.free else 0
        first = next((i for i, mask in enumerate(masks) if mask >> turn & 1), 0)
        best: tuple[Op, Generator] | None = None
        at, pending = 0, False
        for k in range(n):
            i = (first + k) % n
            answer = gens[i].op(test, ctx.only(masks[i])) if masks[i] else None
            if answer is PENDING:
                pending = True
            elif answer is not None and (best is None or answer[0].time_ns < best[0].time_ns):
                best, at = answer, i
                if best[0].time_ns <= ctx.time_ns:
                    break
        if best is None:
            return PENDING if pending else None
        op, after = best
        return op, Reserve(self.counts, replaced(gens, at, after), self.hears or after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        thread = ctx.thread_of(event.process)
        for i, mask in enumerate(divide(ctx.threads, self.counts)):
            if mask >> thread & 1:
                after = self.gens[i].update(test, ctx.only(mask), event)
                gens = replaced(self.gens, i, after)
                return Reserve(self.counts, gens, one_hears(gens))
        return self

    def seeded(self, seed: int) -> Generator:
        return Reserve(self.counts, seeded_all(self.gens, seed), self.hears)


class EachThread(Generator, frozen=True, gc=False):
    """``copies``: one for each thread, in order, as of ``processes``; empty before the start."""

    gen: Generator
    copies: tuple[Generator, ...]
    processes: tuple[int, ...]
    seed: int
    by_process: bool
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        now = self._current(ctx)
        threads = tuple(bits(ctx.threads))
        turn = ctx.free_thread() if ctx.free else 0
        best: tuple[Op, Generator] | None = None
        at, pending = 0, False
        for i in sorted(range(len(threads)), key=lambda i: (threads[i] < turn, i)):
            if best is not None and not ctx.free >> threads[i] & 1:
                continue                          # busy: at most pending
            answer = now.copies[i].op(test, ctx.only(1 << threads[i]))
            if answer is PENDING:
                pending = True
            elif answer is not None and (best is None or answer[0].time_ns < best[0].time_ns):
                best, at = answer, i
                if best[0].time_ns <= ctx.time_ns:
                    break
        if best is None:
            return PENDING if pending else None
        op, after = best
        return op, msgspec.structs.replace(now, copies=replaced(now.copies, at, after),
                                           hears=now.hears or after.hears)

    def _current(self, ctx: Context) -> EachThread:
        """Return this with a copy for each thread, and for each process if so wanted."""
        processes = tuple([ctx.processes[t] for t in bits(ctx.threads)])
        if self.copies and (processes == self.processes or not self.by_process):
            return self
        old = dict(zip(self.processes, self.copies, strict=True))
        copies = tuple(old.get(p) or self.gen.seeded(split(self.seed, p)) for p in processes)
        return EachThread(self.gen, copies, processes, self.seed, self.by_process, self.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        if not self.hears:
            return self
        now, thread = self._current(ctx), ctx.thread_of(event.process)
        for i, t in enumerate(bits(ctx.threads)):
            if t == thread:
                after = now.copies[i].update(test, ctx.only(1 << t), event)
                return msgspec.structs.replace(now, copies=replaced(now.copies, i, after))
        return self

    def seeded(self, seed: int) -> Generator:
        return EachThread(self.gen, self.copies, self.processes, seed, self.by_process, self.hears)


class ProcessLimit(Generator, frozen=True, gc=False):
    """``seen``: processes that existed while we were asked."""

    n: int
    seen: frozenset[int]
    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        seen = self.seen.union([ctx.processes[t] for t in bits(ctx.threads)])
        op, after = answer
        return (op, ProcessLimit(self.n, seen, after, after.hears)) if len(seen) <= self.n else None

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        return ProcessLimit(self.n, self.seen, after, after.hears)

    def seeded(self, seed: int) -> Generator:
        return ProcessLimit(self.n, self.seen, self.gen.seeded(seed), self.hears)


class ConcurrencyLimit(Generator, frozen=True, gc=False):
    """``flying``: processes that do an operation of ours."""

    n: int
    flying: frozenset[int]
    gen: Generator

    def op(self, test: Any, ctx: Context) -> Answer:
        if len(self.flying) >= self.n:
            return PENDING
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        op = answer[0]
        flying = self.flying | {op.process} if op.type == INVOKE else self.flying
        return op, ConcurrencyLimit(self.n, flying, answer[1])

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        gen = self.gen.update(test, ctx, event)
        flying = self.flying if event.type == INVOKE else self.flying - {event.process}
        return ConcurrencyLimit(self.n, flying, gen)

    def seeded(self, seed: int) -> Generator:
        return ConcurrencyLimit(self.n, self.flying, self.gen.seeded(seed))
