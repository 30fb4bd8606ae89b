"""The generator protocol: two pure functions on an immutable value.

``op(test, ctx)`` answers ``(operation, next generator)``, ``PENDING`` (nothing now; ask again
when something happened), or ``None`` (exhausted for good). ``update(test, ctx, event)`` answers
the generator after an invocation or completion. Who drives a generator (scheduler.py,
simulate.py) may ask, throw the answer away and ask again later: nothing changed by asking.

Contract between the driver and generators:

1. An operation's process is free in the context; it is started at ``max(time_ns, now)``. One
   that is due in the future is a promise: it is started then, unless an event or a thread that
   comes free is first; then the generator is asked again. One that is due in the past is late,
   and says so by its time.
2. The operation that ``op`` returns was made for this answer: whoever gets it may set its fields.
3. Every invocation and completion is passed to ``update``, in the order of the history, with
   the context in which its thread is busy (or free again).
4. Operations of type ``sleep`` and ``log`` keep a thread busy for ``value`` seconds, or print
   ``value``. They are neither events for ``update`` nor rows of the history.

**Draws.** A generator that draws holds the state of its own stream and puts the advanced state
into its successor, so asking twice gives the same answer, and the k-th draw of one part of a
tree doesn't depend on how many draws another part made: the same seed gives the same faults
however fast the clients were. ``seeded(seed)`` gives every part of a tree its own seed. It is
called once, by the driver, on the root; a combinator passes a different seed to each child
(``split``). Functions draw from ``ctx.rng``, which their wrapper positioned for them.
"""
from __future__ import annotations

import enum
from typing import Any

import msgspec

from ..op import Op
from ..rng import GAMMA, MASK, mix64
from .context import Context

SLEEP, LOG = "sleep", "log"      # types of operations that only the driver sees
UNSET = -2                       # an operation's process before it is filled in


class Pending(enum.Enum):
    """The type of ``PENDING``, so that type checkers can tell it from an answer."""

    PENDING = "pending"


PENDING = Pending.PENDING


class Generator(msgspec.Struct, frozen=True, gc=False):
    """A source of operations. Subclasses are immutable structs: their fields are their state."""

    @property
    def hears(self) -> bool:
        """Whether events can change this generator. If not, ``update`` need not be called.

        Most trees hear of nothing, and telling them of every event costs as much as asking
        them. So combinators carry their children's answer as a field.
        """
        return True

    def op(self, test: Any, ctx: Context) -> Answer:
        """Return (operation, next generator), PENDING, or None."""
        raise NotImplementedError(f"{type(self).__name__}.op")

    def update(self, test: Any, ctx: Context, event: Op) -> Generator:
        """Return the generator after an event."""
        return self

    def seeded(self, seed: int) -> Generator:
        """Return the generator with all its streams, and those of its children, set by a seed."""
        return self


Answer = tuple[Op, Generator] | Pending | None


class Nothing(Generator, frozen=True, gc=False):
    """The exhausted generator."""

    hears = False

    def op(self, test: Any, ctx: Context) -> Answer:
        return None


NOTHING = Nothing()


def split(seed: int, child: int) -> int:
    """Return the seed of a generator's child with this number."""
    return mix64((seed + GAMMA * (child + 1)) & MASK)
