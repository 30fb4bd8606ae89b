"""What a review of the protocol found in trees of domains, as it was found: each was so once."""
from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from seatrial.core import codec
from seatrial.harness.rng import Rng
from seatrial.harness.sim.domain_world import DomainWorld
from seatrial.harness.sim.environment import Environment

from .domain_sites import (
    BOUNDED,
    MS,
    NAMES,
    PREFIX,
    STATUSES,
    A,
    B,
    C,
    Client,
    D,
    E,
    S,
    Shape,
    Site,
    between,
    cut,
    hosts_of,
    leader_of,
    read,
    run_until,
    world_of,
)

NARROW = Environment(max_batch_bytes=300, max_inflight_bytes=1200)     # who catches up takes long


class Linearizable(Client):
    def question(self) -> bytes:
        return read(self.request, self.number, 0)


class Bounded(Client):
    def question(self) -> bytes:
        return read(self.request, self.number, BOUNDED, bound_ns=300 * MS)


def begun(shape: Shape, environment: Environment | None = None) -> tuple[
        DomainWorld, dict[int, range], int]:
    """Return a world that has begun, each domain's hosts, and who leads the root."""
    w = world_of(shape, environment=environment)
    w.read_invariants().drift_ppm = 150_000
    run_until(w, lambda: w.converged() is None)
    leader = leader_of(w, A)
    assert leader is not None
    return w, hosts_of(shape), leader


def writers(w: DomainWorld, hosts: range, count: int) -> list[Client]:
    """Return clients that write, and have written a little."""
    found = [Client(w, n + 1, hosts, Rng(1).split(str(n)), writes=True) for n in range(count)]
    run_until(w, lambda: found[0].answered > 20)
    return found


@pytest.mark.parametrize("k", [1, 255])
def test_who_was_not_waited_for_holds_no_lease_before_it_has_caught_up(k: int) -> None:
    block = {"sync": True, "block": True}
    w, hosts, leader = begun(
        {A: Site(1), B: Site(1, A, **block), C: Site(1, A, **block)},   # type: ignore[arg-type]
        NARROW)
    asking = writers(w, hosts[A], 4)
    undo = cut(w, between(hosts[A], hosts[B]))
    w.run([], w.now_ns + S)
    assert w.change_tree(leader, lambda tree: tree.policy(A, k))
    run_until(w, lambda: w.tree().domains[A].any_k == k)
    before = asking[0].answered
    run_until(w, lambda: asking[0].answered > before + 50)
    assert w.change_tree(leader, lambda tree: tree.policy(A, 0))
    w.impair(between(hosts[A], hosts[B]), delay_ns=20 * MS)
    undo()
    reader = Linearizable(w, 200, hosts[B], Rng(2), writes=False)
    run_until(w, lambda: reader.answered > 5)           # (the invariants look at each answer)


def test_policies_back_and_forth_before_the_first_one_is_committed() -> None:
    w, hosts, leader = begun({A: Site(1), B: Site(1, A, sync=True), C: Site(1, A, sync=True)})
    w.run([], w.now_ns + 2 * S)
    writer = writers(w, hosts[A], 1)[0]
    for k in (1, 0):
        assert w.change_tree(leader, lambda tree, k=k: tree.policy(A, k))
    before = writer.answered
    run_until(w, lambda: writer.answered > before + 5)


def test_a_bounded_read_in_a_domain_that_catches_up_is_not_fresh_for_its_last_mark() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A)}, NARROW)
    writers(w, hosts[A], 4)
    undo = cut(w, between(hosts[A], hosts[B]))
    w.run([], w.now_ns + 4 * S)
    w.impair(between(hosts[A], hosts[B]), delay_ns=20 * MS)
    undo()
    reader = Bounded(w, 200, hosts[B], Rng(2), writes=False)
    run_until(w, lambda: reader.statuses.get("too-old", 0) > 5)
    w.run([], w.now_ns + 4 * S)


