"""Real node processes on 127.0.0.1 for tests: started, killed, stopped, all gone at the end."""
from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from seatrial.core.client import Client

T = TypeVar("T")
PATIENCE_S = 60.0
CLUSTER = "test"


def until(what: str, condition: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Return the condition's first true value; fail after a long time without one."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {patience_s:g} s: {what}")


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ports that nobody listens on just now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets = [socket.socket(family) for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind((host, 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


class Nodes:
    """A cluster of processes in a folder of its own."""

    def __init__(
        self, folder: Path, count: int = 3, host: str = "127.0.0.1", first: int = 1
    ) -> None:
        self.folder = folder
        self.ids = list(range(first, first + count))
        ports = free_ports(2 * count, host)
        shown = f"[{host}]" if ":" in host else host
        self.members = {n: f"{shown}:{ports[n - first]}" for n in self.ids}
        self.metrics = {n: ports[count + n - first] for n in self.ids}
        self.host = host
        self.processes: dict[int, subprocess.Popen[str]] = {}
        folder.mkdir(exist_ok=True)
        for role in ("client", "peer", "admin"):
            (folder / f"{role}.key").write_text(f"a secret for {role}s\n")
        for n in self.ids:
            self.configure(n)

    def configure(self, n: int, **changes: Any) -> Path:
        """Write a node's configuration file and return it."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        config = {
            "cluster": CLUSTER, "node": n, "members": self.members,
            "listen": [self.members[n]], "data": f"data{n}",
            "keys": {role: f"{role}.key" for role in ("client", "peer", "admin")},
            "metrics": f"{shown}:{self.metrics[n]}", "heartbeat_ms": 50, "election_ms": 400,
            "log": {"file": f"node{n}.log"}, "wal": {"segment_bytes": 4 << 20},
        } | changes
        path = self.folder / f"node{n}.yml"
        path.write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not None}))
        return path

    def start(self, *ids: int) -> None:
        """Start these nodes, or all."""
        for n in ids or self.ids:
            self.processes[n] = subprocess.Popen(
                [sys.executable, "-m", "seatrial.core", "serve", "--config",
                 str(self.folder / f"node{n}.yml")],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def signal(self, n: int, number: signal.Signals) -> None:
        """Send a signal to one node."""
        self.processes[n].send_signal(number)

    def kill(self, *ids: int) -> None:
        """kill -9 these nodes, or all."""
        for n in ids or self.ids:
            process = self.processes.pop(n)
            process.send_signal(signal.SIGKILL)
            process.communicate()

    def ended(self, n: int) -> tuple[int, str]:
        """Wait for a node to end; return its exit code and standard error."""
        process = self.processes.pop(n)
        _, errors = process.communicate(timeout=PATIENCE_S)
        return process.returncode, errors

    def stop(self) -> None:
        """End whatever still runs."""
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
        for process in self.processes.values():
            process.communicate()
        self.processes.clear()

    def events(self, n: int, event: str = "") -> list[dict[str, Any]]:
        """Return a node's log, or the lines of one event."""
        path = self.folder / f"node{n}.log"
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line for line in lines if event in ("", line["event"])]

    def started(self, n: int, times: int = 1) -> None:
        """Wait until a node has started so many times."""
        until(f"node {n} starts", lambda: len(self.events(n, "started")) >= times)

    def command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``python -m seatrial.core`` to its end."""
        return subprocess.run(
            [sys.executable, "-m", "seatrial.core", *map(str, arguments)],
            check=False, capture_output=True, text=True, timeout=PATIENCE_S)

    async def client(self, **options: Any) -> Client:
        """Connect a client."""
        options = {"cluster": CLUSTER, "key": (self.folder / "client.key").read_bytes(),
                   "timeout_s": PATIENCE_S} | options
        return await Client.connect(self.members, **options)

    async def leader(self, client: Client) -> int:
        """Return the node that leads, once a write has proved it."""
        return (await client.write(b"who-leads", b"?")).node


def run_async(coroutine: Any) -> Any:
    """Run a test's coroutine with a limit on its time."""
    async def limited() -> Any:
        async with asyncio.timeout(4 * PATIENCE_S):
            return await coroutine
    return asyncio.run(limited())

