"""The link of a child domain to its parent, as a connection: whom to dial, and when again.

Only the leader of a domain that has a parent wants one (``uplink_wanted``). It dials the nodes of
the parent by turns, as a client would. What it hears there may send it to another node (a
follower names its leader: ``take_uplink_move``); a break, a silence or a refusal sends it to the
next. It never gives up. What is said on the link is the machine's business.
"""
from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from seatrial.core.config import Address, parse_address
from seatrial.core.errors import HandshakeRefused, ProtocolError
from seatrial.core.handshake import NONCE_BYTES, ConnectorHandshake
from seatrial.core.transport import DIAL_TIMEOUT_S, REDIAL_S, given_up, send_at_once, tune

if TYPE_CHECKING:
    from seatrial.core.journal import Journal

MOVES = 3                       # followed at once; then a pause, should they lead in a circle
Target = tuple[int, Address]    # a node of the parent, and where it listens


class Machine(Protocol):
    """What the link needs of the replica."""

    def uplink_wanted(self) -> bool: ...
    def parent_nodes(self) -> list[tuple[int, str]]: ...
    def uplink_up(self, node: int, now_ns: int) -> None: ...
    def uplink_down(self, now_ns: int) -> None: ...
    def receive_uplink(self, data: bytes, now_ns: int) -> None: ...
    def take_uplink_move(self) -> tuple[int, str] | None: ...


class UplinkShell(Protocol):
    """What the link needs of the node."""

    journal: Journal
    cluster: str
    protocol_max: int

    def wake(self) -> None: ...


class Uplink:
    """Keeps the connection to the parent while it is wanted."""

    def __init__(
        self, shell: UplinkShell, machine: Machine, domain: int, key: bytes, *,
        clock: Callable[[], int], user_timeout_ms: int, max_unsent_bytes: int,
    ) -> None:
        self.shell = shell
        self.domain = domain
        self.key = key
        self.user_timeout_ms = user_timeout_ms
        self.max_unsent_bytes = max_unsent_bytes
        self.node = 0                   # of the parent, that we are connected to
        self._machine = machine
        self._clock = clock
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._named: tuple[int, str] | None = None      # whom to dial next
        self._turn = 0
        self._complaints: dict[int, str] = {}   # of each node, what was logged last

    # -- what the node does once an iteration ------------------------------------------------------

    def follow(self) -> None:
        """Dial while the machine wants a link, move where it wants to be."""
        if not self._machine.uplink_wanted():
            if self._task is not None:
                self._stop()
            return
        if self._task is None:
            self._named = None
            self._task = asyncio.get_running_loop().create_task(self._keep_dialling())
        move = self._machine.take_uplink_move()
        if move is not None:
            self._named = move if move[0] else None
            if self._wire is not None:
                self._wire.moved = True
                self._wire.close()

    def send(self, data: bytes) -> None:
        """Send, or drop when the link is down: the machine repeats what matters."""
        if self._wire is not None and self._wire.up:
            self._wire.send(data)

    async def stop(self) -> None:
        """Close and dial no more."""
        task = self._task
        if task is not None:
            self._stop()
            await asyncio.gather(task, return_exceptions=True)

    def _stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        self._task = None
        if self._wire is not None:
            self._wire.close()
            self.lost(self._wire)
            self._wire = None

    # -- dialling ----------------------------------------------------------------------------------

    async def _keep_dialling(self) -> None:
        moves = 0
        while True:
            target = self._next()
            moved, complaint = False, "no address of the parent is known"
            if target is not None:
                moved, complaint = await self._attach(*target)
            self._complain(target, complaint)
            moves = moves + 1 if moved else 0
            if not moved or moves > MOVES:
                moves = 0
                await asyncio.sleep(REDIAL_S)

    def _complain(self, target: Target | None, complaint: str) -> None:
        """Log why a node of the parent can't be used; once, not ten times a second."""
        node, address = target or (0, "")
        if complaint and complaint != self._complaints.get(node):
            self.shell.journal.warning(
                "uplink-refused", parent=node, address=str(address), reason=complaint)
        self._complaints[node] = complaint

    def _next(self) -> Target | None:
        """Return whom to dial: who was named, else the next of the parent's nodes."""
        named, self._named = self._named, None
        nodes = self._machine.parent_nodes()
        if named is not None:
            where = named[1] or dict(nodes).get(named[0], "")
            if (found := self._parsed(named[0], where)) is not None:
                return found
        for _ in nodes:
            node, where = nodes[self._turn % len(nodes)]
            self._turn += 1
            if (found := self._parsed(node, where)) is not None:
                return found
        return None

    def _parsed(self, node: int, where: str) -> Target | None:
        try:
            return node, parse_address(where)
        except ValueError as error:
            self.shell.journal.error("bad-address", parent=node, reason=str(error))
            return None

    async def _attach(self, node: int, address: Address) -> tuple[bool, str]:
        """Connect, serve until it is lost. Return whether it was given up for another node, and
        why it did not come up."""
        wire = self._wire = Wire(self, node, address)
        loop = asyncio.get_running_loop()
        failure = ""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await loop.create_connection(lambda: wire, *address)
            async with asyncio.timeout(2 * DIAL_TIMEOUT_S):
                await wire.ready.wait()
        except TimeoutError:
            failure = "no answer in time"
        except (OSError, UnicodeError) as error:    # (the latter: a name that can be none)
            failure = getattr(error, "strerror", None) or str(error)
        if failure:
            wire.close()
            if wire.made:
                await given_up(wire.gone)
        elif wire.made:
            await wire.gone.wait()
        if self._wire is wire:
            self._wire = None
        return wire.moved, failure or wire.refusal

    # -- what the connection tells -----------------------------------------------------------------

    def came_up(self, wire: Wire) -> None:
        """The parent's node let us in."""
        self.node = wire.node
        self.shell.journal.info("uplink-up", parent=wire.node, address=str(wire.address))
        self._machine.uplink_up(wire.node, self._clock())
        self.shell.wake()

    def received(self, wire: Wire, data: bytes) -> None:
        """Feed the machine."""
        try:
            self._machine.receive_uplink(data, self._clock())
        except ProtocolError as error:
            self.shell.journal.warning("uplink-closed", parent=wire.node, reason=str(error))
            wire.close()
        self.shell.wake()

    def lost(self, wire: Wire) -> None:
        """A connection that had come up is gone."""
        if not wire.up:
            return
        wire.up = False
        self.node = 0
        self.shell.journal.info("uplink-down", parent=wire.node, address=str(wire.address))
        self._machine.uplink_down(self._clock())
        self.shell.wake()


