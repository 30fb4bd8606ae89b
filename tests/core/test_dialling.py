"""Connections that are dialled on a machine so slow that the time for it ends as they are made."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from seatrial.core.config import Address
from seatrial.core.transport import DIAL_TIMEOUT_S, Link
from seatrial.core.uplinks import Uplink

KEY = b"0123456789abcdef"


class SlowShell:
    """A node whose first connection takes all the time that there is for it."""

    node, protocol_max, keys, life = 1, 1, {"peer": KEY}, (0, 0)
    journal: Any = SimpleNamespace(warning=lambda *_, **__: None)

    def __init__(self) -> None:
        self.asked = 0

    @property
    def cluster(self) -> str:
        self.asked += 1
        if self.asked == 1:
            time.sleep(DIAL_TIMEOUT_S + 0.1)    # it blocks the loop: that is it
        return "c"


def link(shell: Any, address: Address) -> Any:
    return Link(shell, 2, address, 1000, 1 << 20)


def uplink(shell: Any, address: Address) -> Any:
    machine: Any = SimpleNamespace(
        uplink_wanted=lambda: True, parent_nodes=lambda: [(2, str(address))],
        take_uplink_move=lambda: None)
    return Uplink(shell, machine, 2, KEY, clock=time.monotonic_ns, user_timeout_ms=1000,
                  max_unsent_bytes=1 << 20)


@pytest.mark.parametrize("kind", [link, uplink])
def test_who_was_too_slow_to_make_a_connection_dials_again(kind: Callable[..., Any]) -> None:
    async def body() -> None:
        dialled_twice = asyncio.Event()
        shell = SlowShell()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if shell.asked > 1:
                dialled_twice.set()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            dialler = kind(shell, Address("127.0.0.1", server.sockets[0].getsockname()[1]))
            (dialler.start if kind is link else dialler.follow)()
            async with asyncio.timeout(30):
                await dialled_twice.wait()
            await dialler.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(body())
