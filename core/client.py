"""The asyncio client: sockets, a clock and chance around the pure ClientMachine.

    client = await Client.connect({1: "198.18.0.1:7000", 2: "198.18.0.2:7000"},
                                  cluster="lab", key=b"...", local_addr="198.18.1.7")
    await client.write(b"k", b"1")
    answer = await client.read(b"k")            # Answer(value=b"1", node=1, rindex=...)
    try:
        await client.cas(b"k", b"1", b"2")
    except CasMismatch as found: ...            # changed nothing; found.seen
    except Refused: ...                         # certainly did not happen
    except Unknown: ...                         # may have happened

It finds the leader, follows redirects, notices dead connections and repeats what may be
repeated; client_machine.py says what each outcome promises. It learns of new members from those
that it knows, so it must reach one of them now and then. Cancelling an operation (a
timeout around it) ends it at once; what it did is then as unknown as its last attempt was.
"""
from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from seatrial.core.client_machine import (
    Answer,
    ClientMachine,
    Close,
    Connect,
    Done,
    Learn,
    Send,
)
from seatrial.core.commands import (
    Holder,
    Page,
    Part,
    Token,
    Transacted,
    decode_holder,
    decode_i64,
    decode_page,
    decode_transacted,
    decode_u64,
    encode_acquire,
    encode_bound,
    encode_i64,
    encode_scan,
    encode_transaction,
    encode_u64,
)
from seatrial.core.config import Address, clean_key, parse_address
from seatrial.core.errors import (
    CasMismatch,
    CounterOverflow,
    DomainFenced,
    HandshakeRefused,
    LockHeld,
    LockLost,
    NotACounter,
    NotLeader,
    NotRoot,
    NotTransacted,
    OperationError,
    Refused,
    SessionLost,
    StaleToken,
    TokenLost,
    TooOld,
    Unknown,
    WrongNode,
)
from seatrial.core.handshake import NONCE_BYTES, ConnectorHandshake

__all__ = [
    "Answer", "CasMismatch", "Client", "CounterOverflow", "DomainFenced", "Holder", "LockHeld",
    "LockLost", "NotACounter", "NotLeader", "NotRoot", "NotTransacted", "Page", "Refused",
    "SessionLost", "StaleToken", "Token", "TokenLost", "TooOld", "Transacted", "Unknown",
]

Reads = Literal["linearizable", "prefix", "bounded"]

LEARN_S = 0.9                   # less than client_machine.LEARN_NS: one question at a time
CONNECT_S = 0.5                 # with the handshake; a node that runs answers in milliseconds
DEFAULT_TIMEOUT_S = 5.0
USER_TIMEOUT_MS = 2000


def random_u64() -> int:
    """Return a session's nonce: large enough that no two clients ever draw the same."""
    return int.from_bytes(os.urandom(8), "little")


class Wire(asyncio.Protocol):
    """One connection of a client: handshake, then bytes to the machine."""

    def __init__(self, client: Client, node: int) -> None:
        self._client = client
        self._node = node
        self.gone = False
        self._transport: asyncio.Transport | None = None
        self._handshake: ConnectorHandshake | None = ConnectorHandshake(
            client.cluster, "client", client.key, os.urandom(NONCE_BYTES), expect=node)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the hello."""
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        assert self._handshake is not None
        self._transport.write(self._handshake.hello())

    def data_received(self, data: bytes) -> None:
        """Go on with the handshake, or pass bytes to the machine."""
        if self._handshake is None:
            self._client.received(self, self._node, data)
            return
        try:
            out = self._handshake.receive(data)
        except HandshakeRefused as refusal:
            self._fail(refusal)
            return
        if out:
            self.send(out)
        if self._handshake.done:
            self._handshake = None      # no node speaks before it is asked
            if not self.ready.done():
                self.ready.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
        self.close()

    def send(self, data: bytes) -> None:
        """Send."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for the handshake, and the machine."""
        self.gone = True
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("closed during the handshake"))
        self._client.lost(self, self._node)


