"""How fast virtual time passes in a simulated cluster, all checks after every step on.

Virtual seconds for each second of one core, and events a second: of idle clusters, and of five
nodes that 20 clients ask 250 times a virtual second (bytes on simulated connections; a whole run
has generator, clients, history and verdict beside it, and says itself how fast it was). The peer
is the clock: a cluster on real hosts takes a second for a second.
Results go to bench/results/simulation/<time>.json and bench/results/latest.json.
"""
from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from _results import save

from seatrial.core import codec
from seatrial.harness.sim.environment import Environment
from seatrial.harness.sim.world import World

MS = 1_000_000
S = 1000 * MS
Measured = tuple[float, float]
"""Virtual seconds, and events, for each second of processor time."""


def cluster(hosts: int) -> World:
    """Return a cluster that has a leader."""
    world = World(1, hosts, Environment())
    world.add_group(range(hosts), heartbeat_ns=50 * MS, election_ns=300 * MS)
    for host in range(hosts):
        world.start(host)
    world.run([], 2 * S)
    return world


class Asker:
    """A client that writes and reads in turn, each answer's ``gap_ns`` later."""

    def __init__(self, world: World, number: int, gap_ns: int) -> None:
        self.world, self.session, self.gap_ns, self.sequence = world, number, gap_ns, 0
        self.connection = world.connect(0, world.leaders()[0][1], self)

    def connected(self, connection: int) -> None:
        """Open a session."""
        self.ask("open-session", 0)

    def ask(self, op: str, sequence: int) -> None:
        """Send a request."""
        self.world.send(self.connection, codec.encode_request(
            self.sequence, self.session, sequence, codec.OPS[op], b"key", b"value"))

    def next(self) -> None:
        """Write or read."""
        self.sequence += 1
        self.ask("write" if self.sequence % 2 else "read", self.sequence)

    def received(self, connection: int, data: bytes) -> None:
        """Ask again, a little later."""
        if self.sequence == 0:
            _, _, session, *_ = codec.decode_response(data)
            self.session = int.from_bytes(session or b"", "little")
        self.world.call_at(self.world.now_ns + self.gap_ns, self.next)

    def closed(self, connection: int) -> None:
        """Nothing breaks here."""
        raise AssertionError("a connection broke in a calm world")


def passed(world: World, virtual_s: int) -> Measured:
    """Let time pass in a world."""
    since_ns, since_events = world.now_ns, world.events
    began = time.process_time()
    world.run([], since_ns + virtual_s * S)
    took = time.process_time() - began
    return (world.now_ns - since_ns) / S / took, (world.events - since_events) / took


def idle(hosts: int) -> Measured:
    """Only heartbeats."""
    return passed(cluster(hosts), 600)


def asked() -> Measured:
    """Five nodes, 20 clients, 250 operations a virtual second."""
    world = cluster(5)
    for client in range(20):
        Asker(world, client + 1, 80 * MS)
    return passed(world, 60)


def measure(repeats: int) -> list[dict[str, Any]]:
    """Return the lines of the results."""
    cases: dict[str, Callable[[], Measured]] = {
        "3 nodes, idle": lambda: idle(3), "5 nodes, idle": lambda: idle(5),
        "9 nodes, idle": lambda: idle(9), "5 nodes, 250 operations/s": asked,
    }
    rows = []
    for name, case in cases.items():
        ratios, events = zip(*(case() for _ in range(repeats)), strict=True)
        middle = statistics.median(ratios)
        spread = round((max(ratios) - min(ratios)) / middle, 3)
        rows.append({"name": name, "ours": round(middle, 1), "peer": 1, "peer_name": "the clock",
                     "unit": "virtual s/s", "ratio": round(middle, 1), "repeats": repeats,
                     "spread": spread})
        rows.append({"name": f"{name}: events", "ours": round(statistics.median(events)),
                     "peer": None, "peer_name": None, "unit": "events/s", "ratio": None,
                     "repeats": repeats, "spread": spread})
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, but write no results")
    options = parser.parse_args()
    rows = measure(options.repeats)
    for line in rows:
        print(f"{line['name']:<48}{line['ours']:>14,} {line['unit']}", flush=True)
    if not options.dry:
        print(save("simulation", rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
