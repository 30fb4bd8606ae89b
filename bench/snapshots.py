"""What clients notice of a snapshot, and of a member that is a million entries behind.

Three real nodes with fsync on 127.0.0.1 and one load generator share this machine's cores. All
figures of a part come from one run, from the same clients:

1. a million keys are written; the latency of commits before, while every member takes a snapshot,
   and after;
2. a follower is stopped, a million entries are written, it is started again: the rate of commits
   before and until it has caught up, with what it lacks still in the logs, and with it compacted
   away, so that it is sent a snapshot first.

Results go to bench/results/snapshots/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any, NamedTuple

import uvloop
from _results import save
from commit_path import (
    CLUSTER,
    CRC,
    MAX_CONNECTIONS,
    REQUEST_FIELDS,
    SECRET,
    Client,
    Cluster,
    Connection,
    Load,
)

from seatrial.core.admin import ask
from seatrial.core.codec import OPS, decode_response, encode_request
from seatrial.core.config import Address
from seatrial.core.crc import crc32c
from seatrial.core.errors import NodeError

SETTLE_S = 1.0


class Window(NamedTuple):
    """What the clients saw in a while."""

    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class Writer(Client):
    """A closed-loop client whose keys go round a range of its own."""

    __slots__ = ("at", "first", "keys")

    def __init__(self, number: int, session: int, connection: Connection, first: int,
                 keys: int, value: bytes) -> None:
        super().__init__(number, session, connection)
        self.first, self.keys = first, keys
        self.frame = bytearray(encode_request(
            number, session, 0, OPS["write"], b"%010d" % first, value))
        self.at = self.frame.index(b"%010d" % first)
        self.view = memoryview(self.frame)[8:]

    def next_write(self, now: int) -> bytes:
        """Return the next request's bytes."""
        self.frame[self.at:self.at + 10] = b"%010d" % (
            self.first + self.sequence % self.keys)
        self.sequence += 1
        self.sent = now
        REQUEST_FIELDS.pack_into(self.frame, 16, self.number, self.session, self.sequence)
        CRC.pack_into(self.frame, 4, crc32c(self.view))
        return bytes(self.frame)


