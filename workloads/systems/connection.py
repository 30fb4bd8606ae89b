"""A workload's connection to our node: its own client's answers and errors, translated."""
from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from seatrial.core import client as core_client
from seatrial.core.client import Client
from seatrial.core.errors import CasMismatch, NodeError, OperationError, Refused

from ..keyvalue import Answer, DidNotHappen, MayHaveHappened, Mismatch
from .numbers import position

if TYPE_CHECKING:
    from seatrial.harness.sim.client import SimClient

PATIENCE = 0.95  # of op_timeout: the client, who knows what it sent, says how it ended


class NodeConnection:
    """``keyvalue.Connection`` over the node's own client.

    reader: who reads instead of it. domains: names of the domains, by their numbers from 1; none
    where the cluster is one.
    """

    def __init__(self, client: Client | SimClient, reader: Client | SimClient | None = None,
                 domains: Sequence[str] = ()) -> None:
        self._client = client
        self._reader = client if reader is None else reader
        self._domains = domains

    async def _changed(self, call: Awaitable[core_client.Answer]) -> Answer:
        """A change: its answer names the domains that confirmed it, the one that answers too."""
        return await translated(call, self._domains)

    async def read(self, key: bytes) -> Answer:
        """Read, linearizable."""
        return await translated(self._reader.read(key))

    async def write(self, key: bytes, value: bytes) -> Answer:
        """Write."""
        return await self._changed(self._client.write(key, value))

    async def cas(self, key: bytes, expected: bytes | None, value: bytes) -> Answer:
        """Compare and set."""
        return await self._changed(self._client.cas(key, expected, value))

    async def add(self, key: bytes, delta: int) -> Answer:
        """Add to a counter."""
        return await translated(numbered(self._client.add(key, delta)))

    async def acquire(self, lock: bytes, holder: bytes, ttl_s: float) -> Answer:
        """Take a lock."""
        return await translated(numbered(self._client.acquire(lock, holder, ttl_s)))

    async def release(self, lock: bytes, token: int) -> Answer:
        """Give a lock back."""
        return await translated(numbered(self._client.release(lock, token)))

    async def write_if_token(self, key: bytes, value: bytes, token: int) -> Answer:
        """Write, unless a newer token has."""
        return await self._changed(self._client.write_if_token(key, value, token))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()
        if self._reader is not self._client:
            await self._reader.close()


async def numbered(call: Awaitable[int | None]) -> core_client.Answer:
    """Await an operation whose answer is a number, or nothing: it doesn't say where it stands."""
    number = await call
    return core_client.Answer(None if number is None else b"%d" % number, 0, 0, 0, 0)


async def translated(call: Awaitable[core_client.Answer], domains: Sequence[str] = ()) -> Answer:
    """Await an operation; tell its outcome in the workloads' words. domains: names of those that
    may have confirmed it."""
    try:
        got = await call
    except CasMismatch as mismatch:
        raise Mismatch(Answer(mismatch.seen)) from mismatch
    except Refused as refused:
        raise DidNotHappen(str(refused)) from refused
    except (OperationError, NodeError, OSError) as error:
        raise MayHaveHappened(str(error)) from error
    if not got.node:
        return Answer(got.value)
    confirmed = None
    if domains:
        confirmed = " ".join(domains[number - 1] for number in (got.domain, *got.confirmed))
    return Answer(got.value, position(got.node), got.rindex, got.epoch, got.term,
                  max(got.domain - 1, 0), confirmed)
