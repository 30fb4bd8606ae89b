"""Sockets of the node: who connects to us, whom we dial, and when a connection is dead.

Between two members there are two connections, one each way: a node dials every other member
and sends its own messages on the connection that it dialled; on the other it only listens.
So each side alone decides when to dial again, and there is never a question which of two
crossing connections counts. Whom to dial, and where, is links.py's business.

A cut network shows as silence. The sender notices by TCP_USER_TIMEOUT (bytes that are not
acknowledged for so long), the receiver by keepalive or because the member connects anew.
Dialling is given up quickly and tried again soon, because the kernel's own retries of a SYN
wait ever longer: thus a link is back within about half a second after a partition heals.
"""
from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

from seatrial.core.config import Address
from seatrial.core.errors import HandshakeRefused, NodeError, OtherLife
from seatrial.core.handshake import NONCE_BYTES, ConnectorHandshake, Life, ListenerHandshake

if TYPE_CHECKING:
    from seatrial.core.journal import Journal

DIAL_TIMEOUT_S = 0.5
REDIAL_S = 0.1
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))
BACKLOG = 1024


class Shell(Protocol):
    """What connections need of the node."""

    journal: Journal
    cluster: str
    node: int
    keys: dict[str, bytes]
    protocol_max: int
    life: Life

    def domains(self) -> Collection[int]: ...
    def admit(self, inbound: Inbound) -> None: ...
    def full(self) -> bool: ...
    def refused(self, reason: str) -> None: ...
    def other_life(self, life: tuple[int, int]) -> None: ...
    def received(self, inbound: Inbound, data: bytes) -> None: ...
    def lost(self, inbound: Inbound) -> None: ...
    def link_up(self, link: Link) -> None: ...
    def link_down(self, link: Link) -> None: ...


def tune(transport: asyncio.BaseTransport, user_timeout_ms: int) -> None:
    """Send small messages at once and notice when the other end is gone."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout_ms)


def send_at_once(transport: asyncio.WriteTransport) -> None:
    """Let write() try the socket itself instead of waiting for the end of the iteration.

    uvloop does so only above the high-water mark. Without it a leader's messages would leave
    after the sync that the same iteration waits for.
    """
    transport.set_write_buffer_limits(high=0)


def listening_socket(address: Address) -> socket.socket:
    """Return a listening socket; NodeError names the address that is taken or not ours."""
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise NodeError(f"can't listen on {address}: {error.strerror}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise NodeError(f"can't listen on {address}: {error.strerror}") from None
    return sock


async def given_up(gone: asyncio.Event) -> None:
    """Wait until a connection that was aborted is gone, but not for ever.

    Where the time for dialling ends in the moment in which the connection is made, because this
    machine is slow, uvloop closes it and never says that it was lost.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            await gone.wait()


def name_of(transport: asyncio.BaseTransport) -> str:
    """Return the other end's address for the log."""
    peer = transport.get_extra_info("peername")
    return str(Address(peer[0], peer[1])) if peer else "?"


