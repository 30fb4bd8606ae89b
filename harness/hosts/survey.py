"""What existing hosts lack for each fault: ``seatrial doctor --on inventory.yml``.

The agent's own look at a host is what counts (nemesis/agent/), so that a run finds what was told
here. It is put into a folder of its own, which is removed again: nothing else is changed.
"""
from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..control import SshHost
from ..errors import SeatrialError
from ..nemesis.archive import ARCHIVE, NAME
from .inventory import InventoryWorld

ABILITIES = {"cut": "partitions", "pause": "pause", "shape": "delay, loss, rate, ...",
             "clock": "clock-*", "disk": "disk-*"}


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One host. error: why it can't be used at all; cannot: ability -> why it lacks it."""

    host: str
    error: str | None = None
    about: str = ""
    cannot: dict[str, str] = field(default_factory=dict)


def survey(path: Path, told: Callable[[Sequence[Surveyed]], None]) -> bool:
    """Look at all hosts of an inventory; return whether each can be used."""
    InventoryWorld.enter(path)
    world = InventoryWorld(path)
    try:
        found = asyncio.run(look(world))
    finally:
        world.close()
    told(found)
    return all(host.error is None for host in found)


async def look(world: InventoryWorld) -> list[Surveyed]:
    """Look at all hosts of a world at once."""
    return list(await asyncio.gather(*(_one(world, host) for host in world.hosts)))


async def _one(world: InventoryWorld, host: SshHost) -> Surveyed:
    folder = f"/run/seatrial-survey-{secrets.token_hex(4)}"
    try:
        await host.run(["mkdir", "-m", "700", folder])
        try:
            await host.put(ARCHIVE, f"{folder}/{NAME}", mode=0o700)
            addresses = [address for address in (host.ipv4, host.ipv6) if address]
            answer = await host.run(
                ["python3", "-I", "-S", f"{folder}/{NAME}", "examine"],
                stdin=json.dumps({"addresses": addresses, "clocks": world.clocks,
                                  "disk": world.disk}).encode())
        finally:
            await host.run(["rm", "-rf", folder])
    except (SeatrialError, OSError) as error:
        return Surveyed(host.name, str(error))
    seen = json.loads(answer.stdout)
    return Surveyed(host.name, None, f"{seen['system']}, Python {seen['python']}", seen["cannot"])
