"""Everything at once: whatever happens to a simulated cluster, it agrees again afterwards.

Each seed draws surroundings, faults and clients, and plays them through the World's own methods:
no harness, no nemesis. Nothing may raise, no invariant may break, and once the faults have ended
all nodes must agree soon. ``SEATRIAL_SIM_SEEDS`` says how many seeds; a failure names its own,
and ``SEATRIAL_SEED=<it> SEATRIAL_SIM_SEEDS=1`` replays it.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from seatrial.core import codec
from seatrial.harness.rng import Rng
from seatrial.harness.sim.environment import CRASH_POINTS, Environment
from seatrial.harness.sim.world import World

MS = 1_000_000
S = 1000 * MS
FAULTS_S = 8
LIMIT_S = 10
SEEDS = int(os.environ.get("SEATRIAL_SIM_SEEDS", "60"))
FIRST = int(os.environ.get("SEATRIAL_SEED", "1"))
TOGETHER = 20


class Client:
    """Opens a session with whoever leads, then reads and writes until it is told to stop."""

    def __init__(self, world: World, number: int, rng: Rng) -> None:
        self.world, self.number, self.rng = world, number, rng
        self.host = rng.below(world.hosts)
        self.request = self.answered = self.connection = 0
        self.stopped = False
        self.session = 0
        self.dial()

    def dial(self) -> None:
        """Connect anew, unless nothing is to happen any more."""
        if not self.stopped:
            self.connection = self.world.connect(0, self.host, self)
            self.look_later(2 * S)

    def look_later(self, after_ns: int) -> None:
        """Try another host if no answer has come until then."""
        self.world.call_at(self.world.now_ns + after_ns, self.look, self.connection, self.answered)

    def look(self, connection: int, answered: int) -> None:
        if (connection, answered) == (self.connection, self.answered):
            self.turn_to(self.rng.below(self.world.hosts))

    def turn_to(self, host: int) -> None:
        """Leave whom it asked until now."""
        self.host = host
        self.world.close(self.connection)
        self.connection = 0
        self.world.call_at(self.world.now_ns + 20 * MS, self.dial)

    def connected(self, connection: int) -> None:
        if connection == self.connection:
            self.ask(connection)

    def ask(self, connection: int) -> None:
        """Send the next request."""
        if connection != self.connection or self.stopped:
            return
        self.request += 1
        op = "open-session"
        if self.session:
            op = self.rng.choice(("read", "write", "append", "delete"))
        self.world.send(connection, codec.encode_request(
            self.request, self.session or self.number, self.request, codec.OPS[op],
            b"%d" % self.rng.below(5), bytes(self.rng.below(300))))
        self.look_later(S)

    def received(self, connection: int, data: bytes) -> None:
        for frame in codec.split_frames(bytearray(data)):
            request, status, value, *_ = codec.decode_response(frame)
            if connection != self.connection or request != self.request:
                continue
            if codec.STATUSES[status] == "not-leader":
                leader = int.from_bytes(value or b"", "little")
                self.turn_to(leader - 1 if leader else self.rng.below(self.world.hosts))
                return
            self.answered += codec.STATUSES[status] == "ok"
            if not self.session and codec.STATUSES[status] == "ok":
                self.session = int.from_bytes(value or b"", "little")
            self.world.call_at(self.world.now_ns + 10 * MS, self.ask, connection)

    def closed(self, connection: int) -> None:
        if connection == self.connection:
            self.turn_to(self.rng.below(self.world.hosts))


Undo = Callable[[], Any]


def surroundings(rng: Rng) -> Environment:
    """Draw what a cluster runs on: anything from a calm network to one that hardly works."""
    one_in = rng.choice
    return Environment(
        latency_ns=one_in((50_000, 200_000, 2 * MS)), jitter_ns=one_in((0, 100_000, 5 * MS)),
        tail_ppm=one_in((0, 1000, 20_000)), tail_ns=50 * MS, frames=one_in((False, True)),
        loss_ppm=one_in((0, 0, 10_000, 100_000)), duplicate_ppm=one_in((0, 10_000)),
        reorder_ppm=one_in((0, 50_000)), reset_ppm=one_in((0, 0, 1000)),
        bytes_per_s=one_in((0, 0, 0, 1_000_000)),
        sync_ns=one_in((100_000, MS)), sync_jitter_ns=one_in((0, 3 * MS)),
        sync_tail_ppm=one_in((0, 5000)), sync_tail_ns=100 * MS,
        segment_bytes=one_in((4096, 65_536)), drift_ppm=one_in((0, 100_000)),
        iteration_ns=one_in((0, 0, 200_000, 2 * MS)), max_batch_bytes=one_in((300, 65_536)),
        max_inflight_bytes=one_in((1200, 1 << 20)),
        crash_points=tuple((point, one_in((0, 0, 2000, 20_000))) for point in CRASH_POINTS),
        crash_down_ns=one_in((20 * MS, 300 * MS)))


def down(end: Callable[[World, int], None]) -> Callable[[World, Rng, int], Undo]:
    def fault(w: World, rng: Rng, host: int) -> Undo:
        end(w, host)
        return lambda: w.start(host)
    return fault


def lifted(cut: Callable[[World, Rng, int], int]) -> Callable[[World, Rng, int], Undo]:
    def fault(w: World, rng: Rng, host: int) -> Undo:
        handle = cut(w, rng, host)
        return lambda: w.lift(handle)
    return fault


def ways(w: World, host: int) -> list[tuple[int, int]]:
    """Return all that lead to a host or from it, its clients' too."""
    return [way for other in range(w.hosts + 1) if other != host
            for way in ((host, other), (other, host))]


