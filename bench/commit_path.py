"""Commit throughput and latency of three real nodes with fsync, beside a ceiling.

Three node processes on 127.0.0.1 and one load generator share this machine's cores. The
generator keeps N closed-loop clients (a session each, one 100-byte write outstanding) on a
few connections; it patches prepared frames instead of encoding them, so that it takes little
of the cores that it shares with what it measures.

``--ceiling PATH`` names a program that does the normal path of a replicated log and nothing
else; it is run in turn with the nodes, in the same folder, as

    PATH nodes clients depth bytes seconds 0

and must print one line with ``ops/s=``, ``p50=...ms`` and ``p99=...ms``. Without it the rows
have no peer. Results go to bench/results/commit_path/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import uvloop
import yaml
from _results import save

from seatrial.core.codec import OPS, decode_response, encode_request, split_frames
from seatrial.core.crc import crc32c
from seatrial.core.handshake import NONCE_BYTES, ConnectorHandshake

NODES = 3
VALUE_BYTES = 100
KEYS = 1024
WARM_UP_S = 0.7
CLUSTER = "bench"
SECRET = b"a key for the benchmark only"
MAX_CONNECTIONS = 8
TRIES = 5

# Of a request: crc at 4, then at 16 request, session, sequence. Of a response without a value,
# which is what a write gets: 56 bytes, request at 16, status at 48.
REQUEST_FIELDS = struct.Struct("<QQQ")
RESPONSE = struct.Struct("<16xQ24xB7x")
CRC = struct.Struct("<I")


class Disturbed(Exception):
    """The leader changed during a measurement, which is then worthless."""


class Figures(NamedTuple):
    """One measurement."""

    rate: float
    p50_ms: float
    p99_ms: float


class Client:
    """One closed-loop client: a session whose next write leaves when the last is answered."""

    __slots__ = ("connection", "frame", "number", "sent", "sequence", "session", "view")

    def __init__(self, number: int, session: int, connection: Connection) -> None:
        self.number = number
        self.session = session
        self.connection = connection
        self.sequence = 0
        self.sent = 0
        self.frame = bytearray(encode_request(
            number, self.session, 0, OPS["write"], b"key%06d" % (number % KEYS),
            bytes(VALUE_BYTES)))
        self.view = memoryview(self.frame)[8:]

    def next_write(self, now: int) -> bytes:
        """Return the next request's bytes."""
        self.sequence += 1
        self.sent = now
        REQUEST_FIELDS.pack_into(self.frame, 16, self.number, self.session, self.sequence)
        CRC.pack_into(self.frame, 4, crc32c(self.view))
        return bytes(self.frame)


class Connection(asyncio.Protocol):
    """A connection that carries several clients."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self._handshake = ConnectorHandshake(CLUSTER, "client", SECRET, os.urandom(NONCE_BYTES))
        self._rest = b""
        self.running = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self.transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport.write(self._handshake.hello())

    def data_received(self, data: bytes) -> None:
        """Take answers; each is followed by its client's next write."""
        if not self._handshake.done:
            self.transport.write(self._handshake.receive(data))
            if self._handshake.done:
                self.ready.set_result(None)
        elif self.running:
            self._answered(data)
        else:
            buffer = bytearray(data)
            for frame in split_frames(buffer):
                self.answers.put_nowait(frame)

    def _answered(self, data: bytes) -> None:
        load = self.load
        now = time.perf_counter_ns()
        if self._rest:
            data = self._rest + data
        whole = len(data) - len(data) % RESPONSE.size
        self._rest = data[whole:]
        out = []
        clients, latencies = load.clients, load.latencies
        for number, status in RESPONSE.iter_unpack(memoryview(data)[:whole]):
            if status:
                load.failed(status)
                return
            client = clients[number]
            if load.measuring:
                latencies.append(now - client.sent)
            out.append(client.next_write(now))
        self.transport.write(b"".join(out))