class Operations:
    """What can be asked of a cluster, over whatever carries the machine's bytes (``_settle``).

    ``token`` is where in the root's log the session stands: given to another client, which may
    talk to another domain, that one reads what this one wrote.
    Each operation ends within its ``timeout_s``, or the client's own.
    """

    def __init__(
        self, machine: ClientMachine, *, timeout_s: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.timeout_s = timeout_s
        self.token: Token | None = None     # the newest that this session has seen; may be set
        self._machine = machine
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    async def read(
        self, key: bytes, *, any_node: bool = False, timeout_s: float | None = None,
        reads: Reads = "linearizable", max_lag_s: float = 0.0, node: int = 0,
    ) -> Answer:
        """Return a key's value (None when it is absent): the newest, unless ``reads`` says other.

        ``any_node``: all nodes answer by turns, followers too; it takes load off the leader.
        ``reads``: "prefix": what some node has applied, but nothing older than this client, or
        whoever gave it its ``token``, has seen; "bounded": so too, and not older than
        ``max_lag_s`` (0: the domain's bound). Raises TooOld, TokenLost. ``node``: this one answers.
        """
        if reads == "linearizable":
            return await self._operate(
                "read", key, timeout_s=timeout_s, any_node=any_node, node=node)
        bound = encode_bound(self.token, max_lag_s if reads == "bounded" else None)
        return await self._operate(
            "read", key, expected=bound, timeout_s=timeout_s, any_node=any_node, node=node,
            reads=reads)

    async def write(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> Answer:
        """Set a key."""
        return await self._operate("write", key, value, timeout_s=timeout_s)

    async def cas(
        self, key: bytes, expected: bytes | None, value: bytes, *,
        timeout_s: float | None = None,
    ) -> Answer:
        """Set a key if it holds ``expected`` (None: is absent), else raise CasMismatch."""
        return await self._operate("cas", key, value, expected, timeout_s=timeout_s)

    async def append(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> Answer:
        """Add bytes to a key's value; an absent one counts as empty."""
        return await self._operate("append", key, value, timeout_s=timeout_s)

    async def delete(self, key: bytes, *, timeout_s: float | None = None) -> Answer:
        """Make a key absent."""
        return await self._operate("delete", key, timeout_s=timeout_s)

    async def add(self, key: bytes, delta: int = 1, *, timeout_s: float | None = None) -> int:
        """Add to a counter (absent: 0) and return what it is now.

        Raises NotACounter, CounterOverflow.
        """
        answer = await self._operate("add", key, encode_i64(delta), timeout_s=timeout_s)
        return decode_i64(answer.value)

    async def scan(
        self, begin: bytes = b"", end: bytes = b"", *, limit: int = 0,
        timeout_s: float | None = None,
    ) -> Page:
        """Return the keys of [begin, end) in order, linearizably; no end: all from ``begin`` on.

        A page holds at most ``limit`` keys and about a megabyte; ``more`` is where to go on, as
        an operation of its own: what changes between two pages shows in the second only.
        """
        answer = await self._operate("scan", begin, encode_scan(end, limit), timeout_s=timeout_s)
        return decode_page(answer.value)

    async def transact(
        self, when: Sequence[Part] = (), then: Sequence[Part] = (),
        otherwise: Sequence[Part] = (), *, timeout_s: float | None = None,
    ) -> Transacted:
        """If all compares hold do ``then``, else ``otherwise``; atomically (parts: commands.py).

        Raises NotTransacted when a command does not succeed: then none took effect.
        """
        value = encode_transaction(when, then, otherwise)
        answer = await self._operate("transact", b"", value, timeout_s=timeout_s)
        return decode_transacted(answer.value)

    async def acquire(
        self, lock: bytes, holder: bytes, ttl_s: float, *, timeout_s: float | None = None
    ) -> int:
        """Take a lock for ``ttl_s``, to be counted from the call on; return its fencing token.

        Tokens only grow. Raises LockHeld. Again by its holder: it is kept alive, with the same
        token, so ``holder`` should name one life of one process.
        """
        value = encode_acquire(holder, ttl_s)
        return decode_u64((await self._operate(
            "acquire", lock, value, timeout_s=timeout_s)).value)

    async def keep_alive(
        self, lock: bytes, token: int, *, timeout_s: float | None = None
    ) -> None:
        """Hold a lock for its ttl from the call on. Raises LockLost."""
        await self._operate("keep-alive", lock, encode_u64(token), timeout_s=timeout_s)

    async def release(self, lock: bytes, token: int, *, timeout_s: float | None = None) -> None:
        """Give a lock back. Raises LockLost."""
        await self._operate("release", lock, encode_u64(token), timeout_s=timeout_s)

    async def holder(self, lock: bytes, *, timeout_s: float | None = None) -> Holder | None:
        """Return who holds a lock, linearizably."""
        return decode_holder((await self._operate("holder", lock, timeout_s=timeout_s)).value)

    async def write_if_token(
        self, key: bytes, value: bytes, token: int, *, timeout_s: float | None = None
    ) -> Answer:
        """Set a key unless a newer token has written it. Raises StaleToken."""
        return await self._operate(
            "write-if-token", key, value, encode_u64(token), timeout_s=timeout_s)

    async def status(
        self, node: int | None = None, *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """Return what a node says of itself: this one, or whichever is asked just now."""
        answer = await self._operate("status", timeout_s=timeout_s, node=node or 0)
        return msgspec.json.decode(answer.value or b"{}", type=dict[str, Any])

    async def _operate(
        self, kind: str, key: bytes = b"", value: bytes = b"", expected: bytes | None = None,
        *, timeout_s: float | None = None, node: int = 0, any_node: bool = False,
        reads: str = "",
    ) -> Answer:
        if self._machine.closed:
            raise Refused("the client is closed")
        if node and node not in self._machine.connections:
            members = list(self._machine.connections)
            raise ValueError(f"node {node} is not among the members {members}")
        now = self._clock()
        limit = int((self.timeout_s if timeout_s is None else timeout_s) * 1e9)
        handle = self._machine.start(
            now, kind, now + limit, key, value, expected, node=node, any_node=any_node,
            reads=reads)
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[handle] = future
        self._settle()
        try:
            return await future
        except asyncio.CancelledError:
            self._waiting.pop(handle, None)
            self._machine.abandon(handle)
            self._settle()
            raise

    def _conclude(self, done: Done) -> None:
        future = self._waiting.pop(done.handle, None)
        if future is None or future.done():
            return
        answer = done.outcome if isinstance(done.outcome, Answer) else done.outcome.answer
        if answer is not None and answer.rindex and (
                self.token is None or self.token < answer.token):
            self.token = answer.token
        if isinstance(done.outcome, Answer):
            future.set_result(done.outcome)
        else:
            future.set_exception(done.outcome)

    def _settle(self) -> None:
        """Do what the machine wants done, and wake it when it wants to be woken."""
        raise NotImplementedError


class Client(Operations):
    """See the module's docstring; made by ``Client.connect``."""

    def __init__(
        self, members: Mapping[int, str], *, cluster: str, key: bytes,
        local_addr: str | Sequence[str] | None = None, prefer: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.cluster = cluster
        self.key = clean_key(key)
        self._members = {node: parse_address(text) for node, text in members.items()}
        super().__init__(ClientMachine(self._members, random_u64, prefer=prefer or 0),
                         timeout_s=timeout_s)
        self._local = [local_addr] if isinstance(local_addr, str) else list(local_addr or ())
        self._wires: dict[int, Wire] = {}
        self._dialling: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._refusals: dict[int, HandshakeRefused] = {}
        self._learning: asyncio.Task[None] | None = None

    @classmethod
    async def connect(
        cls, members: Mapping[int, str], *, cluster: str, key: bytes,
        local_addr: str | Sequence[str] | None = None, prefer: int | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Client:
        """Return a client that has reached at least one node.

        Raises HandshakeRefused when the nodes will not have us, Refused when none answers.
        """
        client = cls(members, cluster=cluster, key=key, local_addr=local_addr, prefer=prefer,
                     timeout_s=timeout_s)
        try:
            await client._operate("ping")
        except Refused:
            await client.close()
            for refusal in client._refusals.values():
                raise refusal from None
            raise
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self) -> None:
        """End what is under way and close all connections."""
        self._machine.close()
        self._settle()
        tasks = [*self._dialling.values(), *([self._learning] if self._learning else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- carrying out effects -------------------------------------------------------------------

    def _settle(self) -> None:
        """Do what the machine wants done, and wake it when it wants to be woken."""
        while effects := self._machine.take_effects():
            for effect in effects:
                if isinstance(effect, Send):
                    self._wires[effect.node].send(effect.data)
                elif isinstance(effect, Done):
                    self._conclude(effect)
                elif isinstance(effect, Learn):
                    self._learning = self._loop.create_task(self._learn(effect.node))
                elif isinstance(effect, Connect):
                    self._dialling[effect.node] = self._loop.create_task(self._dial(effect.node))
                else:
                    self._drop(effect)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._machine.closed and self._waiting:
            wait = (self._machine.deadline_ns() - self._clock()) / 1e9
            self._timer = self._loop.call_later(max(0.0, wait), self._tick)

    def _drop(self, effect: Close) -> None:
        wire = self._wires.pop(effect.node, None)
        if wire is not None:
            wire.close()

    def _tick(self) -> None:
        self._timer = None
        self._machine.tick(self._clock())
        self._settle()

    # -- connections ------------------------------------------------------------------------------

    async def _dial(self, node: int) -> None:
        wire = Wire(self, node)
        try:
            async with asyncio.timeout(CONNECT_S):
                address = self._members[node]
                await self._loop.create_connection(
                    lambda: wire, *address, local_addr=self._local_for(address))
                await wire.ready
            if wire.gone:
                raise ConnectionResetError("closed after the handshake")
        except (OSError, HandshakeRefused) as error:        # a timeout is an OSError too
            if isinstance(error, HandshakeRefused):
                self._refusals[node] = HandshakeRefused(f"{self._members[node]}: {error}")
            self._give_up(wire)
            self._machine.disconnected(node, self._clock())
            if isinstance(error, WrongNode):    # a newer node has taken its place
                self._know({other: where for other, where in self._members.items()
                            if other != node} | {error.node: self._members[node]}, gone=node)
            if len(self._refusals) == len(self._machine.connections):
                self._machine.abandon_all()     # nobody will ever have us
        except asyncio.CancelledError:
            self._give_up(wire)
            raise
        else:
            self._refusals.pop(node, None)
            self._wires[node] = wire
            self._machine.connected(node, self._clock())
        del self._dialling[node]
        self._settle()

    async def _learn(self, node: int) -> None:
        """Ask a node who takes part, and where."""
        with contextlib.suppress(OperationError, KeyError, ValueError):
            told = (await self.status(node, timeout_s=LEARN_S))["members"]
            if told:
                self._know({int(number): parse_address(text) for number, text in told.items()})

    def _know(self, members: Mapping[int, Address], gone: int = 0) -> None:
        """Go by these members from now on."""
        self._machine.learn(members, self._clock(), gone)
        self._members = {node: members.get(node) or self._members[node]
                         for node in self._machine.connections}
        self._refusals = {node: refusal for node, refusal in self._refusals.items()
                          if node in self._machine.connections}
        self._settle()

    @staticmethod
    def _give_up(wire: Wire) -> None:
        wire.close()
        wire.ready.cancel()
        if not wire.ready.cancelled():
            with contextlib.suppress(Exception):
                wire.ready.exception()          # seen: nobody else will ask for it

    def _local_for(self, address: Address) -> tuple[str, int] | None:
        """Return the local address of the same family as this literal one, if any."""
        if not self._local:
            return None
        for text in self._local:
            with contextlib.suppress(ValueError):
                version = ipaddress.ip_address(address.host.partition("%")[0]).version
                if ipaddress.ip_address(text).version == version:
                    return text, 0
        raise OSError(f"no local address of {self._local} fits {address}")

    def received(self, wire: Wire, node: int, data: bytes) -> None:
        """Bytes arrived on a connection."""
        if self._wires.get(node) is wire:
            self._machine.received(node, data, self._clock())
            self._settle()

    def lost(self, wire: Wire, node: int) -> None:
        """A connection is gone."""
        if self._wires.get(node) is wire:
            del self._wires[node]
            self._machine.disconnected(node, self._clock())
            self._settle()