class Writers(Load):
    """Closed-loop clients that go on until told, measured in windows."""

    connections: list[Connection]

    async def begin(self, keys: int, value_bytes: int) -> None:
        """Open the sessions and let the first writes go."""
        loop = asyncio.get_running_loop()
        self.connections = []
        for _ in range(min(self.count, MAX_CONNECTIONS)):
            connection = self.connection(self)
            await loop.create_connection(lambda c=connection: c, "127.0.0.1", self.port)
            await connection.ready
            self.connections.append(connection)
        nonce = int.from_bytes(os.urandom(6), "little") << 16
        share = keys // self.count
        for number in range(self.count):
            connection = self.connections[number % len(self.connections)]
            connection.transport.write(
                encode_request(number, nonce + number, 0, OPS["open-session"]))
            _, status, session, *_ = decode_response(await connection.answers.get())
            if status or session is None:
                raise SystemExit(f"a session was refused with status {status}")
            self.clients.append(Writer(number, int.from_bytes(session, "little"), connection,
                                       number * share, share, bytes(value_bytes)))
        now = time.perf_counter_ns()
        for connection in self.connections:
            connection.running = True
        for client in self.clients:
            client.connection.transport.write(client.next_write(now))

    def written(self) -> int:
        """Return how many writes were sent; all but one for each client are answered."""
        return sum(client.sequence for client in self.clients)

    async def until(self, count: int) -> None:
        """Wait for that many more writes."""
        end = self.written() + count
        while self.written() < end:
            self.check()
            await asyncio.sleep(0.05)

    async def until_answered(self) -> None:
        """Wait until the writes that are on their way now are answered."""
        sent = [client.sequence for client in self.clients]
        while any(client.sequence == n for client, n in zip(self.clients, sent, strict=True)):
            self.check()
            await asyncio.sleep(0.001)

    def check(self) -> None:
        """End the program when a write failed."""
        if self.failure:
            raise SystemExit(self.failure)

    async def window(self, seconds: float, done: asyncio.Future[Any] | None = None) -> Window:
        """Measure for so long, or until something is done and each client was answered since.

        Nothing but the load may run in this thread then, nor right before: whatever holds it up
        would count as the nodes' doing."""
        self.latencies = array("Q")
        self.measuring, start = True, time.perf_counter()
        if done is None:
            await asyncio.sleep(seconds)
        else:
            await asyncio.wait_for(asyncio.shield(done), seconds)
            await self.until_answered()
        took = time.perf_counter() - start
        self.measuring = False
        self.check()
        found = sorted(self.latencies)
        if not found:
            raise SystemExit("no write was answered")
        return Window(took, len(found) / took, found[len(found) // 2] / 1e6,
                      found[len(found) * 99 // 100] / 1e6, found[-1] / 1e6)

    def stop(self) -> None:
        """Let the clients go."""
        for connection in self.connections:
            connection.transport.abort()


class Group(Cluster):
    """Three nodes of which one can be stopped and started."""

    def address(self, node: int) -> Address:
        """Where a node listens."""
        return Address("127.0.0.1", self.ports[node - 1])

    def ask(self, node: int, op: str) -> dict[str, Any]:
        """Ask a node something as administrator."""
        _, value = ask(self.address(node), CLUSTER, SECRET, op, b"{}", 120)
        return dict(json.loads(value))

    def stop_one(self, node: int) -> None:
        """End a node."""
        self.processes[node - 1].send_signal(signal.SIGTERM)
        self.processes[node - 1].wait(60)

    def start_one(self, node: int) -> None:
        """Start it again."""
        self.processes[node - 1] = subprocess.Popen(
            [sys.executable, "-m", "seatrial.core", "serve", "--config",
             str(self.folder / f"node{node}.yml")])

    def leader(self) -> int:
        """The number of who leads."""
        return self.ports.index(self.leader_port()) + 1


class Table:
    """Rows, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str, peer: float | None = None,
            peer_name: str | None = None, more_is_better: bool = False) -> None:
        """Add a figure, beside the one it is to be compared with."""
        ratio = None if not peer or not value else (
            value / peer if more_is_better else peer / value)
        beside = "" if peer is None else f"  {peer_name} {peer:>10,.2f}  ratio {ratio or 0:.2f}"
        print(f"{name:<44}{value:>14,.2f} {unit:<8}{beside}", flush=True)
        self.rows.append({
            "name": name, "ours": round(value, 3), "peer": peer and round(peer, 3),
            "peer_name": peer_name, "unit": unit, "ratio": ratio and round(ratio, 3),
            "repeats": 1, "spread": None})


async def in_thread(call: Any, *values: Any) -> Any:
    """Run something that blocks beside the load."""
    return await asyncio.get_running_loop().run_in_executor(None, call, *values)


async def pause_of_a_snapshot(group: Group, load: Writers, table: Table, seconds: float) -> None:
    """Latency before, during, after."""
    leader = await in_thread(group.leader)
    await asyncio.sleep(SETTLE_S)
    before = await load.window(seconds)
    for name, nodes in (("the leader takes a snapshot", [leader]),
                        ("all members take one", [1, 2, 3])):
        await asyncio.sleep(SETTLE_S)
        tasks = asyncio.gather(*(in_thread(group.ask, node, "snapshot") for node in nodes))
        during = await load.window(300, tasks)
        taken = (await tasks)[0]
        table.add(f"{name}: bytes", taken["bytes"], "byte")
        table.add(f"{name}: takes", during.seconds, "s")
        table.add(f"{name}: commits", during.rate, "op/s", before.rate, "before", True)
        for field in ("p50_ms", "p99_ms", "max_ms"):
            table.add(f"{name}: {field[:-3]} of a commit", getattr(during, field), "ms",
                      getattr(before, field), "before")
    await asyncio.sleep(SETTLE_S)
    after = await load.window(seconds)
    table.add("afterwards: p99 of a commit", after.p99_ms, "ms", before.p99_ms, "before")


async def catches_up(group: Group, node: int, known: int) -> None:
    """Wait until a node has applied what the others had when it started."""
    while True:
        with contextlib.suppress(NodeError):    # not listening yet
            if (await in_thread(group.ask, node, "status"))["applied"] >= known:
                return
        await asyncio.sleep(0.1)


async def catching_up(group: Group, load: Writers, table: Table, behind: int, seconds: float,
                      by_snapshot: bool) -> None:
    """The rate of commits before and while a member catches up."""
    name = f"{behind:,} behind, " + ("by snapshot" if by_snapshot else "by log")
    leader = await in_thread(group.leader)
    await asyncio.sleep(SETTLE_S)
    node = next(number for number in (3, 2, 1) if number != leader)
    before = await load.window(seconds)         # with all members, as afterwards
    await in_thread(group.stop_one, node)
    await load.until(behind)
    if by_snapshot:
        for number in {1, 2, 3} - {node}:
            await in_thread(group.ask, number, "snapshot")
    known = (await in_thread(group.ask, leader, "status"))["commit"]
    group.start_one(node)
    during = await load.window(600, asyncio.ensure_future(catches_up(group, node, known)))
    table.add(f"{name}: takes", during.seconds, "s")
    table.add(f"{name}: commits", during.rate, "op/s", before.rate, "before", True)
    table.add(f"{name}: p99 of a commit", during.p99_ms, "ms", before.p99_ms, "before")
    status = await in_thread(group.ask, node, "status")
    installed = status["snapshots_installed"]
    if bool(installed) is not by_snapshot:
        raise SystemExit(f"{name}: {installed} snapshots were installed")


async def measure(group: Group, options: argparse.Namespace, table: Table) -> None:
    """One run."""
    load = Writers(group.leader_port(), options.clients)
    await load.begin(options.keys, options.value_bytes)
    start = time.perf_counter()
    await load.until(options.keys + options.clients)
    table.add(f"{options.keys:,} keys written by {options.clients} clients",
              options.keys / (time.perf_counter() - start), "op/s")
    await pause_of_a_snapshot(group, load, table, options.seconds)
    await catching_up(group, load, table, options.behind, options.seconds, by_snapshot=False)
    await catching_up(group, load, table, options.behind, options.seconds, by_snapshot=True)
    load.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--behind", type=int, default=1_000_000, help="entries")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each undisturbed window")
    parser.add_argument("--folder", type=Path, help="on the disk in question")
    parser.add_argument("--dry", action="store_true", help="print, but write no results")
    options = parser.parse_args()
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"--folder {options.folder}: expected an existing folder")
    table = Table()
    place = Path(tempfile.mkdtemp(prefix="seatrial-bench", dir=options.folder))
    # snapshots only when asked for, and then nothing is kept before them
    group = Group(place, {"wal": {"snapshot_bytes": 1 << 40, "keep_bytes": 0}})
    try:
        group.start()
        uvloop.run(measure(group, options, table))
    finally:
        group.stop()
        shutil.rmtree(place, ignore_errors=True)
    if not options.dry:
        print(save("snapshots", table.rows))


if __name__ == "__main__":
    main()
