"""Who leads, and who takes part, several times a second, as rows of the history.

Answers carry the term they were given in, but say nothing while nobody answers, and faults
aim at the leader of the moment: so the system is asked, in a task beside the run, and every
change, and every second leader of a term (checker/split_brain.py), becomes an event of the
nemesis's lane: ``f="leader"``, value ``{"leader": name, "term": number}``. A system that can't be
asked (it has no ``leaders``) is left alone. Where members may change, who votes is asked for as
well: ``f="members"`` (voters.py).
"""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, runtime_checkable

from .administration import Administered
from .op import INFO, NEMESIS, Op
from .protocols import Host
from .test import Test
from .voters import MEMBERS

PERIOD_S = 0.2


@runtime_checkable
class Leaders(Protocol):
    """A system whose nodes say who leads, and in which term."""

    async def leaders(self, test: Test) -> list[tuple[int, Host]]:
        """Return (term, host) for each node that says it leads, newest term first."""


@asynccontextmanager
async def watch_leaders(test: Test, record: Callable[[Op], None]) -> AsyncIterator[None]:
    """Record every change of leader or term inside the with block."""
    if not isinstance(test.system, Leaders):
        yield
        return
    task = asyncio.create_task(_watch(test, test.system, record), name="leaders")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task      # raises what broke it: nobody watched since then


async def _watch(test: Test, system: Leaders, record: Callable[[Op], None]) -> None:
    newest, members = 0, None
    led: dict[int, set[str]] = {}       # term -> who said so: more than one, and there is trouble
    while True:
        for term, host in reversed(await system.leaders(test)):
            if term > newest or host.name not in led.get(term, {host.name}):
                newest = max(term, newest)
                led.setdefault(term, set()).add(host.name)
                record(event(test, "leader", {"leader": host.name, "term": term}))
        if test.spec.topology.spares and isinstance(system, Administered):
            found = await system.administration.members(test)
            value = found and {"voters": sorted(found.voters), "learners": sorted(found.learners)}
            if value and value != members:
                members = value
                record(event(test, MEMBERS, value))
        await asyncio.sleep(PERIOD_S)


def event(test: Test, f: str, value: dict[str, Any]) -> Op:
    """Return a row of the nemesis's lane, now."""
    return Op(f, value, type=INFO, process=NEMESIS, time_ns=test.now_ns())
