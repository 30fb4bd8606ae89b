"""A node that does nothing but listen, and a way to see which packets reach it.

The nemesis proves its faults with beacons of its own; what it proved is checked here by other
means: datagrams over both IP versions, and TCP connections, between processes that know
nothing of the nemesis.
"""
from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

from seatrial.harness.protocols import Host, World

PORT = 7000
PID_FILE = "/run/listener.pid"

LISTENER = f"""
import json, os, socketserver, threading

seen = set()

class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        seen.add((self.request[0].decode(), self.client_address[0]))

class Question(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(json.dumps(sorted(seen)).encode())

class V6:
    address_family = 10

    def server_bind(self):
        self.socket.setsockopt(41, 26, 1)          # IPV6_V6ONLY
        super().server_bind()

class Udp6(V6, socketserver.UDPServer): pass
class Tcp6(V6, socketserver.TCPServer): pass

socketserver.TCPServer.allow_reuse_address = True
for server in (socketserver.UDPServer(("", {PORT}), Datagram), Udp6(("", {PORT}), Datagram),
               socketserver.TCPServer(("", {PORT}), Question), Tcp6(("", {PORT}), Question)):
    threading.Thread(target=server.serve_forever).start()
with open("{PID_FILE}.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("{PID_FILE}.new", "{PID_FILE}")
"""

SEND = f"""
import socket, sys
source, nonce, *peers = sys.argv[1:]
out = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)
out.bind((source, 0))
for peer in peers:
    out.sendto(nonce.encode(), (peer, {PORT}))
"""

ASK = f"""
import socket
with socket.create_connection(("127.0.0.1", {PORT}), 5) as s:
    print(s.makefile().read())
"""

CONNECT = f"""
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.settimeout(0.4)
s.bind((sys.argv[1], 0))
try:
    s.connect((sys.argv[2], {PORT}))
    print("open")
except OSError:
    print("closed")
"""


class ListenerSystem:
    """The system under test: one listener on each host. ``leader`` is whoever a test says."""

    name = "listener"

    def __init__(self) -> None:
        self.leader: Host | None = None

    async def start(self, test: Any, host: Host) -> None:
        if await self.pids(test, host):
            return
        await host.run(["rm", "-f", PID_FILE])
        await host.put(LISTENER.encode(), "/tmp/listener.py")
        await host.run(["sh", "-c",
                        "setsid python3 /tmp/listener.py </dev/null >/tmp/listener.log 2>&1 &"])

        async def serves() -> bool:
            return (await host.run(["test", "-e", PID_FILE], check=False)).code == 0
        await eventually(serves)

    async def kill(self, test: Any, host: Host) -> None:
        for pid in await self.pids(test, host):
            await host.run(["kill", "-9", str(pid)])

            async def is_gone(pid: int = pid) -> bool:
                return await state_of(host, pid) in (None, "Z")
            await eventually(is_gone)

    async def pids(self, test: Any, host: Host) -> list[int]:
        found = await host.run(["cat", PID_FILE], check=False)
        pids = [int(pid) for pid in found.stdout.split()]
        return [pid for pid in pids if await state_of(host, pid) not in (None, "Z")]

    async def primaries(self, test: Any) -> list[Host]:
        return [] if self.leader is None else [self.leader]

    def ports(self, test: Any) -> Sequence[int]:
        return [PORT]


class Story:
    """A run's events and what a nemesis needs of a test."""

    def __init__(self, world: World, system: ListenerSystem) -> None:
        self.events: list[Any] = []
        self.test: Any = SimpleNamespace(nodes=world.hosts, world=world, system=system,
                                         now_ns=time.monotonic_ns)

    @property
    def phases(self) -> list[tuple[str, str]]:
        """(fault, phase) of every event."""
        return [(op.f, op.value["phase"]) for op in self.events]


async def eventually(ask: Callable[[], Awaitable[bool]], limit_s: float = 200.0) -> None:
    """Wait for a condition; the limit only ends a test that has failed."""
    deadline = time.monotonic() + limit_s
    while not await ask():
        assert time.monotonic() < deadline, "never came true"
        await asyncio.sleep(0.02)


async def state_of(host: Host, pid: int) -> str | None:
    """Return a process's state letter, or None when there is no such process."""
    found = await host.run(["cat", f"/proc/{pid}/stat"], check=False)
    return found.stdout.rsplit(")", 1)[1].split()[0] if found.code == 0 else None


async def who_hears_whom(hosts: Sequence[Host], nonce: str, ipv6: bool) -> set[tuple[str, str]]:
    """Send a datagram from everybody to everybody; return (receiver, sender) of those heard.

    Every host also sends to itself, last: who has heard itself has heard all that came before.
    """
    def address(host: Host) -> str:
        return (host.ipv6 or "") if ipv6 else host.ipv4

    names = {address(host): host.name for host in hosts}

    async def send(host: Host, word: str, to: Sequence[Host]) -> None:
        await host.run(["python3", "-I", "-S", "-c", SEND, address(host), word, *map(address, to)])

    await asyncio.gather(*(send(a, nonce, [b for b in hosts if b is not a]) for a in hosts))
    await asyncio.gather(*(send(a, f"{nonce}-end", [a]) for a in hosts))

    async def heard_by(host: Host) -> set[tuple[str, str]]:
        seen: list[tuple[str, str]] = []

        async def has_heard_itself() -> bool:
            seen[:] = json.loads((await host.run(["python3", "-I", "-S", "-c", ASK])).stdout)
            return any(word == f"{nonce}-end" for word, _ in seen)

        await eventually(has_heard_itself)
        return {(host.name, names[source]) for word, source in seen if word == nonce}

    return set().union(*await asyncio.gather(*map(heard_by, hosts)))


async def connects(a: Host, b: Host, ipv6: bool) -> bool:
    """Tell whether ``a`` can open a TCP connection to ``b``."""
    source, to = (a.ipv6 or "", b.ipv6 or "") if ipv6 else (a.ipv4, b.ipv4)
    answer = await a.run(["python3", "-I", "-S", "-c", CONNECT, source, to])
    return answer.stdout.strip() == "open"
