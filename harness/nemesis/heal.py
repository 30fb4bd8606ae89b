"""Undo every fault on hosts, whoever started it, and leave nothing of ours behind.

Works without the run that did it: what is to be undone stands in each host's journal, and the
agent that can read it is uploaded again. Undoing twice is undoing once.
"""
from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import SeatrialError
from ..protocols import Host, Powered
from .agents import call, upload

HOST_TIMEOUT_S = 120.0          # these three for a host of usual speed
BOOT_TIMEOUT_S = 100.0
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Healed:
    """What was undone on one host; ``error`` says why it could not be reached."""

    host: str
    undone: list[str] = field(default_factory=list)
    """Names of the faults that were in force."""
    error: str | None = None
    left: dict[str, str] = field(default_factory=dict)
    """What an administrator did and the cluster did not let be undone -> why."""


async def heal(hosts: Sequence[Host]) -> list[Healed]:
    """Heal all hosts that can be reached; the others are told by their ``error``."""
    return list(await asyncio.gather(*(heal_one(host) for host in hosts)))


async def mend(world: object) -> list[str]:
    """Give power to hosts that have none and thaw those that stand still, where the world can do
    that; return their names when they answer."""
    if not isinstance(world, Powered):
        return []
    mended = await asyncio.to_thread(world.mend)
    for host in getattr(world, "hosts", ()):
        if host.name in mended:
            await answers(host)
    return mended


async def answers(host: Host, limit_s: float = BOOT_TIMEOUT_S) -> None:
    """Return when a host that boots answers; HarnessFailure when it doesn't in time.

    A connection on which nobody answers may be one from before, which would be silent for minutes
    yet: each further question goes over a new one.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit_s * patience(host)
    while True:
        try:
            await host.run(["true"], timeout_s=ANSWER_TIMEOUT_S)
            return
        except (SeatrialError, OSError):
            if clock() > deadline:
                raise
            if hang_up := getattr(host, "hang_up", None):
                await asyncio.to_thread(hang_up)


def patience(host: Host) -> float:
    """Return how many times longer than usual things may take on a host."""
    return float(getattr(host, "patience", 1.0))


async def heal_one(host: Host) -> Healed:
    """Heal one host, in bounded time.

    Once more after a failure: a run that ends at this moment heals too, and the first of the two
    to finish takes the other one's agent away.
    """
    limit_s = HOST_TIMEOUT_S * patience(host)
    try:
        async with asyncio.timeout(limit_s):
            try:
                answer = await remove(host)
            except SeatrialError:
                answer = await remove(host)
    except (SeatrialError, OSError, TimeoutError) as error:
        return Healed(host.name, error=str(error) or f"no answer in {limit_s:.0f} s")
    left = {entry["name"]: entry["failed"] for entry in answer["undone"] if "failed" in entry}
    return Healed(host.name, [entry["name"] for entry in answer["undone"]
                              if "failed" not in entry], left=left)


async def remove(host: Host) -> dict[str, Any]:
    """Have the agent undo everything and remove itself; return its answer."""
    await upload(host)
    return await call(host, "remove")