def parted(w: World, rng: Rng, host: int) -> int:
    """Cut some hosts and clients from the others, or only keep them from hearing them."""
    ends = range(w.hosts + 1)
    side = set(rng.shuffled(ends)[:1 + rng.below(w.hosts)])
    both = rng.below(2)
    return w.cut([(a, b) for a in ends for b in ends if a != b and (a in side) != (b in side)
                  and (both or a in side)])


def troubled(w: World, rng: Rng, host: int) -> int:
    one_in = rng.choice
    return w.impair(
        rng.shuffled(ways(w, host))[:3], delay_ns=rng.below(100 * MS),
        jitter_ns=rng.below(100 * MS), corrupt_ppm=one_in((0, 10_000)),
        loss_ppm=one_in((0, 200_000)), bytes_per_s=one_in((0, 0, 4000, 100_000)))


def paused(w: World, rng: Rng, host: int) -> Undo:
    w.pause(host)
    return lambda: w.resume(host)


def slowed(w: World, rng: Rng, host: int) -> Undo:
    w.slow(host, rng.below(20 * MS))
    return lambda: w.slow(host, 0)


def bad_disk(w: World, rng: Rng, host: int) -> Undo:
    disk = w.disk(host)
    rng.choice((disk.fail, disk.fill, disk.stall, lambda: disk.slow(50)))()

    def undo() -> None:
        disk.heal()
        w.start(host)
    return undo


def at_once(strike: Callable[[World, Rng, int], None]) -> Callable[[World, Rng, int], Undo]:
    def fault(w: World, rng: Rng, host: int) -> Undo:
        strike(w, rng, host)
        return int
    return fault


FAULTS: tuple[Callable[[World, Rng, int], Undo], ...] = (
    down(World.kill), down(World.power_loss), paused, slowed, bad_disk,
    lifted(parted), lifted(parted), lifted(troubled),
    lifted(lambda w, rng, host: w.cut(rng.shuffled(ways(w, host))[:2])),
    at_once(lambda w, rng, host: w.clock_bump(host, rng.below(2 * S))),
    at_once(lambda w, rng, host: w.clock_rate(host, rng.below(400_000) - 200_000)),
    at_once(lambda w, rng, host: w.reset(host, (host + 1) % (w.hosts + 1))),
    at_once(lambda w, rng, host: World.power_loss(w, host)),    # a crash in a crash
)


def strike(w: World, rng: Rng) -> None:
    """Let a fault happen now, its end and the next one later."""
    if w.now_ns > FAULTS_S * S:
        return
    leaders = w.leaders()
    host = leaders[0][1] if leaders and rng.below(2) else rng.below(w.hosts)
    undo = rng.choice(FAULTS)(w, rng, host)
    w.call_at(w.now_ns + (20 + rng.below(1000)) * MS, undo)
    w.call_at(w.now_ns + rng.below(800) * MS, strike, w, rng)


def played(seed: int, *, record: bool = False) -> tuple[World, int]:
    """Play a seed; return its world, agreed, and how many requests were answered."""
    rng = Rng(seed).split("stress")
    w = World(seed, rng.choice((1, 3, 3, 4, 5)), surroundings(rng.split("world")), record=record)
    w.add_group(range(w.hosts), heartbeat_ns=50 * MS, election_ns=200 * MS)
    for host in range(w.hosts):
        w.start(host)
    clients = [Client(w, n + 1, rng.split(f"client {n}")) for n in range(4)]
    w.call_at(S, strike, w, rng.split("faults"))
    w.run([], (FAULTS_S + 2) * S)           # by then all of them were undone
    w.calm()
    for client in clients:
        client.stopped = True
    for host in range(w.hosts):
        w.start(host)
    end = w.now_ns + LIMIT_S * S
    while (reason := w.converged()) is not None:
        assert w.now_ns < end, f"seed {seed}: {reason}"
        w.call_at(w.now_ns + 100 * MS, int)
        w.run([], w.now_ns + 100 * MS)
    return w, sum(client.answered for client in clients)


@pytest.mark.randomised
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
def test_after_any_faults_all_nodes_agree(first: int) -> None:
    answered = 0
    for seed in range(first, min(first + TOGETHER, FIRST + SEEDS)):
        try:
            answers = played(seed)[1]
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        answered += answers
    assert answered > 20 * min(TOGETHER, SEEDS)


@pytest.mark.randomised
@pytest.mark.parametrize("seed", range(FIRST, FIRST + max(SEEDS // 20, 1)))
def test_the_same_seed_is_the_same_run_recorded_or_not(seed: int) -> None:
    assert played(seed, record=True)[0].digest() == played(seed)[0].digest()
