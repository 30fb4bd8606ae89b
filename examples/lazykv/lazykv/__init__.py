"""Testing a system of one's own: how ``lazykv`` is installed, started, killed and asked.

This is all that Seatrial needs to know of a system: the methods of ``harness.protocols.System``,
and ``connect``, which the workloads over single keys use (``workloads.keyvalue``).
"""
from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from seatrial.harness.control import on_nodes
from seatrial.harness.errors import HarnessFailure
from seatrial.harness.protocols import Host
from seatrial.harness.test import Test
from seatrial.harness.yamlfile import Section
from seatrial.workloads.keyvalue import Answer, DidNotHappen, MayHaveHappened, Mismatch

SERVER = Path(__file__).with_name("server.py")
HOME = "/data/lazykv"
START = """
cd "$1"; shift
setsid sh -c 'echo $$ >pid; exec python3 server.py "$@"' sh "$@" </dev/null >>log 2>&1 &
while [ ! -s pid ]; do sleep 0.01; done
"""
# a pid file may outlive its process: the pid counts only while it is our server
PIDS = """
pid=$(cat "$1/pid" 2>/dev/null) && grep -q server.py "/proc/$pid/cmdline" 2>/dev/null && echo "$pid"
true
"""


class LazyOptions(Section):
    """What a test file may say under ``system: {options: ...}``."""

    port: Annotated[int, Field(ge=1024, le=65535)] = 7500


class LazySystem:
    """The system ``lazykv``."""

    name = "lazykv"
    Options = LazyOptions

    def __init__(self, options: LazyOptions) -> None:
        self.port = options.port

    async def setup(self, test: Test) -> None:
        """Install and start it on all hosts; return when it serves."""

        async def bring(host: Host) -> None:
            await host.run(["mkdir", "-p", HOME])
            await host.put(SERVER, f"{HOME}/server.py")
            await self.start(test, host)

        await on_nodes(test.nodes, bring)
        for host in test.nodes:
            await self._serving(host)

    async def _serving(self, host: Host) -> None:
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection(host.ipv4, self.port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
        raise HarnessFailure(f"{host.name}: nothing listens on port {self.port} (see {HOME}/log)")

    async def teardown(self, test: Test) -> None:
        """Stop it on all hosts and remove its data."""

        async def remove(host: Host) -> None:
            await self.kill(test, host)
            await host.run(["rm", "-rf", HOME])

        await on_nodes(test.nodes, remove)

    async def start(self, test: Test, host: Host) -> None:
        """Start the process on one host (no-op when it runs)."""
        if not await self.pids(test, host):
            peers = [other.ipv4 for other in test.nodes if other is not host]
            await host.run(["rm", "-f", f"{HOME}/pid"])
            await host.run(["sh", "-c", START, "start", HOME, str(self.port), *peers])

    async def kill(self, test: Test, host: Host) -> None:
        """kill -9 on one host; return when the pid is gone."""
        for pid in await self.pids(test, host):
            await host.run(["kill", "-9", str(pid)], check=False)
        while await self.pids(test, host):
            await asyncio.sleep(0.05)

    async def pids(self, test: Test, host: Host) -> list[int]:
        """The pids on this host that kill and pause aim at; empty when it is down."""
        found = await host.run(["sh", "-c", PIDS, "pids", HOME])
        return [int(pid) for pid in found.stdout.split()]

    async def primaries(self, test: Test) -> list[Host]:
        """Nobody leads here: every node takes writes."""
        return []

    def ports(self, test: Test) -> Sequence[int]:
        """TCP ports that nodes use between each other and for clients."""
        return [self.port]

    def log_files(self, test: Test, host: Host) -> Sequence[str]:
        """Paths on the host to fetch when a run ends, also when it fails."""
        return [f"{HOME}/log"]

    async def connect(self, test: Test, node: int, process: int) -> LazyConnection:
        """Return a client's connection to the node with this index."""
        reader, writer = await asyncio.open_connection(test.nodes[node].ipv4, self.port)
        return LazyConnection(node, reader, writer)


class LazyConnection:
    """One client. What it raises decides what the checker may conclude."""

    def __init__(self, node: int, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.node = node
        self.reader, self.writer = reader, writer

    async def read(self, key: bytes) -> Answer:
        """Return the value of a key, None when it has none."""
        return self._answer(await self._ask(op="read", key=key.decode()))

    async def write(self, key: bytes, value: bytes) -> Answer:
        """Set the value of a key."""
        return self._answer(await self._ask(op="write", key=key.decode(), value=value.decode()))

    async def cas(self, key: bytes, expected: bytes | None, value: bytes) -> Answer:
        """Set the value of a key that holds ``expected``, or raise Mismatch."""
        found = await self._ask(op="cas", key=key.decode(), value=value.decode(),
                                expected=None if expected is None else expected.decode())
        if not found["ok"]:
            raise Mismatch(self._answer(found))
        return self._answer(found)

    async def close(self) -> None:
        """Release everything."""
        self.writer.close()

    def _answer(self, found: dict[str, Any]) -> Answer:
        value = found["value"]
        return Answer(None if value is None else value.encode(), self.node)

    async def _ask(self, **request: Any) -> dict[str, Any]:
        if self.writer.is_closing():
            raise DidNotHappen("the connection was lost before")   # nothing was sent
        line = b""
        try:
            self.writer.write(json.dumps(request).encode() + b"\n")
            await self.writer.drain()
            line = await self.reader.readline()
        except OSError as error:
            raise MayHaveHappened(str(error)) from error
        finally:
            if not line:   # also when time ran out: a late answer must not meet the next request
                self.writer.close()
        if not line:
            raise MayHaveHappened("the connection ended before the answer came")
        return dict(json.loads(line))
