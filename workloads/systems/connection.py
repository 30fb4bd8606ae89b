"""A workload's connection to our node: its own client's answers and errors, translated."""
from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING

from seatrial.core import client as core_client
from seatrial.core.client import Client, Token
from seatrial.core.errors import (
    CasMismatch,
    DomainFenced,
    NodeError,
    OperationError,
    Refused,
    TokenLost,
    TooOld,
)

from ..keyvalue import Answer, DidNotHappen, MayHaveHappened, Mismatch
from .numbers import position

if TYPE_CHECKING:
    from seatrial.harness.sim.client import SimClient

KINDS: dict[type[Refused], str] = {TokenLost: "lost", DomainFenced: "fenced", TooOld: "too old"}
PATIENCE = 0.95  # of op_timeout: the client, who knows what it sent, says how it ended


class NodeConnection:
    """``keyvalue.Connection`` over the node's own client.

    reader: who reads instead of it. domains: names of the domains by their ids, in the order of the
    file; none where the cluster is one.
    """

    def __init__(self, client: Client | SimClient, reader: Client | SimClient | None = None,
                 domains: Mapping[int, str] | None = None) -> None:
        self._client = client
        self._reader = client if reader is None else reader
        self._domains = domains or {}

    async def _changed(self, call: Awaitable[core_client.Answer]) -> Answer:
        """A change: its answer names the domains that confirmed it, the one that answers too."""
        return await translated(call, self._domains, changes=True)

    async def read(self, key: bytes) -> Answer:
        """Read, linearizable."""
        return await translated(self._reader.read(key), self._domains)

    async def read_prefix(self, key: bytes, token: tuple[int, int, int] | None) -> Answer:
        """Read what some node has applied, no less than the token says."""
        self._reader.token = None if token is None else Token(*token)
        return await translated(
            self._reader.read(key, reads="prefix", any_node=True), self._domains)

    async def read_bounded(self, key: bytes, token: tuple[int, int, int] | None,
                           bound_ms: int | None) -> Answer:
        """Read what is not older than the bound; None: than the domain's own."""
        self._reader.token = None if token is None else Token(*token)
        return await translated(
            self._reader.read(key, reads="bounded", max_lag_s=(bound_ms or 0) / 1000),
            self._domains)

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


def refusal(refused: Refused) -> str:
    """Return why, its kind first where the checks of domains know it."""
    kind = next((word for error, word in KINDS.items() if isinstance(refused, error)), "")
    return f"{kind}: {refused}" if kind else str(refused)


async def translated(call: Awaitable[core_client.Answer],
                     domains: Mapping[int, str] | None = None, *, changes: bool = False) -> Answer:
    """Await an operation; tell its outcome in the workloads' words. domains: names of the domains
    by their ids; changes: whether they may have confirmed it."""
    try:
        got = await call
    except CasMismatch as mismatch:
        raise Mismatch(placed(mismatch.answer, domains or {}) if mismatch.answer is not None
                       else Answer(mismatch.seen)) from mismatch
    except Refused as refused:
        raise DidNotHappen(refusal(refused)) from refused
    except (OperationError, NodeError, OSError) as error:
        raise MayHaveHappened(str(error)) from error
    return placed(got, domains or {}, changes=changes)


def placed(got: core_client.Answer, domains: Mapping[int, str], *, changes: bool = False) -> Answer:
    """Return an answer in the workloads' words."""
    if not got.node:
        return Answer(got.value)
    confirmed = None
    if domains and changes:
        confirmed = " ".join(domains[id] for id in (got.domain, *got.confirmed))
    place = list(domains).index(got.domain) if domains else 0
    return Answer(got.value, position(got.node), got.rindex, got.epoch, got.term, place,
                  confirmed)
