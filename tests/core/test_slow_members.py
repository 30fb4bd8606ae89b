"""What a member that is slow, stuck or cut off costs its leader: memory that is bounded."""
from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from seatrial.core import codec
from seatrial.core.config import Address
from seatrial.core.transport import Link

from .nodes import Nodes, run_async
from .snapshot_group import Group
from .test_raft_snapshot import big, chunks_sent

RECORD = 72                     # a record's header


def held(group: Group) -> int:
    """Return about how many bytes of log the leader holds in memory."""
    status = group.leader().status()
    return (status["last_index"] + 1 - status["first_index"]) * (RECORD + 1020)


def test_a_transfer_that_stood_still_begins_anew_with_the_newest_snapshot() -> None:
    group, victim = big()
    group.lose = lambda target, frame: target == victim and chunks_sent(group, victim) >= 3
    group.start(victim)
    group.settle()
    before = group.leader().status()["snapshot_index"]
    group.pass_time(150)                        # more than ten election timeouts
    group.write(range(700, 1000), size=1000)    # so it is waited for no longer
    assert group.leader().status()["snapshot_index"] > before
    group.lose = lambda target, frame: False
    group.pass_time(100)
    group.agree()


def test_a_member_that_takes_a_snapshot_slowly_does_not_make_the_log_grow_for_ever() -> None:
    """A chunk arrives only every few writes: it gets on, but never fast enough."""
    group, victim = big()
    allowed = 0

    def slowly(target: int, frame: bytes) -> bool:
        nonlocal allowed
        if target != victim or codec.decode_message(frame)["type"] != "snapshot":
            return False
        allowed -= 1
        return allowed < 0

    group.lose = slowly
    group.start(victim)
    most = 0
    for turn in range(20):
        allowed = 1
        group.write((k % 700 for k in range(turn * 250, turn * 250 + 250)), size=1000)
        group.pass_time(11)                     # what was lost is sent again
        most = max(most, held(group))
    state = group.leader().status()["snapshot_bytes"]
    print(f"log held: at most {most} bytes, a snapshot has {state}")
    assert most < 3 * state                     # it waits for one for twice its size
    group.lose = lambda target, frame: False
    group.pass_time(100)
    group.agree()


class SlowWay:
    """A relay to one node that passes little on; in threads of its own."""

    def __init__(self, target: int, bytes_per_s: int) -> None:
        self.target, self.bytes_per_s = target, bytes_per_s
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                self.open += [near, far]
                for source, sink, rate in ((near, far, self.bytes_per_s), (far, near, 1 << 30)):
                    threading.Thread(
                        target=self._pump, args=(source, sink, rate), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, rate: int) -> None:
        piece = 4096
        with contextlib.suppress(OSError):
            while data := source.recv(piece):
                sink.sendall(data)
                time.sleep(len(data) / rate)
        source.close()
        sink.close()

    def close(self) -> None:
        for sock in self.open:
            sock.close()


def resident(pid: int) -> int:
    """Return a process's memory in bytes."""
    (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(kilobytes) << 10


def test_a_leader_with_a_slow_and_a_stopped_member_keeps_its_memory(tmp_path: Path) -> None:
    """Two of five can't keep up, one at 20 kB/s, one at nothing; clients write 300 MB."""
    limits = {"max_inflight_bytes": 1 << 20, "max_unsent_bytes": 2 << 20}
    wal = {"segment_bytes": 4 << 20, "snapshot_bytes": 4 << 20, "keep_bytes": 1 << 20}
    nodes = Nodes(tmp_path / "nodes", count=5)
    way = SlowWay(int(nodes.members[5].rpartition(":")[2]), 20_000)
    real = nodes.members[5]
    nodes.members[5] = f"127.0.0.1:{way.port}"
    for n in nodes.ids:
        nodes.configure(n, limits=limits, wal=wal, listen=[real if n == 5 else nodes.members[n]],
                        priorities={1: 9})
    seen: list[int] = []

    async def story() -> None:
        client = await nodes.client()
        while await nodes.leader(client) != 1:
            pass
        nodes.signal(4, signal.SIGSTOP)
        for turn in range(30):
            await asyncio.gather(*(client.write(b"k%d" % i, bytes([65 + turn % 26]) * 50_000)
                                   for i in range(200)))
            seen.append(resident(nodes.processes[1].pid))
        await client.close()

    try:
        nodes.start()
        run_async(story())
        told = nodes.command("status", "--config", nodes.folder / "node1.yml", "--json").stdout
        links = json.loads(told)["links"]
        nodes.signal(4, signal.SIGCONT)
    finally:
        nodes.stop()
        way.close()
    shown = ", ".join(f"{size >> 20}" for size in seen)
    print(f"leader's memory in MiB after each 10 MB written: {shown}; links {links}")
    # the state is 10 MB; two snapshots of it, 4 times 4 MiB of log, what is on its way to members
    assert max(seen) - seen[0] < 120 << 20
    assert all(link["unsent_bytes"] <= 6 << 20 for link in links.values())


class Full:
    """A transport whose other end takes nothing."""

    def __init__(self) -> None:
        self.waiting = b""

    def write(self, data: bytes) -> None:
        self.waiting += data

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)


def test_what_a_member_does_not_take_is_dropped_beyond_a_limit() -> None:
    told: list[str] = []
    shell = SimpleNamespace(journal=SimpleNamespace(
        warning=lambda event, **_: told.append(event)))
    link = Link(shell, 2, Address("127.0.0.1", 1), 1000, 10_000)    # type: ignore[arg-type]
    link.up, link._transport = True, Full()                         # type: ignore[assignment]
    for _ in range(100):
        link.send(bytes(1000))
    assert (link.unsent_bytes, link.dropped_bytes) == (11_000, 89_000)
    assert told == ["link-choked"]
