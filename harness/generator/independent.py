"""The same operations on many independent keys, so that each key has a short history of its own.

A check of linearizability is exponential in what overlaps; keys that don't influence each other
are judged one by one. ``of_key(key)`` makes the generator of one key, whose operations get
that key. Keys come from a list or an iterator, which may be infinite.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import msgspec

from ..errors import BadInput
from ..op import Op
from .choice import one_hears, replaced
from .context import Context, bits
from .lift import LazyList, chain, lift
from .protocol import NOTHING, PENDING, Answer, Generator, split
from .threads import clients

Key = bytes | str | int


def sequential_generator(keys: Iterable[Key], of_key: Callable[[Any], Any]) -> Generator:
    """One key after the other, with all threads."""
    return chain(with_key(key, of_key) for key in keys)


def concurrent_generator(threads: int, keys: Iterable[Key], of_key: Callable[[Any], Any], *,
                    at_once: int | None = None) -> Generator:
    """Several keys at once, each with ``threads`` clients of its own.

    at_once: how many keys at a time at most; by default as many as there are clients for. A
    group of clients takes its next key when all its operations on the last one have completed,
    so that at no time more keys than that are worked on.
    """
    if threads < 1 or (at_once is not None and at_once < 1):
        raise ValueError(f"concurrent_generator: threads and at_once must be at least 1, got "
                         f"{threads} and {at_once}")
    return clients(Keys(of_key, threads, at_once, (), LazyList(iter(keys)), 0, 0, False))


def key_bytes(key: Key) -> bytes:
    """Return a key as operations carry it: text as UTF-8, a number in decimal."""
    return key if isinstance(key, bytes) else str(key).encode()


def with_key(key: Key, of_key: Callable[[Any], Any]) -> Generator:
    """Return the generator of one key."""
    lifted = lift(of_key(key))
    return WithKey(key_bytes(key), lifted, lifted.hears)


class WithKey(Generator, frozen=True, gc=False):
    """Sets the key of each operation; hears only of events with that key."""

    key: bytes
    gen: Generator
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        op, after = answer
        op.key = self.key
        return op, WithKey(self.key, after, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        if event.key != self.key:
            return self
        after = self.gen.update(test, ctx, event)
        return self if after is self.gen else WithKey(self.key, after, after.hears)

    def seeded(self, seed: int) -> Generator:
        return WithKey(self.key, self.gen.seeded(seed), self.hears)


@lru_cache(maxsize=64)
def group_of(threads: int, size: int, at_once: int | None) -> dict[int, int]:
    """Return the number of each thread's group."""
    return {thread: i for i, mask in enumerate(groups(threads, size, at_once))
            for thread in bits(mask)}


@lru_cache(maxsize=64)
def groups(threads: int, size: int, at_once: int | None) -> tuple[int, ...]:
    """Return the masks of groups of ``size`` threads."""
    mine = list(bits(threads))
    count = len(mine) // size if at_once is None else at_once
    if count == 0 or size * count > len(mine):
        need = max(count, 1)
        raise BadInput(f"concurrent_generator: {need} keys at once with {size} clients each need "
                       f"{size * need} clients, but there are {len(mine)} (concurrency)")
    if at_once is None and len(mine) % size:
        raise BadInput(f"concurrent_generator: {len(mine)} clients can't be divided into groups of "
                       f"{size}: {len(mine) % size} would have nothing to do. Change the "
                       "concurrency, or say at_once")
    return tuple(sum(1 << t for t in mine[i * size:(i + 1) * size]) for i in range(count))


class Keys(Generator, frozen=True, gc=False):
    """``gens``: what each group of threads does now; ``rest``: keys nobody has taken yet."""

    of_key: Callable[[Any], Any]
    size: int
    at_once: int | None
    gens: tuple[Generator, ...]
    rest: LazyList
    taken: int
    seed: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        masks = groups(ctx.threads, self.size, self.at_once)
        gens, n = self.gens or (NOTHING,) * len(masks), len(masks)
        first = 0
        if ctx.free:
            first = group_of(ctx.threads, self.size, self.at_once).get(ctx.free_thread(), 0)
        best: tuple[Op, Keys] | None = None
        pending = False
        for k in range(n):
            i = (first + k) % n
            answer = self._ask(gens, i, test, ctx.only(masks[i]))
            if answer is PENDING:
                pending = True
            elif answer is not None and (best is None or answer[0].time_ns < best[0].time_ns):
                best = answer
                if best[0].time_ns <= ctx.time_ns:
                    break
        if best is None:
            return PENDING if pending else None
        return best

    def _ask(self, gens: tuple[Generator, ...], i: int, test: Any, ctx: Context) -> Any:
        """Ask one group, taking new keys where its key is exhausted and its threads are free."""
        gen, rest, taken = gens[i], self.rest, self.taken
        while (answer := gen.op(test, ctx)) is None:
            cell = rest.cell()
            if cell is None:
                return None
            if not ctx.all_free:
                return PENDING                    # the last key's operations are still going on
            gen = with_key(cell[0], self.of_key).seeded(split(self.seed, taken))
            rest, taken = cell[1], taken + 1
        if answer is PENDING:
            return PENDING
        op, after = answer
        return op, Keys(self.of_key, self.size, self.at_once, replaced(gens, i, after), rest, taken,
                        self.seed, self.hears or after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        if not self.gens:
            return self
        thread = ctx.thread_of(event.process)
        i = group_of(ctx.threads, self.size, self.at_once).get(thread)
        if i is None:
            return self
        gen = self.gens[i]
        mask = groups(ctx.threads, self.size, self.at_once)[i]
        after = gen.update(test, ctx.only(mask), event)
        if after is gen:
            return self
        gens = replaced(self.gens, i, after)
        return Keys(self.of_key, self.size, self.at_once, gens, self.rest, self.taken, self.seed,
                    one_hears(gens))

    def seeded(self, seed: int) -> Generator:
        return msgspec.structs.replace(self, seed=seed)
