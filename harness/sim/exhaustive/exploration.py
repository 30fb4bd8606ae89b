"""An exploration from beginning to end: until nothing is left, something is found, or a cap."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from seatrial.core import mutants

from . import story
from .cluster import Cluster
from .live import Live
from .scope import Scope
from .space import Space
from .story import Action
from .tree_live import TreeLive
from .tree_scope import TreeScope
from .tree_space import TreeSpace

PORTION = 20_000            # states between two looks at the clock and at the memory

CLOSED, VIOLATION, STATES, MEMORY, INTERRUPTED = (
    "closed", "violation", "capped by --states", "capped by --memory", "interrupted")


@dataclass(frozen=True)
class Outcome:
    """What an exploration came to. cpu_s: what it would have taken with a core of its own."""

    scope: Scope | TreeScope
    ended: str
    states: int
    numbered: int           # how many those are, if the numbers of the nodes count
    waiting: int            # of them were not expanded
    depth: int              # the most actions that the way to a state takes at least
    transitions: int
    node_states: int
    node_steps: int
    memory_bytes: int
    wall_s: float
    cpu_s: float
    violation: str | None = None
    trace: tuple[Action, ...] = ()

    @property
    def rate(self) -> float:
        """States a second."""
        return self.states / max(self.wall_s, 1e-9)


def plant(mutant: str) -> bool:
    """Plant a bug in the node; False: not in this process, whose build of the node has none."""
    if not mutants.NAMES:
        return False
    mutants.activate(mutant)
    return True


def explore(
    scope: Scope | TreeScope, *, states: int, memory_bytes: int = 1 << 40,
    tell: Callable[[Cluster, float], None] | None = None,
) -> Outcome:
    """Explore a scope; ``tell`` is called now and then, with the space and the seconds so far."""
    began, cpu = time.monotonic(), time.process_time()
    space = space_of(scope, states)
    ended = CLOSED
    try:
        while space.explore(PORTION):
            if space.full:
                ended = STATES
                break
            if space.memory_bytes > memory_bytes:
                ended = MEMORY
                break
            if tell is not None:
                tell(space, time.monotonic() - began)
    except KeyboardInterrupt:
        ended = INTERRUPTED
    if space.violation is not None:
        ended = VIOLATION
    return Outcome(
        scope, ended, space.count, space.numbered, space.waiting, space.depth, space.edges,
        space.local_states, space.local_steps, space.memory_bytes, time.monotonic() - began,
        time.process_time() - cpu, space.violation,
        tuple(space.trace()) if space.violation is not None else ())


def space_of(scope: Scope | TreeScope, states: int) -> Cluster:
    """Return the space of a scope, with room for so many states."""
    return TreeSpace(scope, states) if isinstance(scope, TreeScope) else Space(scope, states)


def live_of(space: Cluster) -> Live:
    """Return the nodes of a space, to play its traces once more."""
    return TreeLive(space) if isinstance(space, TreeSpace) else Live(space)


def told(scope: Scope | TreeScope, trace: list[Action]) -> tuple[list[str], str | None]:
    """Play a trace. Return its story, and what the simulation's checkers say of the same actions
    (core/invariants.pyx, core/domain_invariants.pyx)."""
    space = space_of(scope, 1)
    played = space.play(trace)
    taken = trace[:len(played)]
    if played and played[-1][2] is not None and "can't happen here" in played[-1][2]:
        taken = taken[:-1]
    return story.lines(trace, played, space.prefix), live_of(space).play(taken)
