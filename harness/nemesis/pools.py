"""``pool-cut``: a pool of clients and all nodes lose sight of each other.

The hosts drop what comes from the pool's addresses; what a node sends to a client is answered by
nobody it hears, so neither end gets on. Proved by connections from those addresses: a host that
drops them says nothing, one that hears them accepts or refuses. Meanwhile who is not of the pool
must get through: other pools, and the controller.
"""
from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from ..rng import Rng
from .agents import addresses, call, everywhere, stop_everywhere
from .fault import Fault, FaultError
from .kind import Kind, until
from .scene import Scene

if TYPE_CHECKING:
    from .hosts import HostScene

NAME = "pool-cut"
PREFIX = "pool:"
SILENCE_S = 0.7                 # how long a host may take to answer


def targets(scene: Scene) -> list[str]:
    """Return all that can be aimed at."""
    return [PREFIX + name for name in sorted(scene.test.pools)]


def pools_of(fault: Fault) -> list[str]:
    """Return the pools that a fault is aimed at."""
    return [target.removeprefix(PREFIX) for target in fault.targets]


def choose(scene: Scene, fault: Fault, rng: Rng) -> list[str]:
    """Draw a pool that no other fault has cut off."""
    taken = {target for other in scene.others(fault) for target in other.targets}
    free = [target for target in targets(scene) if target not in taken]
    if not free:
        raise FaultError("every pool of clients is cut off already")
    return [rng.choice(free)]


def no_pools(scene: Scene) -> str | None:
    """Return why there is nothing to be cut off, or None."""
    return None if getattr(scene.test, "pools", None) else "this world has no client pools"


@dataclass(frozen=True)
class PoolCut(Kind["HostScene"]):
    """A pool of clients loses sight of all nodes."""

    name: str = NAME
    cls: str = "omission"

    def impossible(self, scene: HostScene) -> str | None:
        return no_pools(scene) or scene.cannot("cut")

    async def aim(self, scene: HostScene, fault: Fault, rng: Rng) -> None:
        fault.targets = choose(scene, fault, rng)

    async def start(self, scene: HostScene, fault: Fault) -> None:
        sources = [address for pool in pools_of(fault)
                   for address in scene.test.pools[pool] if address is not None]
        await everywhere(scene.test.nodes, lambda host: call(
            host, "cut", id=fault.id, name=fault.name, sources=sources))

    async def prove(self, scene: HostScene, fault: Fault) -> None:
        await until(lambda: unheard(scene, fault), scene.prove_s,
                    f"{', '.join(fault.targets)}: still heard")
        await until(lambda: others_heard(scene, fault), scene.prove_s,
                    f"others than {', '.join(fault.targets)}: not heard either")

    async def stop(self, scene: HostScene, fault: Fault) -> None:
        await stop_everywhere(scene.test.nodes, fault)

    async def prove_recovery(self, scene: HostScene, fault: Fault) -> None:
        await until(lambda: heard(scene, pools_of(fault)), scene.recover_s,
                    f"{', '.join(fault.targets)}: not heard again")


async def unheard(scene: HostScene, fault: Fault) -> bool:
    """Tell whether no host hears any of the fault's pools."""
    return not any(await answers(scene, pools_of(fault)))


async def heard(scene: HostScene, pools: list[str]) -> bool:
    """Tell whether every host hears each of these pools."""
    return all(await answers(scene, pools))


async def others_heard(scene: HostScene, fault: Fault) -> bool:
    """Tell whether every host hears the controller, and each pool that no fault cuts off."""
    cut = {target for other in (fault, *scene.active.values()) for target in other.targets}
    free = [name for name in scene.test.pools if PREFIX + name not in cut]
    ours = [(us, to) for host in scene.test.nodes
            for us, to in zip(host.controller, addresses(host), strict=False)]
    return all(await connected(scene, ours)) and await heard(scene, free)


async def answers(scene: HostScene, pools: list[str]) -> list[bool]:
    """Return, for every pool, host and IP version, whether it is heard."""
    return await connected(scene, [
        (source, to) for pool, host in product(pools, scene.test.nodes)
        for source, to in zip(scene.test.pools[pool], addresses(host), strict=False)
        if source is not None])


async def connected(scene: HostScene, ways: list[tuple[str, str]]) -> list[bool]:
    """Return for each (source, address) whether somebody there answers."""
    port = next(iter(scene.test.system.ports(scene.test)))
    make = getattr(scene.test.world, "open_socket", socket.socket)
    return list(await asyncio.gather(*(reaches(make, *way, port) for way in ways)))


async def reaches(
    make: Callable[[int, int], socket.socket], source: str, to: str, port: int,
) -> bool:
    """Tell whether a host answers somebody at an address; to refuse is an answer, too."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with make(family, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        try:
            connection.bind((source, 0))
            async with asyncio.timeout(SILENCE_S):
                await asyncio.get_running_loop().sock_connect(connection, (to, port))
        except ConnectionRefusedError:
            return True
        except (TimeoutError, OSError):
            return False
    return True


KINDS = (PoolCut(),)

__all__ = ["KINDS", "NAME", "PREFIX", "PoolCut", "choose", "no_pools", "pools_of"]
