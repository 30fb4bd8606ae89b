"""The node's client in a simulated world: its pure machine, over the world's connections.

What core/client.py is over sockets, with the same operations and errors. A connection is there
when the world says so; one that does not come to be is given up after as long as the real client
waits. The machine is woken by one timer of the world, which is set anew only when it would ring
too late: an operation that is answered soon costs no timer.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from seatrial.core.client import CONNECT_S, Operations, Reads
from seatrial.core.client_machine import NEVER, Answer, ClientMachine, Close, Connect, Done, Send

from .environment import PPM
from .loop import Timer

CONNECT_NS = int(CONNECT_S * 1e9)


class Network(Protocol):
    """What a client needs of a world. Nodes are 1 and up, their hosts 0 and up."""

    @property
    def now_ns(self) -> int:
        """Virtual time."""

    def call_at(self, when_ns: int, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call back at that time."""

    def connect(self, pool: int, host: int, client: Any) -> int:
        """Begin a connection; ``client`` hears how it goes on."""

    def send(self, connection: int, data: bytes) -> None:
        """Send on a connection."""

    def close(self, connection: int) -> None:
        """End a connection; ``client`` hears no more of it."""


class SimClient(Operations):
    """A client of these nodes, 1 to so many if it is a number, in the pool of clients with this
    endpoint.

    any_node_ppm: so many of its reads it asks of any one node, which need not lead.
    """

    def __init__(
        self, world: Network, pool: int, nodes: int | Sequence[int], *,
        random_u64: Callable[[], int], timeout_s: float, prefer: int = 0, any_node_ppm: int = 0,
    ) -> None:
        known = range(1, nodes + 1) if isinstance(nodes, int) else nodes
        machine = ClientMachine(known, random_u64, prefer=prefer)
        super().__init__(machine, timeout_s=timeout_s, clock=lambda: world.now_ns)
        self._world = world
        self._pool = pool
        self._random_u64 = random_u64
        self._any_node_ppm = any_node_ppm
        self._connections: dict[int, int] = {}      # node -> connection
        self._nodes: dict[int, int] = {}            # connection -> node
        self._alarm: Timer | None = None
        self._alarm_ns = NEVER

    async def read(
        self, key: bytes, *, any_node: bool = False, timeout_s: float | None = None,
        reads: Reads = "linearizable", max_lag_s: float = 0.0, node: int = 0,
    ) -> Answer:
        """Return the newest value; now and then of a node that need not lead."""
        if self._any_node_ppm and self._random_u64() % PPM < self._any_node_ppm:
            any_node = True
        return await super().read(key, any_node=any_node, timeout_s=timeout_s, reads=reads,
                                  max_lag_s=max_lag_s, node=node)

    async def close(self) -> None:
        """End what is under way and close all connections."""
        self._machine.close()
        self._settle()
        if self._alarm is not None:
            self._alarm.cancel()

    # -- what the world tells ----------------------------------------------------------------

    def connected(self, connection: int) -> None:
        """A connection came up."""
        node = self._nodes.get(connection)
        if node is not None:
            self._machine.connected(node, self._world.now_ns)
            self._settle()

    def closed(self, connection: int) -> None:
        """A connection broke, or did not come to be."""
        node = self._nodes.pop(connection, None)
        if node is not None:
            del self._connections[node]
            self._machine.disconnected(node, self._world.now_ns)
            self._settle()

    def received(self, connection: int, data: bytes) -> None:
        """Bytes arrived."""
        node = self._nodes.get(connection)
        if node is not None:
            self._machine.received(node, data, self._world.now_ns)
            self._settle()

    # -- carrying out effects ------------------------------------------------------------------

    def _settle(self) -> None:
        machine = self._machine
        while effects := machine.take_effects():
            for effect in effects:
                if type(effect) is Send:
                    self._world.send(self._connections[effect.node], effect.data)
                elif type(effect) is Done:
                    self._conclude(effect)
                elif type(effect) is Close:
                    self._drop(effect.node)
                elif type(effect) is Connect:
                    self._dial(effect.node)
        if self._waiting:
            due_ns = machine.deadline_ns()
            if due_ns < self._alarm_ns:
                self._set_alarm(due_ns)

    def _dial(self, node: int) -> None:
        connection = self._world.connect(self._pool, node - 1, self)
        self._connections[node] = connection
        self._nodes[connection] = node
        self._world.call_at(self._world.now_ns + CONNECT_NS, self._give_up_dialling, connection)

    def _give_up_dialling(self, connection: int) -> None:
        node = self._nodes.get(connection)
        if node is not None and self._machine.connections[node].state == "connecting":
            self._world.close(connection)
            self.closed(connection)

    def _drop(self, node: int) -> None:
        connection = self._connections.pop(node, None)
        if connection is not None:
            del self._nodes[connection]
            self._world.close(connection)

    def _set_alarm(self, due_ns: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_ns = due_ns
        self._alarm = self._world.call_at(max(due_ns, self._world.now_ns), self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_ns = None, NEVER
        if not self._waiting:
            return
        due_ns, now_ns = self._machine.deadline_ns(), self._world.now_ns
        if due_ns > now_ns:
            self._set_alarm(due_ns)
        else:
            self._machine.tick(now_ns)
            self._settle()
