"""World ``local``: the namespace hosts of a lab on this machine, as ``Host``s.

    parent, outside, owns the lab             child, inside (inside.py)

    world = LocalWorld.create(nodes=5)
    world.make()
    run_inside(world.lab, "m:campaign", name) -->  world = LocalWorld.view(name)
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
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..control import SshHost, Target, on_nodes
from ..errors import HarnessFailure
from . import kernel, state
from .cgroup import Cgroup
from .keys import CLIENT_KEY, KNOWN_HOSTS
from .lab import Lab
from .plan import Address, Plan, plan
from .state import RUN

ANSWER_TIMEOUT_S = 10.0
CHECKOUT = Path(__file__).resolve().parents[2]


class LocalWorld:
    """A ``protocols.World`` of namespace hosts. lab: set where this process owns the lab."""

    name = "local"

    def __init__(self, plan: Plan, lab: Lab | None, masked: Iterable[Path] = ()) -> None:
        self.plan = plan
        self._lab = lab
        self._masked = (CHECKOUT, *masked)
        self._threads = ThreadPoolExecutor(4 * len(plan.hosts), "ssh")
        self.hosts: Sequence[SshHost] = [
            self._host(index, host) for index, host in enumerate(plan.hosts)]
        self.pools: Mapping[str, tuple[str, str | None]] = {
            pool.name: (pool.ipv4, pool.ipv6) for pool in plan.pools}

    @classmethod
    def create(cls, nodes: int = 5, pools: Iterable[str] = ("clients",), *,
               lab: str | None = None, masked: Iterable[Path] = ()) -> LocalWorld:
        """Claim a new lab (under a random name) of that shape; ``make`` it or ``up`` next.

        masked: what hosts must not see besides the checkout: the store, for example.
        """
        shape = plan(lab or f"run-{secrets.token_hex(4)}", nodes, pools)
        return cls(shape, Lab.create(shape), masked)

    @classmethod
    def attach(cls, lab: str) -> LocalWorld:
        """Become the owner of a lab that ``up`` left running."""
        owned = Lab.attach(lab)
        return cls(owned.state.plan, owned)

    @classmethod
    def view(cls, lab: str) -> LocalWorld:
        """Use a running lab that another process (usually our parent) owns."""
        known = state.read(lab)
        if known is None or not known.alive:
            raise HarnessFailure(f"lab {lab}: is not up (seatrial up --lab {lab})")
        return cls(known.plan, None)

    @property
    def lab(self) -> Lab:
        """The lab, which this process must own."""
        if self._lab is None:
            raise HarnessFailure(f"lab {self.plan.lab}: belongs to another process")
        return self._lab

    def make(self) -> None:
        """Make the hosts; return when each runs its sshd (which may not listen yet)."""
        self.lab.start(self._masked)

    async def up(self) -> None:
        """Make the hosts if that is still to do; return when each answers over SSH."""
        if self._lab is not None and not self._lab.alive:
            await asyncio.to_thread(self.make)
        await on_nodes(self.hosts, self._answer)

    async def down(self) -> None:
        """Remove every trace (the owner), or just hang up (a view)."""
        if self._lab is None:
            self.close()
        else:
            await asyncio.to_thread(self.destroy)

    def enter(self) -> None:
        """Move this process to the control namespace. It must have no other threads yet."""
        kernel.setns(state.control(self.plan.lab), kernel.CLONE_NEWNET)

    def freeze(self, host: str) -> None:
        """Stop all processes of a host, sshd too; return when they stand still."""
        self._cgroup(host).freeze()

    def thaw(self, host: str) -> None:
        """Let them go on."""
        self._cgroup(host).thaw()

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

    async def _answer(self, host: SshHost) -> None:
        """Return when the host answers over SSH."""
        try:
            await host.run(["true"])
        except HarnessFailure as failure:
            words = self._lab.last_words(host.name) if self._lab else None
            if words is None:
                raise
            raise HarnessFailure(f"{host.target.where}: its sshd ended: {words}") from failure

    def _cgroup(self, host: str) -> Cgroup:
        return Cgroup.of_lab(self.plan.lab).child("hosts", host)

    def _host(self, index: int, host: Address) -> SshHost:
        folder = RUN / self.plan.lab
        controller = self.plan.controller
        target = Target(name=host.name, address=host.ipv4, user="root", ssh_config=False,
                        key=folder / CLIENT_KEY, known_hosts=folder / KNOWN_HOSTS,
                        dial=self._dial, connect_timeout_s=ANSWER_TIMEOUT_S)
        return SshHost(target, self._threads, index=index, ipv4=host.ipv4, ipv6=host.ipv6,
                       controller=tuple(filter(None, (controller.ipv4, controller.ipv6))))

    def _dial(self, address: str, port: int, timeout_s: float) -> socket.socket:
        """Connect from the controller's address in the lab."""
        with kernel.entered(state.control(self.plan.lab)):
            return socket.create_connection((address, port), timeout_s,
                                            (self.plan.controller.ipv4, 0))
