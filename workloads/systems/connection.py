"""A workload's connection to our node: its own client's answers and errors, translated."""
from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from seatrial.core import client as core_client
from seatrial.core.client import Client
from seatrial.core.errors import CasMismatch, NodeError, OperationError, Refused

from ..keyvalue import Answer, DidNotHappen, MayHaveHappened, Mismatch

if TYPE_CHECKING:
    from seatrial.harness.sim.client import SimClient

PATIENCE = 0.95  # of op_timeout: the client, who knows what it sent, says how it ended


class NodeConnection:
    """``keyvalue.Connection`` over the node's own client."""

    def __init__(self, client: Client | SimClient) -> None:
        self._client = client

    async def read(self, key: bytes) -> Answer:
        """Read, linearizable."""
        return await translated(self._client.read(key))

    async def write(self, key: bytes, value: bytes) -> Answer:
        """Write."""
        return await translated(self._client.write(key, value))

    async def cas(self, key: bytes, expected: bytes | None, value: bytes) -> Answer:
        """Compare and set."""
        return await translated(self._client.cas(key, expected, value))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()


async def translated(call: Awaitable[core_client.Answer]) -> Answer:
    """Await an operation; tell its outcome in the workloads' words."""
    try:
        got = await call
    except CasMismatch as mismatch:
        raise Mismatch(Answer(mismatch.seen)) from mismatch
    except Refused as refused:
        raise DidNotHappen(str(refused)) from refused
    except (OperationError, NodeError, OSError) as error:
        raise MayHaveHappened(str(error)) from error
    return Answer(got.value, got.node - 1, got.rindex, got.epoch, got.term)