class Inbound(asyncio.Protocol):
    """A connection that somebody made to us."""

    def __init__(
        self, shell: Shell, number: int, handshake_s: float, user_timeout_ms: int
    ) -> None:
        self.shell = shell
        self.number = number            # never used again
        self.role = ""
        self.peer = 0
        self.domain = 0                 # of role link
        self.protocol = 0
        self.address = ""
        self.choked = False             # the other end does not fetch what we send
        self.transport: asyncio.Transport
        self._handshake: ListenerHandshake | None = None
        self._handshake_s = handshake_s
        self._user_timeout_ms = user_timeout_ms
        self._deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the hello, but not for long."""
        self.transport = cast(asyncio.Transport, transport)
        self.address = name_of(transport)
        tune(transport, self._user_timeout_ms)
        send_at_once(self.transport)
        shell = self.shell
        self._handshake = ListenerHandshake(
            shell.cluster, shell.node, shell.keys, os.urandom(NONCE_BYTES), full=shell.full(),
            protocol_max=shell.protocol_max, life=shell.life, domains=shell.domains())
        self._deadline = asyncio.get_running_loop().call_later(
            self._handshake_s, self._refuse, "no hello in time")

    def data_received(self, data: bytes) -> None:
        """Pass payload on; before that, the handshake."""
        if self._handshake is None:
            self.shell.received(self, data)
        else:
            self._shake_hands(self._handshake, data)

    def _shake_hands(self, handshake: ListenerHandshake, data: bytes) -> None:
        try:
            out = handshake.receive(data)
        except HandshakeRefused as refusal:
            self.transport.write(handshake.farewell)
            self._refuse(str(refusal))
            if isinstance(refusal, OtherLife):
                self.shell.other_life(refusal.life)
            return
        if out:
            self.transport.write(out)
        if not handshake.done:
            return
        self._deadline.cancel()
        self._handshake = None
        self.role, self.peer, self.domain = handshake.role, handshake.peer, handshake.domain
        self.protocol = handshake.protocol
        self.shell.admit(self)
        rest = handshake.leftover()
        if rest:
            self.shell.received(self, rest)

    def _refuse(self, reason: str) -> None:
        self.shell.refused(reason)
        self.shell.journal.warning("connection-refused", address=self.address, reason=reason)
        self.transport.close()

    def close(self, reason: str) -> None:
        """Close, and say why."""
        self.shell.journal.warning("connection-closed", address=self.address, reason=reason)
        self.transport.abort()

    def pause_writing(self) -> None:
        """Take no more from one who does not fetch what it is sent.

        Of a link both ends send at length: if neither took what the other sends, they would wait
        for each other for ever.
        """
        self.choked = True
        if self.role != "link" and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on when all of it is sent."""
        self.choked = False
        if self.role != "link" and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the node if it knew us."""
        self._deadline.cancel()
        self.shell.lost(self)


class Link(asyncio.Protocol):
    """Our connection to one member: dialled, lost, dialled again, until stopped."""

    def __init__(
        self, shell: Shell, peer: int, address: Address, user_timeout_ms: int,
        max_unsent_bytes: int,
    ) -> None:
        self.shell = shell
        self.peer = peer
        self.address = address
        self.up = False
        self.dropped_bytes = 0          # of what a slow member could not take
        self._max_unsent_bytes = max_unsent_bytes
        self.protocol = 0               # of the present connection
        self._retired = False
        self._transport: asyncio.Transport | None = None
        self._handshake: ConnectorHandshake | None = None
        self._user_timeout_ms = user_timeout_ms
        self._gone = asyncio.Event()
        self._ready = asyncio.Event()
        self._complaint = ""            # what was logged last
        self._refusal = ""              # why the present connection can't be used
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to dial."""
        self._task = asyncio.get_running_loop().create_task(self._keep_dialling())

    async def stop(self) -> None:
        """Close and dial no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._transport is not None:
            self._transport.abort()
            await self._gone.wait()

    def retire(self) -> None:
        """Dial no more, and close once what was sent has left."""
        self._retired = True
        if self._task is not None:
            self._task.cancel()
        if self.up:
            self.up = False
            self.shell.link_down(self)
            assert self._transport is not None
            self._transport.close()
        elif self._transport is not None:
            self._transport.abort()

    def send(self, data: bytes) -> None:
        """Send; or drop, when the link is down or the member takes less than it is sent: consensus
        repeats what matters, and memory is finite."""
        if not self.up or self._transport is None:
            return
        if self._transport.get_write_buffer_size() > self._max_unsent_bytes:
            if self.dropped_bytes == 0:
                self.shell.journal.warning(
                    "link-choked", peer=self.peer, unsent=self._transport.get_write_buffer_size())
            self.dropped_bytes += len(data)
            return
        self._transport.write(data)

    @property
    def unsent_bytes(self) -> int:
        """Return how much waits to be taken by the member."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    async def _keep_dialling(self) -> None:
        while True:
            complaint = await self._dial()
            if complaint and complaint != self._complaint:      # not ten times a second
                self.shell.journal.warning(
                    "link-refused", peer=self.peer, address=str(self.address), reason=complaint)
            self._complaint = complaint
            await asyncio.sleep(REDIAL_S)

    async def _dial(self) -> str:
        """Connect, serve until it is lost; return why it did not come up."""
        self._ready.clear()
        self._gone.clear()
        loop = asyncio.get_running_loop()
        failure = ""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                await loop.create_connection(lambda: self, *self.address)
            async with asyncio.timeout(2 * DIAL_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError:
            failure = "no answer in time"
        except (OSError, UnicodeError) as error:    # (the latter: a name that can be none)
            failure = getattr(error, "strerror", None) or str(error)
        except HandshakeRefused as refusal:
            failure = str(refusal)
        if self._transport is None:
            return failure
        if failure:
            self._transport.abort()
            await given_up(self._gone)
        else:
            await self._gone.wait()
        self._transport = None
        return failure or self._refusal

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our hello."""
        self._transport = cast(asyncio.Transport, transport)
        if self._retired:
            self._transport.abort()
            return
        tune(transport, self._user_timeout_ms)
        send_at_once(self._transport)
        shell = self.shell
        self._refusal = ""
        self._handshake = ConnectorHandshake(
            shell.cluster, "peer", shell.keys["peer"], os.urandom(NONCE_BYTES), node=shell.node,
            expect=self.peer, protocol_max=shell.protocol_max, life=shell.life)
        self._transport.write(self._handshake.hello())

    def data_received(self, data: bytes) -> None:
        """Go on with the handshake; afterwards a member has nothing to say on this connection."""
        assert self._transport is not None
        try:
            if self._handshake is None:
                raise HandshakeRefused("it sent data on a connection that is ours to send on")
            out = self._handshake.receive(data)
        except HandshakeRefused as refusal:
            self._refusal = str(refusal)
            self._transport.abort()
            if isinstance(refusal, OtherLife):
                self.shell.other_life(refusal.life)
            return
        if out:
            self._transport.write(out)
        if self._handshake.done:
            self.protocol = self._handshake.protocol
            self._handshake = None
            self.up = True
            self._ready.set()
            self.shell.link_up(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the node if it was up, and wake the dialler."""
        was_up, self.up = self.up, False
        if not was_up and not self._refusal:
            self._refusal = "it closed the connection during the handshake"
        self._ready.set()
        self._gone.set()
        if was_up:
            self.shell.link_down(self)