def test_a_bounded_read_at_a_new_leader_of_the_root_waits_for_what_was_acknowledged() -> None:
    w, hosts, leader = begun({A: Site(3), B: Site(1, A, sync=True, block=True)})
    writer = writers(w, hosts[A], 1)[0]
    w.impair(between(hosts[A], hosts[B]), delay_ns=100 * MS)
    w.run([], w.now_ns + S)
    before = writer.answered
    run_until(w, lambda: writer.answered > before)
    w.run([], w.now_ns + 70 * MS)           # the next one is on its way to B
    undo = cut(w, between([leader], [host for host in hosts[A] if host != leader]))
    told = w.read_invariants().told
    run_until(w, lambda: w.read_invariants().told > told)
    writer.stopped = True
    w.kill(leader)
    w.kill(hosts[B][0])
    undo()
    run_until(w, lambda: leader_of(w, A) not in (None, leader))
    now = leader_of(w, A)
    assert now is not None
    w.run([], w.now_ns + 3 * S)
    reader = Bounded(w, 200, range(now, now + 1), Rng(2), writes=False)
    run_until(w, lambda: reader.statuses.get("too-old", 0) > 5)


def test_a_domain_that_was_caught_up_by_a_snapshot_makes_one_for_the_domain_below() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A), C: Site(1, B)},
                        Environment(snapshot_bytes=200_000, keep_bytes=1))
    for domain in (B, C):
        w.kill(hosts[domain][0])
    asking = writers(w, hosts[A], 8)
    run_until(w, lambda: w.status(0)["snapshot_index"] > 0 and w.status(0)["first_index"] > 100,
              300 * S)
    for client in asking:
        client.stopped = True
    w.run([], w.now_ns + 2 * S)
    for domain in (B, C):
        w.start(hosts[domain][0])
    run_until(w, lambda: w.converged() is None)


class Steady:
    """Asks a linearizable read of one host every so often, answered or not."""

    def __init__(self, w: DomainWorld, host: int, gap_ns: int) -> None:
        self.w, self.gap_ns, self.asked, self.stopped = w, gap_ns, 0, False
        self.statuses: Counter[str] = Counter()
        self.connection = w.connect(0, host, self)

    def connected(self, connection: int) -> None:
        self.ask()

    def ask(self) -> None:
        if not self.stopped:
            self.asked += 1
            self.w.send(self.connection, read(self.asked, 900, 0))
            self.w.call_at(self.w.now_ns + self.gap_ns, self.ask)

    def received(self, connection: int, data: bytes) -> None:
        for frame in codec.split_frames(bytearray(data)):
            self.statuses[STATUSES[codec.decode_response(frame)[1]]] += 1

    def closed(self, connection: int) -> None:
        self.stopped = True


def test_reads_that_the_root_is_asked_for_get_on_though_there_are_always_more() -> None:
    w, hosts, _ = begun({A: Site(3), B: Site(1, A)}, Environment(latency_ns=2 * MS))
    w.run([], w.now_ns + 2 * S)
    asking = Steady(w, hosts[B][0], MS)
    run_until(w, lambda: asking.asked > 3000)
    assert asking.statuses["ok"] > 2900
    assert set(asking.statuses) == {"ok"}


def test_a_domain_whose_parent_is_gone_hears_from_the_root_that_it_has_another() -> None:
    w, hosts, leader = begun({A: Site(1), B: Site(1, A), C: Site(1, B)})
    w.kill(hosts[B][0])
    w.run([], w.now_ns + S)
    assert w.change_tree(leader, lambda tree: tree.reparent(C, A))
    run_until(w, lambda: w.status(hosts[C][0])["domain"]["uplink"]["state"] == "streaming")
    assert w.status(hosts[C][0])["domain"]["uplink"]["node"] == leader + 1


def test_writers_wait_for_who_lags_and_not_for_who_is_dead() -> None:
    w, hosts, _ = begun({A: Site(1), B: Site(1, A),
                         C: Site(1, A, sync=True, max_lag_entries=20, on_lag="stall")})
    asking = writers(w, hosts[A], 4)
    w.kill(hosts[C][0])
    run_until(w, lambda: not w.tree().domains[C].included)
    w.run([], w.now_ns + 2 * S)
    before = Counter(asking[0].statuses)
    run_until(w, lambda: asking[0].answered > before["ok"] + 50)
    assert asking[0].statuses.get("busy", 0) == before["busy"]


