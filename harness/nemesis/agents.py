"""The controller's side of the on-host agents: install, call, read views, keep alive, remove.

Everything goes through ``Host`` (SSH). The agent's file name carries the hash of its content,
so a host never runs an agent of another build than the one that talks to it.
"""
from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..errors import HarnessFailure, SeatrialError
from ..protocols import Host
from .archive import ARCHIVE, NAME
from .fault import Fault
from .probe import View, Views

STATE = "/var/lib/seatrial-agent"
AGENT = f"{STATE}/{NAME}"
ALIVE = f"{STATE}/alive"
VIEW = f"/run/{Path(STATE).name}.view"
COMMAND_TIMEOUT_S = 20.0
UNDO_TIMEOUT_S = 50.0           # more than agent/administration.UNDO_S
T = TypeVar("T")

logger = logging.getLogger(__name__)


def addresses(host: Host) -> tuple[str, ...]:
    """Return the addresses that a host uses towards its peers, IPv4 first."""
    return (host.ipv4,) if host.ipv6 is None else (host.ipv4, host.ipv6)


async def everywhere(hosts: Sequence[Host], work: Callable[[Host], Awaitable[T]]) -> list[T]:
    """Do something on all hosts at once; if some fail, let all finish and raise the first."""
    return await all_of(*map(work, hosts))


async def all_of(*works: Awaitable[T]) -> list[T]:
    """Do several things at once; if some fail, let all finish and raise the first failure."""
    results = await asyncio.gather(*works, return_exceptions=True)
    done = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done


async def upload(host: Host) -> None:
    """Put the agent on a host, in a folder that only root can write."""
    await host.run(["mkdir", "-p", "-m", "700", STATE], timeout_s=COMMAND_TIMEOUT_S)
    await host.put(ARCHIVE, AGENT, mode=0o700)


async def call(host: Host, command: str, **request: Any) -> dict[str, Any]:
    """Run one of the agent's commands; an error is raised with the agent's own line."""
    undoes = command in ("stop", "remove", "install")       # what an earlier run left
    limit_s = UNDO_TIMEOUT_S if undoes else COMMAND_TIMEOUT_S
    result = await host.run(["python3", "-I", "-S", AGENT, command],
                            stdin=json.dumps(request).encode(), timeout_s=limit_s)
    try:
        answer = json.loads(result.stdout)
    except ValueError as error:
        raise HarnessFailure(
            f"{host.name}: nemesis agent {command}: no JSON: {result.stdout[:80]!r}") from error
    assert isinstance(answer, dict)
    return answer


async def stop_everywhere(hosts: Sequence[Host], fault: Fault) -> None:
    """End a fault on these hosts. If it had not lasted until now everywhere, the fault says so."""
    async def stop(host: Host) -> bool:
        return bool((await call(host, "stop", id=fault.id))["undone"])

    lasted = await everywhere(hosts, stop)
    early = [host.name for host, was_there in zip(hosts, lasted, strict=True) if not was_there]
    if early and fault.effective_ns is not None:
        fault.error = f"had been undone early on {', '.join(early)}"


class Agents:
    """The agents of one run, one on each host.

    run: unique among runs; deadline_s: after how long without a sign of life from here the
    hosts undo all faults on their own. clocks: whether each host has a clock that is its own and
    may be moved; disk: the device mapper's name of its own data disk, and where it is mounted.
    """

    def __init__(self, hosts: Sequence[Host], run: str, *, deadline_s: float = 30.0,
                 clocks: bool = False, disk: tuple[str, str] | None = None) -> None:
        self._own = {"clocks": clocks, "disk": disk}
        self.hosts = list(hosts)
        self.run = run
        self.deadline_s = deadline_s
        self.addresses = {host.name: addresses(host) for host in hosts}
        self.cannot: dict[str, dict[str, str]] = {}
        """Host name -> kind of fault -> why it can't work there."""
        self._ports: dict[str, list[int]] = {}

    async def install(self) -> None:
        """Start an agent on every host, healing what an earlier run left there."""
        await everywhere(self.hosts, upload)
        await everywhere(self.hosts, self._install_one)
        await everywhere(self.hosts, self._tell_peers)

    async def rejoin(self, hosts: Sequence[Host], absent: Collection[str]) -> None:
        """Start the agents of hosts that have booted; tell everybody but ``absent`` of them."""
        await everywhere(hosts, upload)
        await everywhere(hosts, self._install_one)
        await everywhere([host for host in self.hosts if host.name not in absent],
                         self._tell_peers)

    async def _install_one(self, host: Host) -> None:
        answer = await call(host, "install", run=self.run, addresses=self.addresses[host.name],
                            controllers=list(host.controller), deadline_s=self.deadline_s,
                            **self._own)
        self.cannot[host.name] = answer["cannot"]
        self._ports[host.name] = answer["ports"]

    async def _tell_peers(self, host: Host) -> None:
        peers = [[address, port] for peer in self.hosts if peer is not host
                 for address, port in zip(self.addresses[peer.name], self._ports[peer.name],
                                          strict=True)]
        await call(host, "peers", peers=peers)

    async def views(self) -> Views:
        """Read what every resident has sent and heard."""
        return dict(zip((host.name for host in self.hosts),
                        await everywhere(self.hosts, read_view), strict=True))

    async def keep_alive(self) -> None:
        """Tell all hosts, for ever, that the controller lives. Hosts don't wait for each other."""
        await asyncio.gather(*(self._keep_alive(host) for host in self.hosts))

    async def _keep_alive(self, host: Host) -> None:
        while True:
            try:
                # -c: after ``remove`` nothing may come back
                await host.run(["touch", "-c", ALIVE], timeout_s=self.deadline_s)
            except (SeatrialError, OSError) as error:
                logger.warning("%s: heals itself in %g s unless it hears of us: %s", host.name,
                               self.deadline_s, error)
            await asyncio.sleep(self.deadline_s / 6)


async def read_view(host: Host) -> View:
    """Read one host's view; an error when its resident has shown none yet."""
    return msgspec.json.decode(await host.read(VIEW), type=View)
