"""The worlds whose hosts this machine makes itself: what they have in common.

    parent, outside, owns the lab             child, inside (inside.py)

    world = LocalWorld.create(nodes=5)
    world.make()
    run_inside(world.lab, "m:campaign", name) -->  world = view(name)
                                                   await world.up()
                                                   ... world.hosts, world.pools ...
                                                   world.close()
    world.destroy()  or  world.keep()

``up`` works outside as well: SSH connections are dialled in the control namespace by the
thread that makes them, wherever the rest of the process is. Only the owner of a lab makes it
and takes it down; a view uses it.
"""
from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..control import SshHost, Target, on_nodes
from ..errors import HarnessFailure
from . import kernel, state
from .keys import CLIENT_KEY, KNOWN_HOSTS
from .lab import Lab
from .plan import Address, Plan
from .state import RUN

ANSWER_TIMEOUT_S = 10.0


class LabWorld(ABC):
    """A ``protocols.World`` of a lab's hosts. lab: set where this process owns the lab.

    name: what ``--on`` calls it. disk: of machines, the device mapper's name of their data disk,
    and where it is mounted; their clocks are their own as well.
    """

    name: str
    disk: tuple[str, str] | None = None
    answer_timeout_s = ANSWER_TIMEOUT_S

    def __init__(self, plan: Plan, lab: Lab | None) -> None:
        self.plan = plan
        self._lab = lab
        self._threads = ThreadPoolExecutor(4 * len(plan.hosts), "ssh")
        self.hosts: Sequence[SshHost] = [
            self._host(index, host) for index, host in enumerate(plan.hosts)]
        self.pools: Mapping[str, tuple[str, str | None]] = {
            pool.name: (pool.ipv4, pool.ipv6) for pool in plan.pools}

    @property
    def lab(self) -> Lab:
        """The lab, which this process must own."""
        if self._lab is None:
            raise HarnessFailure(f"lab {self.plan.lab}: belongs to another process")
        return self._lab

    @property
    def stretch(self) -> float:
        """How many times longer than usual all timeouts are on these hosts.

        The square root of their slowness, as it was measured when they were made: a node mostly
        waits, for the network and its disk, and only its own share of the time grows.
        """
        known = state.read(self.plan.lab)
        slowness = known.slowness if known else 1.0
        return round(slowness ** 0.5, 1) if slowness > 2 else 1.0

    @abstractmethod
    def make(self) -> None:
        """Make the hosts; return when each runs its sshd (which may not listen yet)."""

    @abstractmethod
    def freeze(self, host: str) -> None:
        """Stop all of a host, sshd too; return when it stands still."""

    @abstractmethod
    def thaw(self, host: str) -> None:
        """Let it go on."""

    @abstractmethod
    def last_words(self, host: str) -> str | None:
        """What a host that has ended said last; None while it runs."""

    async def up(self) -> None:
        """Make the hosts if that is still to do; return when each answers over SSH."""
        if self._lab is not None and not self._lab.alive:
            await asyncio.to_thread(self.make)
        await on_nodes(self.hosts, self.answer)

    async def down(self) -> None:
        """Remove every trace (the owner), or just hang up (a view)."""
        if self._lab is None:
            self.close()
        else:
            await asyncio.to_thread(self.destroy)

    def enter(self) -> None:
        """Move this process to the control namespace. It must have no other threads yet."""
        kernel.setns(state.control(self.plan.lab), kernel.CLONE_NEWNET)

    def open_socket(self, family: int, kind: int) -> socket.socket:
        """Return a new socket in the lab's network, where the client pools have addresses."""
        with kernel.entered(state.control(self.plan.lab)):
            return socket.socket(family, kind)

    def keep(self) -> None:
        """Leave the lab running without an owner."""
        self.close()
        self.lab.state.kept = True
        self.lab.save()
        self.lab.release()

    def destroy(self) -> None:
        """Remove every trace of the lab."""
        self.close()
        self.lab.destroy()

    def close(self) -> None:
        """End the connections and the threads that serve them."""
        for host in self.hosts:
            host.close()
        self._threads.shutdown()

    async def answer(self, host: SshHost) -> None:
        """Return when the host answers over SSH."""
        try:
            await host.run(["true"])
        except HarnessFailure as failure:
            words = self.last_words(host.name)
            if words is None:
                raise
            raise HarnessFailure(f"{host.target.where}: it ended: {words}") from failure

    def _host(self, index: int, host: Address) -> SshHost:
        folder = RUN / self.plan.lab
        controller = self.plan.controller
        target = Target(name=host.name, address=host.ipv4, user="root", ssh_config=False,
                        key=folder / CLIENT_KEY, known_hosts=folder / KNOWN_HOSTS,
                        dial=self._dial, connect_timeout_s=self.answer_timeout_s)
        return SshHost(target, self._threads, index=index, ipv4=host.ipv4, ipv6=host.ipv6,
                       patience=self.stretch,
                       controller=tuple(filter(None, (controller.ipv4, controller.ipv6))))

    def _dial(self, address: str, port: int, timeout_s: float) -> socket.socket:
        """Connect from the controller's address in the lab."""
        with kernel.entered(state.control(self.plan.lab)):
            return socket.create_connection((address, port), timeout_s,
                                            (self.plan.controller.ipv4, 0))


def attach(name: str) -> LabWorld:
    """Become the owner of a lab that ``up`` left running."""
    owned = Lab.attach(name)
    return _class_of(owned.state.plan)(owned.state.plan, owned)


def view(name: str) -> LabWorld:
    """Use a running lab that another process (usually our parent) owns."""
    known = state.read(name)
    if known is None or not known.alive:
        raise HarnessFailure(f"lab {name}: is not up (seatrial up --lab {name})")
    return _class_of(known.plan)(known.plan, None)


def _class_of(plan: Plan) -> type[LabWorld]:
    from .local import LocalWorld
    from .vm.world import VirtualWorld

    return LocalWorld if plan.machine is None else VirtualWorld