def step_until(w: DomainWorld, done: Callable[[], bool], step_ns: int, limit_ns: int = 10 * S,
               ) -> None:
    """Let time pass in small steps until something is so."""
    end = w.now_ns + limit_ns
    while not done():
        assert w.now_ns < end, "it never happened"
        w.call_at(w.now_ns + step_ns, int)
        w.run([], w.now_ns + step_ns)


def domain(w: DomainWorld, host: int) -> dict[str, Any]:
    """Return what a running node knows of its domain."""
    status = w.status(host)
    assert status is not None
    found: dict[str, Any] = status["domain"]
    return found


def leads(w: DomainWorld, host: int) -> bool:
    status = w.status(host)
    return status is not None and w.state(host) == "up" and status["role"] == "leader"


def test_one_more_that_counts_under_any_k_unblocks_nothing_before_its_inclusion() -> None:
    f = 6
    NAMES.setdefault(f, "f")
    block = {"sync": True, "block": True}
    w, hosts, leader = begun({                                      # type: ignore[arg-type]
        A: Site(1), B: Site(1, A, any_k=1, **block), D: Site(1, B, **block),
        E: Site(1, B, **block), f: Site(1, A, **block)})
    writer = writers(w, hosts[A], 1)[0]
    writer.stopped = True
    w.run([], w.now_ns + 2 * S)
    back = cut(w, between(hosts[E], hosts[B]))
    w.run([], w.now_ns + S)
    assert w.change_tree(leader, lambda tree: tree.exclude(E))      # any 1 of D alone
    run_until(w, lambda: not w.tree().domains[E].included)
    w.run([], w.now_ns + S)
    cut(w, between(hosts[D], hosts[B]))
    writer.stopped = False
    before = writer.answered
    writer.dial()
    w.run([], w.now_ns + S)
    assert writer.answered == before, "B needs D"
    cut(w, between(hosts[f], hosts[A]))     # it holds the writes, and not what comes now
    back()
    run_until(w, lambda: not w.first_tree().domains[E].included
              or domain(w, hosts[E][0])["mirror_end"] >= domain(w, leader)["mirror_end"])
    w.run([], w.now_ns + 2 * S)             # (the invariants look at what is committed)


class Tokened(Client):
    """Reads what a token of somebody else asks for."""

    seen = bytes(24)

    def question(self) -> bytes:
        return read(self.request, self.number, PREFIX, self.seen)


def test_a_session_is_not_lost_where_a_domain_is_only_behind() -> None:
    w, hosts, old = begun({A: Site(3), B: Site(1, A)})
    others, child = [host for host in hosts[A] if host != old], hosts[B][0]
    writer = Client(w, 1, range(old, old + 1), Rng(1), writes=True)
    run_until(w, lambda: writer.answered > 20)
    cut(w, between([old], others))
    back = cut(w, between([child], others))
    run_until(w, lambda: domain(w, child)["mirror_end"] > domain(w, others[0])["mirror_end"])
    writer.stopped = True
    run_until(w, lambda: any(leads(w, host) for host in others))
    new = next(host for host in others if leads(w, host))
    second = Client(w, 2, range(new, new + 1), Rng(3), writes=True)
    end = domain(w, child)["mirror_end"]
    run_until(w, lambda: int.from_bytes(second.token[:8], "little") >= end)
    _, epoch, term = struct.unpack("<QQQ", second.token)
    reader = Tokened(w, 9, hosts[B], Rng(2), writes=False)
    reader.seen = struct.pack("<QQQ", end, epoch, term)
    run_until(w, lambda: reader.statuses.get("too-old", 0) > 2)
    back()
    run_until(w, lambda: reader.answered > 2)
    assert "lost" not in reader.statuses


