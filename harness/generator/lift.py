"""What may stand where a generator is expected, and the generators these things become.

==================  ===========================================================================
``None``            nothing
a mapping, ``Op``   that operation, once, with time and a free process filled in
a function          called as ``f()`` or ``f(test, ctx)`` for each operation, until it returns
                    None; what it returns is a generator itself (mostly a mapping)
a list, a tuple     one after the other, without waiting for operations in flight
an iterator         the same, read as far as needed (it may be infinite)
a generator         itself
==================  ===========================================================================
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..op import Op
from .context import Context
from .protocol import NOTHING, PENDING, UNSET, Answer, Generator, split


def lift(x: Any) -> Generator:
    """Return the generator that ``x`` stands for."""
    if isinstance(x, Generator):
        return x
    if x is None:
        return NOTHING
    if isinstance(x, Op):
        return Once(x)
    if isinstance(x, Mapping):
        return Once(op_from(x))
    if callable(x):
        return Function(x, takes_context(x), 0)
    if isinstance(x, list | tuple):
        return chain([lift(item) for item in x])     # now, so that a wrong item is told now
    if isinstance(x, Iterator):
        return chain(x)
    raise TypeError(f"can't make a generator of {x!r}: expected None, a mapping with at least "
                    "'f', an Op, a function, a list, an iterator or a Generator")


def op_from(fields: Mapping[str, Any]) -> Op:
    """Return the operation that a mapping describes."""
    try:
        return Op(**fields)
    except TypeError as error:
        names = ", ".join(Op.__struct_fields__[1:])
        raise TypeError(f"can't make an operation of {dict(fields)!r}: expected 'f' and any of "
                        f"{names} ({error})") from error


def takes_context(f: Callable[..., Any]) -> bool:
    """Return whether a function is to be called with (test, ctx) rather than with nothing."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
                  inspect.Parameter.VAR_POSITIONAL)
    needed = [p for p in inspect.signature(f).parameters.values()
              if p.kind in positional and p.default is p.empty]
    if len(needed) > 2:
        raise TypeError(f"{f!r} needs {len(needed)} arguments; a function that makes operations "
                        "is called as f() or f(test, ctx)")
    return bool(needed)


def fill(op: Op, ctx: Context) -> Op | None:
    """Set an operation's process and time where they are unset; None if nobody is free for it."""
    if op.process == UNSET:
        if not ctx.free:
            return None
        op.process = ctx.processes[ctx.free_thread()]
    else:
        thread = ctx.thread_of(op.process)
        if not ctx.free >> thread & 1 or ctx.processes[thread] != op.process:
            return None
    if op.time_ns < 0:
        op.time_ns = ctx.time_ns
    return op


class Once(Generator, frozen=True, gc=False):
    """One given operation."""

    hears = False

    template: Op

    def op(self, test: Any, ctx: Context) -> Answer:
        t = self.template
        op = fill(Op(t.f, t.value, t.key, t.type, t.process, t.time_ns), ctx)
        return PENDING if op is None else (op, NOTHING)


class Function(Generator, frozen=True, gc=False):
    """A function, called for each operation. It is not called while no thread is free."""

    hears = False

    f: Callable[..., Any]
    takes_context: bool
    state: int                   # of its stream

    def op(self, test: Any, ctx: Context) -> Answer:
        if not ctx.free:
            return PENDING
        rng = ctx.roster.rng
        rng.state = self.state
        made = self.f(test, ctx) if self.takes_context else self.f()
        if made is None:
            return None
        if type(made) is dict:                   # by far the most frequent
            op = fill(op_from(made), ctx)
            return PENDING if op is None else (op, self._at(rng.state))
        gen = lift(made).seeded(rng.next64())
        return Returned(gen, self._at(rng.state), gen.hears).op(test, ctx)

    def _at(self, state: int) -> Function:
        return self if state == self.state else Function(self.f, self.takes_context, state)

    def seeded(self, seed: int) -> Generator:
        return Function(self.f, self.takes_context, seed)


class Returned(Generator, frozen=True, gc=False):
    """What a function returned; when that is exhausted, the function again."""

    gen: Generator
    function: Function
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        answer = self.gen.op(test, ctx)
        if answer is None:
            return self.function.op(test, ctx)
        if answer is PENDING:
            return PENDING
        op, after = answer
        if after is NOTHING:
            return op, self.function
        return op, Returned(after, self.function, after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.gen.update(test, ctx, event)
        return Returned(after, self.function, after.hears)

    def seeded(self, seed: int) -> Generator:
        function = self.function._at(split(seed, 1))
        return Returned(self.gen.seeded(split(seed, 0)), function, self.hears)


class LazyList:
    """An iterator's items as an immutable list, each read when somebody first gets there.

    An iterator can be read once only; a pure generator may be asked again, and an earlier
    version of it may be started over. What no generator points to any more is freed.
    """

    __slots__ = ("_cell", "_source")

    def __init__(self, source: Iterator[Any]) -> None:
        self._source: Iterator[Any] | None = source
        self._cell: tuple[Any, LazyList] | None = None

    def cell(self) -> tuple[Any, LazyList] | None:
        """Return the first item and the rest, or None at the end."""
        if self._source is not None:
            source, self._source = self._source, None
            for item in source:
                self._cell = (item, LazyList(source))
                break
        return self._cell


class Chain(Generator, frozen=True, gc=False):
    """Generators one after the other. Only the current one hears of events."""

    current: Generator
    rest: LazyList
    taken: int                   # how many items of the list were taken: the next one's number
    seed: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        gen, rest, taken = self.current, self.rest, self.taken
        while True:
            answer = gen.op(test, ctx)
            if answer is PENDING:
                return PENDING
            if answer is not None:
                after = answer[1]
                return answer[0], Chain(after, rest, taken, self.seed, after.hears)
            cell = rest.cell()
            if cell is None:
                return None
            gen = lift(cell[0]).seeded(split(self.seed, taken))
            rest, taken = cell[1], taken + 1

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        after = self.current.update(test, ctx, event)
        if after is self.current:
            return self
        return Chain(after, self.rest, self.taken, self.seed, after.hears)

    def seeded(self, seed: int) -> Generator:
        return Chain(self.current, self.rest, self.taken, seed, self.hears)


def chain(items: Iterable[Any]) -> Generator:
    """Return these one after the other."""
    return Chain(NOTHING, LazyList(iter(items)), 0, 0, False)