class Wire(asyncio.Protocol):
    """One connection to one node of the parent."""

    def __init__(self, uplink: Uplink, node: int, address: Address) -> None:
        self.node = node
        self.address = address
        self.up = False
        self.made = False
        self.moved = False              # it was closed to dial another node
        self.refusal = ""
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self._closed = False
        self._uplink = uplink
        self._transport: asyncio.Transport
        self._handshake: ConnectorHandshake | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our hello."""
        self._transport = cast(asyncio.Transport, transport)
        self.made = True
        if self._closed:
            self._transport.abort()
            return
        uplink = self._uplink
        tune(transport, uplink.user_timeout_ms)
        send_at_once(self._transport)
        self._handshake = ConnectorHandshake(
            uplink.shell.cluster, "link", uplink.key, os.urandom(NONCE_BYTES), node=uplink.domain,
            expect=self.node, protocol_max=uplink.shell.protocol_max)
        self._transport.write(self._handshake.hello())

    def data_received(self, data: bytes) -> None:
        """Go on with the handshake; afterwards pass it on."""
        if self._closed:
            return
        if self._handshake is None:
            self._uplink.received(self, data)
            return
        try:
            out = self._handshake.receive(data)
        except HandshakeRefused as refusal:
            self.refusal = str(refusal)
            self._transport.abort()
            return
        if out:
            self._transport.write(out)
        if self._handshake.done:
            rest = self._handshake.leftover()
            self._handshake = None
            self.up = True
            self.ready.set()
            self._uplink.came_up(self)
            if rest:
                self._uplink.received(self, rest)

    def send(self, data: bytes) -> None:
        """Send; give a parent up that does not take what it is sent."""
        self._transport.write(data)
        unsent = self._transport.get_write_buffer_size()
        if unsent > self._uplink.max_unsent_bytes:
            self._uplink.shell.journal.warning("uplink-choked", parent=self.node, unsent=unsent)
            self.close()

    def close(self) -> None:
        """Close at once."""
        self._closed = True
        if self.made:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the dialler, and tell that it is gone."""
        if not self.up and not self.refusal and not self._closed:
            self.refusal = "it closed the connection during the handshake"
        self.ready.set()
        self.gone.set()
        self._uplink.lost(self)
