"""Which of several generators comes next."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..op import Op
from .context import Context
from .lift import lift
from .protocol import PENDING, Answer, Generator, split


def mix(*gens: Any) -> Generator:
    """A random one for each operation, until all are exhausted."""
    return weighted([(1, gen) for gen in each(gens)])


def weighted(gens: Mapping[Any, int] | Iterable[tuple[int, Any]]) -> Generator:
    """Like mix, each drawn in proportion to its weight: ``(weight, generator)`` pairs."""
    pairs = [(w, g) for g, w in gens.items()] if isinstance(gens, Mapping) else list(gens)
    for weight, _ in pairs:
        if weight < 1:
            raise ValueError(f"weighted: a weight must be at least 1, got {weight}")
    lifted = tuple(lift(g) for _, g in pairs)
    weights = tuple(w for w, _ in pairs)
    return Mix(lifted, weights, sum(weights), 0, one_hears(lifted))


def any(*gens: Any) -> Generator:
    """Whichever can go soonest; those that can go at once take turns. All hear of all events."""
    lifted = tuple(map(lift, each(gens)))
    return Soonest(lifted, 0, False, one_hears(lifted))


def shortest_any(*gens: Any) -> Generator:
    """Like any, but over as soon as one of them is exhausted."""
    lifted = tuple(map(lift, each(gens)))
    return Soonest(lifted, 0, True, one_hears(lifted))


def flip_flop(*gens: Any) -> Generator:
    """One operation of each in turn, until the one whose turn it is is exhausted."""
    lifted = tuple(map(lift, each(gens)))
    return FlipFlop(lifted, 0, one_hears(lifted))


def each(gens: tuple[Any, ...]) -> Iterable[Any]:
    """Return the alternatives: a single list means its items, as a choice of one means nothing."""
    return gens[0] if len(gens) == 1 and isinstance(gens[0], list | tuple) else gens


def one_hears(gens: tuple[Generator, ...]) -> bool:
    """Return whether events can change any of the children."""
    return True in [gen.hears for gen in gens]


def seeded_all(gens: tuple[Generator, ...], seed: int) -> tuple[Generator, ...]:
    """Return children with a seed of its own each."""
    return tuple(gen.seeded(split(seed, i)) for i, gen in enumerate(gens))


def updated_all(gens: tuple[Generator, ...], test: Any, ctx: Context, event: Op) -> tuple[
        Generator, ...]:
    """Return children after an event that all of them may hear of; the same tuple if no change."""
    after = gens
    for i, gen in enumerate(gens):
        if gen.hears and (new := gen.update(test, ctx, event)) is not gen:
            after = replaced(after, i, new)
    return after


def replaced(gens: tuple[Generator, ...], i: int, gen: Generator) -> tuple[Generator, ...]:
    """Return children with another one at position ``i``."""
    return (*gens[:i], gen, *gens[i + 1:])


class Mix(Generator, frozen=True, gc=False):
    """A random child; one that proves exhausted is dropped and another drawn."""

    gens: tuple[Generator, ...]
    weights: tuple[int, ...]
    total: int
    state: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        rng = ctx.roster.rng
        rng.state = self.state
        gens, weights, total = self.gens, self.weights, self.total
        while gens:
            draw = rng.below(total)
            i = 0
            while draw >= weights[i]:
                draw -= weights[i]
                i += 1
            state = rng.state
            answer = gens[i].op(test, ctx)
            if answer is PENDING:
                return PENDING
            if answer is not None:
                after = answer[1]
                if after is not gens[i]:
                    gens = replaced(gens, i, after)
                return answer[0], Mix(gens, weights, total, state, self.hears or after.hears)
            total -= weights[i]
            gens, weights = gens[:i] + gens[i + 1:], weights[:i] + weights[i + 1:]
            rng.state = state
        return None

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        gens = updated_all(self.gens, test, ctx, event)
        if gens is self.gens:
            return self
        return Mix(gens, self.weights, self.total, self.state, one_hears(gens))

    def seeded(self, seed: int) -> Generator:
        gens = seeded_all(self.gens, seed)
        return Mix(gens, self.weights, self.total, seed, self.hears)


class Soonest(Generator, frozen=True, gc=False):
    """The soonest of its children, beginning to ask at ``turn``."""

    gens: tuple[Generator, ...]
    turn: int
    shortest: bool
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        gens, n, now = self.gens, len(self.gens), ctx.time_ns
        best: tuple[Op, Generator] | None = None
        at, pending = 0, False
        for k in range(n):
            i = (self.turn + k) % n
            answer = gens[i].op(test, ctx)
            if answer is None:
                if self.shortest:
                    return None
            elif answer is PENDING:
                pending = True
            elif best is None or answer[0].time_ns < best[0].time_ns:
                best, at = answer, i
                if best[0].time_ns <= now and not self.shortest:
                    break                        # nobody can be sooner than now
        if best is None:
            return PENDING if pending else None
        op, after = best
        return op, Soonest(replaced(gens, at, after), (at + 1) % n, self.shortest,
                           self.hears or after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        gens = updated_all(self.gens, test, ctx, event)
        if gens is self.gens:
            return self
        return Soonest(gens, self.turn, self.shortest, one_hears(gens))

    def seeded(self, seed: int) -> Generator:
        return Soonest(seeded_all(self.gens, seed), self.turn, self.shortest, self.hears)


class FlipFlop(Generator, frozen=True, gc=False):
    """Child ``turn`` is next."""

    gens: tuple[Generator, ...]
    turn: int
    hears: bool

    def op(self, test: Any, ctx: Context) -> Answer:
        if not self.gens:
            return None
        answer = self.gens[self.turn].op(test, ctx)
        if answer is None or answer is PENDING:
            return answer
        op, after = answer
        gens = replaced(self.gens, self.turn, after)
        return op, FlipFlop(gens, (self.turn + 1) % len(gens), self.hears or after.hears)

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        gens = updated_all(self.gens, test, ctx, event)
        return self if gens is self.gens else FlipFlop(gens, self.turn, one_hears(gens))

    def seeded(self, seed: int) -> Generator:
        return FlipFlop(seeded_all(self.gens, seed), self.turn, self.hears)
