"""Asking all nodes at once what they believe: one client with a connection to each.

A node that is paused, cut off or dead must not hold up the others' answers, so whoever does
not answer within a short time counts as silent.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from seatrial.core.client import Client
from seatrial.core.errors import OperationError

TIMEOUT_S = 0.6


class Watch:
    """make: makes the client, inside the event loop that is going to use it."""

    def __init__(self, nodes: list[int], make: Callable[[], Client]) -> None:
        self._nodes = nodes
        self._make = make
        self._client: Client | None = None

    async def statuses(self) -> dict[int, dict[str, Any]]:
        """Return the status of every node that answers, by its id."""
        client = self._client = self._client or self._make()
        answers = await asyncio.gather(
            *(client.status(node, timeout_s=TIMEOUT_S) for node in self._nodes),
            return_exceptions=True,
        )
        found = {}
        for node, answer in zip(self._nodes, answers, strict=True):
            if isinstance(answer, dict):
                found[node] = answer
            elif not isinstance(answer, OperationError | OSError):
                raise answer
        return found

    async def close(self) -> None:
        """End the connections."""
        if self._client is not None:
            await self._client.close()
