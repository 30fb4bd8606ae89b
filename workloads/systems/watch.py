"""Asking all nodes at once what they believe: one client for each host.

A node that is paused, cut off or dead must not hold up the others' answers, so whoever does
not answer within a short time counts as silent. Hosts are asked, not numbers: whichever node
listens there answers.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from seatrial.core.client import Client
from seatrial.core.errors import OperationError

TIMEOUT_S = 0.6


class Watch:
    """make: makes the client of a host, by its position, inside the event loop that uses it."""

    def __init__(self, make: Callable[[int], Client]) -> None:
        self._make = make
        self._clients: dict[int, Client] = {}

    async def statuses(self, hosts: Collection[int]) -> dict[int, dict[str, Any]]:
        """Return the status of every node that answers, by its host's position."""
        for host in hosts:
            if host not in self._clients:
                self._clients[host] = self._make(host)
        answers = await asyncio.gather(
            *(self._clients[host].status(timeout_s=TIMEOUT_S) for host in hosts),
            return_exceptions=True,
        )
        found = {}
        for host, answer in zip(hosts, answers, strict=True):
            if isinstance(answer, dict):
                found[host] = answer
            elif not isinstance(answer, OperationError | OSError):
                raise answer
        return found

    async def close(self) -> None:
        """End the connections."""
        for client in self._clients.values():
            await client.close()