class Load:
    """All clients of one run."""

    connection: type[Connection] = Connection

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.count = count
        self.clients: list[Client] = []
        self.latencies = array("Q")
        self.measuring = False
        self.failure = ""

    def failed(self, status: int) -> None:
        """Note that a write was not accepted: the run is worthless."""
        self.failure = self.failure or f"a write was answered with status {status}"

    async def run(self, seconds: float) -> Figures:
        """Open sessions, warm up, measure."""
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(min(self.count, MAX_CONNECTIONS)):
            connection = self.connection(self)
            await loop.create_connection(lambda c=connection: c, "127.0.0.1", self.port)
            await connection.ready
            connections.append(connection)
        first_nonce = int.from_bytes(os.urandom(6), "little") << 16
        for number in range(self.count):
            connection = connections[number % len(connections)]
            connection.transport.write(
                encode_request(number, first_nonce + number, 0, OPS["open-session"]))
            _, status, session, *_ = decode_response(await connection.answers.get())
            if status or session is None:
                raise Disturbed(f"a session was refused with status {status}")
            self.clients.append(Client(number, int.from_bytes(session, "little"), connection))
        for connection in connections:
            connection.running = True
        now = time.perf_counter_ns()
        for client in self.clients:
            client.connection.transport.write(client.next_write(now))
        await asyncio.sleep(WARM_UP_S)
        self.measuring = True
        start = time.perf_counter()
        await asyncio.sleep(seconds)
        self.measuring = False
        took = time.perf_counter() - start
        for connection in connections:
            connection.transport.abort()
        if self.failure or not self.latencies:
            raise Disturbed(self.failure or "no write was answered")
        sorted_ns = sorted(self.latencies)
        return Figures(
            len(sorted_ns) / took, sorted_ns[len(sorted_ns) // 2] / 1e6,
            sorted_ns[len(sorted_ns) * 99 // 100] / 1e6)


class Cluster:
    """Three nodes in a folder."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.processes: list[subprocess.Popen[bytes]] = []
        with_sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(NODES)]
        self.ports = [sock.getsockname()[1] for sock in with_sockets]
        for sock in with_sockets:
            sock.close()

    def start(self) -> None:
        """Start the nodes."""
        (self.folder / "key").write_bytes(SECRET)
        members = {n + 1: f"127.0.0.1:{port}" for n, port in enumerate(self.ports)}
        for n, address in members.items():
            config = {
                "cluster": CLUSTER, "node": n, "members": members, "listen": [address],
                "data": f"node{n}", "keys": dict.fromkeys(("client", "peer", "admin"), "key"),
                "log": {"level": "warning", "file": f"node{n}.log"},
            } | self.settings
            path = self.folder / f"node{n}.yml"
            path.write_text(yaml.safe_dump(config))
            self.processes.append(subprocess.Popen(
                [sys.executable, "-m", "seatrial.core", "serve", "--config", str(path)]))

    def leader_port(self) -> int:
        """Wait until one leads; return its port."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for n, port in enumerate(self.ports):
                shown = subprocess.run(
                    [sys.executable, "-m", "seatrial.core", "status", "--config",
                     str(self.folder / f"node{n + 1}.yml"), "--json"],
                    check=False, capture_output=True)
                if shown.returncode == 0 and json.loads(shown.stdout)["role"] == "leader":
                    return port
            time.sleep(0.1)
        raise SystemExit("the nodes elected no leader within 30 s")

    def stop(self) -> None:
        """End the nodes."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def measure_ours(folder: Path, clients: int, seconds: float, settings: dict[str, Any]) -> Figures:
    """Start nodes, put them under load, stop them, remove what they wrote."""
    place = Path(tempfile.mkdtemp(prefix="nodes", dir=folder))
    cluster = Cluster(place, settings)
    try:
        cluster.start()
        return uvloop.run(Load(cluster.leader_port(), clients).run(seconds))
    finally:
        cluster.stop()
        shutil.rmtree(place, ignore_errors=True)


def patiently(measure: Callable[[], Figures]) -> Figures:
    """Measure; begin again, a few times at most, when the machine disturbed it."""
    for _ in range(TRIES):
        try:
            return measure()
        except Disturbed as reason:
            print(f"again, because {reason}", flush=True)
    raise SystemExit(f"no undisturbed measurement in {TRIES} tries: is the machine busy?")


def measure_ceiling(program: Path, folder: Path, clients: int, seconds: float) -> Figures:
    """Run the ceiling program once."""
    made = subprocess.run(
        [str(program), str(NODES), str(clients), "1", str(VALUE_BYTES), str(seconds), "0"],
        cwd=folder, check=False, capture_output=True, text=True, timeout=seconds + 60)
    found = re.search(r"ops/s=([\d.]+) p50=([\d.]+)ms p99=([\d.]+)ms", made.stdout)
    if found is None:
        raise SystemExit(f"{program}: unexpected output: {made.stdout or made.stderr!r}")
    return Figures(*map(float, found.groups()))


def rows_of(clients: int, ours: list[Figures], peers: list[Figures], name: str | None
            ) -> list[dict[str, Any]]:
    """Return the three rows of one number of clients; a ratio above 1 says ours is better."""
    rows = []
    for field, label, unit, more_is_better in (
        ("rate", "commits", "op/s", True), ("p50_ms", "p50", "ms", False),
        ("p99_ms", "p99", "ms", False),
    ):
        values = [getattr(figures, field) for figures in ours]
        mine = statistics.median(values)
        peer = statistics.median(getattr(f, field) for f in peers) if peers else None
        ratio = None if peer is None else mine / peer if more_is_better else peer / mine
        rows.append({
            "name": f"{label}, {clients} clients", "ours": round(mine, 3), "peer": peer,
            "peer_name": name, "unit": unit,
            "ratio": None if ratio is None else round(ratio, 3), "repeats": len(ours),
            "spread": round((max(values) - min(values)) / mine, 3),
        })
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ceiling", type=Path, help="a compiled ceiling program")
    parser.add_argument("--clients", default="1,16,64,256")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk in question")
    parser.add_argument("--set", default="{}", help="YAML: changes to the nodes' configuration")
    parser.add_argument("--dry", action="store_true", help="print, but write no results")
    options = parser.parse_args()
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"--folder {options.folder}: expected an existing folder")
    settings = yaml.safe_load(options.set)
    rows = []
    with tempfile.TemporaryDirectory(prefix="seatrial-bench", dir=options.folder) as name:
        folder = Path(name)
        for clients in map(int, options.clients.split(",")):
            ours, peers = [], []
            for _ in range(options.repeats):
                ours.append(patiently(lambda n=clients: measure_ours(
                    folder, n, options.seconds, settings)))
                if options.ceiling is not None:
                    peers.append(measure_ceiling(
                        options.ceiling.resolve(), folder, clients, options.seconds))
            for row in rows_of(clients, ours, peers, options.ceiling and "ceiling"):
                rows.append(row)
                peer = "" if row["peer"] is None else (
                    f"  ceiling {row['peer']:>10,.2f}  ratio {row['ratio']:.2f}")
                print(f"{row['name']:<24}{row['ours']:>12,.2f} {row['unit']:<5}"
                      f"spread {row['spread']:.0%}{peer}", flush=True)
    if not options.dry:
        print(save("commit_path", rows))


if __name__ == "__main__":
    main()