def test_what_a_grandchild_has_cut_since_does_not_count() -> None:
    """Figure 8 of the Raft paper, two levels down."""
    block = {"sync": True, "block": True}
    w, hosts, old = begun(
        {A: Site(3), B: Site(1, A, **block), C: Site(1, B, **block)},   # type: ignore[arg-type]
        Environment(latency_ns=2 * MS, jitter_ns=0))
    b, c = hosts[B][0], hosts[C][0]
    others = [host for host in hosts[A] if host != old]
    writer = Client(w, 1, range(old, old + 1), Rng(1), writes=True)
    run_until(w, lambda: writer.answered > 10)
    apart = cut(w, between([old], others))
    held = domain(w, others[0])["mirror_end"]
    step_until(w, lambda: domain(w, c)["mirror_end"] >= held + 1, MS // 5)
    writer.stopped = True
    term = w.status(old)["term"]
    w.run([], w.now_ns + 30 * MS)               # C tells B that it has it
    end = domain(w, old)["mirror_end"]
    away = cut(w, between([old], [b]))
    w.reset(old, b)
    step_until(w, lambda: any(leads(w, host) for host in others), MS // 5)
    second = next(host for host in others if leads(w, host))
    third = next(host for host in others if host != second)
    w.power_loss(third)
    step_until(w, lambda: domain(w, c)["adopted"][1] > term, MS)
    w.run([], w.now_ns + 20 * MS)               # B and C have cut it
    deaf = cut(w, between([b], [c]))
    w.power_loss(second)
    apart()
    away()
    w.start(third)
    step_until(w, lambda: leads(w, old) and domain(w, b)["mirror_end"] > end
               and domain(w, b)["adopted"][1] == w.status(old)["term"], MS)
    w.run([], w.now_ns + 2 * S)                 # B has it again, and C does not
    deaf()
    w.start(second)
    run_until(w, lambda: w.converged() is None)


def test_no_snapshot_is_begun_while_a_base_may_be_cut() -> None:
    w, hosts, root = begun({A: Site(1), B: Site(3, A), C: Site(1, B)},
                           Environment(snapshot_bytes=200_000, keep_bytes=1))
    asking = writers(w, hosts[A], 8)
    w.run([], w.now_ns + S)
    back = cut(w, between(hosts[A], hosts[B]))
    run_until(w, lambda: w.status(root)["snapshot_index"] > 0 and w.status(root)["first_index"]
              > domain(w, hosts[B][0])["mirror_end"] + 50, 300 * S)
    for client in asking:
        client.stopped = True
    w.run([], w.now_ns + 2 * S)
    leader = leader_of(w, B)
    assert leader is not None
    back()
    run_until(w, lambda: domain(w, leader)["uplink"]["state"] in ("attaching", "snapshot"))
    alone = cut(w, between([leader], [host for host in hosts[B] if host != leader]))
    reader = Tokened(w, 99, range(leader, leader + 1), Rng(4), writes=False)
    ahead = []                                  # of what it has applied: the base is not committed

    def deposed() -> bool:
        told = domain(w, leader)
        ahead.append(told["mirror_end"] - told["applied_rindex"])
        return not leads(w, leader)

    step_until(w, deposed, 5 * MS)
    assert max(ahead) > 50
    assert reader.answered > 5
    assert struct.unpack("<QQQ", reader.token)[1:] == (1 << 16 | A, 1), "an entry of the root's log"
    reader.stopped = True
    alone()
    run_until(w, lambda: w.converged() is None, 60 * S)


def test_who_leads_no_longer_still_knows_who_confirmed() -> None:
    w, hosts, old = begun({A: Site(3), B: Site(1, A, sync=True, block=True)})
    others = [host for host in hosts[A] if host != old]
    confirmed: list[tuple[int, ...]] = []

    class Confirmed(Client):
        def received(self, connection: int, data: bytes) -> None:
            confirmed.extend(codec.response_domains(frame)[1]
                             for frame in codec.split_frames(bytearray(data))
                             if STATUSES[codec.decode_response(frame)[1]] == "ok")
            super().received(connection, data)

        def look(self, connection: int, request: int) -> None:
            """Wait for its answer, however long."""

    writer = Confirmed(w, 1, range(old, old + 1), Rng(1), writes=True)
    run_until(w, lambda: writer.answered > 20)
    silent = cut(w, between(hosts[A], hosts[B]))
    w.run([], w.now_ns + 100 * MS)              # its last write is in all of A, and not in B
    before = len(confirmed)
    alone = cut(w, between([old], others))
    run_until(w, lambda: any(leads(w, host) for host in others))
    alone()
    run_until(w, lambda: not leads(w, old))
    silent()
    run_until(w, lambda: len(confirmed) > before)
    assert (confirmed[before], w.state(old), leads(w, old)) == ((B,), "up", False)
