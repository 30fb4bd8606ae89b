"""The simulated world: what it does to nodes, and that a seed decides all of it."""
from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seatrial.core import codec
from seatrial.core.errors import InvariantViolation
from seatrial.harness.sim.environment import Environment
from seatrial.harness.sim.world import World

MS = 1_000_000
S = 1000 * MS


def world(hosts: int = 3, seed: int = 1, *, record: bool = False, **environment: Any) -> World:
    """Return a world with one started Raft group."""
    made = World(seed, hosts, Environment(**environment), record=record)
    made.add_group(range(hosts), heartbeat_ns=50 * MS, election_ns=300 * MS)
    for host in range(hosts):
        made.start(host)
    return made


def run_until(w: World, done: Callable[[], bool], limit_ns: int = 30 * S) -> None:
    """Let time pass until something is so."""
    end = w.now_ns + limit_ns
    while not done():
        assert w.now_ns < end, "it never happened"
        w.run([], w.now_ns + 10 * MS)
        if not done() and w.now_ns < end:
            w.call_at(w.now_ns + 10 * MS, int)


def leader(w: World) -> int:
    """Wait for a leader whose log every node holds; return its host."""
    run_until(w, lambda: w.converged() is None)
    return w.leaders()[0][1]


class Writer:
    """Writes to one host, one value after the other; notes what it heard."""

    def __init__(self, w: World, host: int, number: int = 1) -> None:
        self.world, self.number = w, number
        self.heard: list[str] = []
        self.statuses: list[str] = []
        self.sequence = self.session = 0
        self.connection = w.connect(0, host, self)

    def connected(self, connection: int) -> None:
        assert connection == self.connection
        self.heard.append("connected")
        self.world.send(connection, codec.encode_request(
            0, self.number, 0, codec.OPS["open-session"]))

    def write(self) -> None:
        self.sequence += 1
        self.world.send(self.connection, codec.encode_request(
            self.sequence, self.session, self.sequence, codec.OPS["write"], b"k",
            b"%d" % self.sequence))

    def received(self, connection: int, data: bytes) -> None:
        for frame in codec.split_frames(bytearray(data)):
            _, status, value, *_ = codec.decode_response(frame)
            self.session = self.session or int.from_bytes(value or b"", "little")
            self.statuses.append(codec.STATUSES[status])

    def closed(self, connection: int) -> None:
        self.heard.append("closed")


def isolated(w: World, host: int) -> list[tuple[int, int]]:
    """Return the pairs that cut one host from all others."""
    return [pair for other in range(w.hosts) if other != host
            for pair in ((host, other), (other, host))]


def played(seed: int, **environment: Any) -> World:
    """Play one scene with a bit of everything."""
    w = world(5, seed, **environment)
    first = leader(w)
    writer = Writer(w, first)
    for step in range(40):
        w.call_at(w.now_ns + step * 50 * MS, writer.write)
    w.call_at(w.now_ns + 400 * MS, w.kill, first)
    w.call_at(w.now_ns + 900 * MS, w.start, first)
    w.run([], w.now_ns + 10 * S)
    return w


def test_the_same_seed_is_the_same_run_and_another_seed_another() -> None:
    digests = [played(seed).digest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_recording_changes_nothing() -> None:
    def run(*, record: bool) -> World:
        w = world(3, 5, record=record)
        Writer(w, leader(w)).write()
        w.run([], 5 * S)
        return w

    recorded = run(record=True)
    assert recorded.digest() == run(record=False).digest()
    assert {"start", "leads", "message", "write", "synced"} <= {e[1] for e in recorded.trace()}


def test_a_write_is_answered_and_all_nodes_agree() -> None:
    w = world()
    writer = Writer(w, leader(w))
    run_until(w, lambda: bool(writer.statuses))
    writer.write()
    run_until(w, lambda: writer.statuses == ["ok", "ok"])
    run_until(w, lambda: w.converged() is None)


def test_a_leader_that_is_cut_off_is_replaced_and_follows_when_the_cut_ends() -> None:
    w = world()
    old = leader(w)
    handle = w.cut(isolated(w, old))
    assert not w.hears(old, (old + 1) % 3)
    run_until(w, lambda: w.leaders() != [] and w.leaders()[0][1] != old)
    assert w.counters()["cut"] > 0
    w.lift(handle)
    assert w.hears(old, (old + 1) % 3)
    assert leader(w) != old


def test_what_a_short_cut_held_back_arrives_when_it_ends() -> None:
    w = world(record=True)
    host = leader(w)
    writer = Writer(w, host)
    run_until(w, lambda: writer.statuses == ["ok"])
    handle = w.cut([(3, host)])                 # its answers don't reach the client
    writer.write()
    w.call_at(w.now_ns + 500 * MS, w.lift, handle)
    w.run([], w.now_ns + 400 * MS)
    assert writer.statuses == ["ok"]
    run_until(w, lambda: writer.statuses == ["ok", "ok"])
    assert writer.heard == ["connected"]


def test_nothing_overtakes_what_a_cut_held_back() -> None:
    w = world(3, record=True, latency_ns=20 * MS)
    host = leader(w)
    follower = (host + 1) % 3
    writer = Writer(w, host)
    run_until(w, lambda: writer.statuses == ["ok"])
    for _ in range(40):
        writer.write()
        w.run([], w.now_ns + 4 * MS)
        handle = w.cut([(follower, host)])
        writer.write()
        w.run([], w.now_ns + 25 * MS)
        writer.write()
        w.run([], w.now_ns + 5 * MS)
        w.lift(handle)                          # some is held, some still on its way
    run_until(w, lambda: w.converged() is None)
    sent = [entry[4]["sent_ns"] for entry in w.trace()
            if entry[1:4] == ("message", host, follower)]
    assert sent == sorted(sent)
    assert w.counters()["cut"] > 40


def test_a_leader_that_hears_nobody_is_soon_heard_no_more() -> None:
    """Its bytes are not acknowledged: TCP's window is full, and it is as good as isolated."""
    w = world(5)
    old = leader(w)
    w.cut([(old, other) for other in range(5) if other != old])
    run_until(w, lambda: w.leaders() != [] and w.leaders()[0][1] != old, 3 * S)
    term = w.leaders()[0][0]
    w.call_at(w.now_ns + 5 * S, int)
    w.run([], w.now_ns + 5 * S)
    assert w.leaders()[0][0] == term            # and disturbs nobody


def test_a_connection_that_nobody_acknowledges_breaks() -> None:
    w = world()
    host = leader(w)
    writer = Writer(w, host)
    run_until(w, lambda: writer.statuses == ["ok"])
    w.cut([(host, 3)])
    writer.write()
    run_until(w, lambda: writer.heard == ["connected", "closed"])


def test_a_killed_process_is_missed_at_once_a_host_without_power_later() -> None:
    def until_closed(end: Callable[[World, int], None]) -> int:
        w = world()
        host = leader(w)
        writer = Writer(w, host)
        run_until(w, lambda: writer.statuses == ["ok"])
        began = w.now_ns
        end(w, host)
        writer.write()
        run_until(w, lambda: "closed" in writer.heard)
        assert w.state(host) == "down"
        return w.now_ns - began

    assert until_closed(World.kill) < 20 * MS
    assert until_closed(World.power_loss) > 1 * S


def test_power_that_goes_after_the_process_takes_its_page_cache() -> None:
    w = world(sync_ns=100 * MS)                 # a long time between written and synced
    run_until(w, lambda: any((w.status(host) or {"term": 0})["term"] for host in range(3)))
    host = next(host for host in range(3) if (w.status(host) or {"term": 0})["term"])
    w.kill(host)
    kept = w.disk(host).counters()["sectors_lost"]
    w.power_loss(host)
    w.power_loss(host)                          # there is none left to lose
    assert w.disk(host).counters()["sectors_lost"] >= kept
    w.start(host)
    assert w.state(host) == "up"
    run_until(w, lambda: w.converged() is None, 120 * S)


def test_nobody_answers_where_no_process_runs() -> None:
    w = world()
    w.kill(0)
    writer = Writer(w, 0)
    run_until(w, lambda: writer.heard == ["closed"])


def test_a_paused_node_finds_everything_when_it_goes_on() -> None:
    w = world()
    follower = (leader(w) + 1) % 3
    status = w.status(follower)
    assert status is not None
    w.pause(follower)
    assert w.state(follower) == "paused"
    writer = Writer(w, leader_now(w))
    run_until(w, lambda: writer.statuses == ["ok"])
    assert w.status(follower) == status
    w.resume(follower)
    run_until(w, lambda: w.converged() is None)


def leader_now(w: World) -> int:
    """Return who leads."""
    return w.leaders()[0][1]


def test_a_restarted_node_has_what_its_disk_held() -> None:
    w = world()
    follower = (leader(w) + 1) % 3
    before = w.status(follower)
    assert before is not None
    w.power_loss(follower)
    assert w.status(follower) is None
    w.start(follower)
    after = w.status(follower)
    assert after is not None
    assert (after["term"], after["last_index"]) == (before["term"], before["last_index"])


@pytest.mark.parametrize(("point", "ppm"), [
    ("vote", 500_000), ("write", 200_000), ("answer", 200_000), ("lead", 500_000),
    ("append", 100_000),
])
def test_a_crash_point_strikes_at_its_moment_and_the_node_comes_back(point: str, ppm: int) -> None:
    w = world(record=True, crash_points=((point, ppm),), crash_down_ns=100 * MS)
    run_until(w, lambda: w.leaders() != [])
    for client in range(8):
        writer = Writer(w, leader_now(w) if w.leaders() else 0, client + 1)
        writer.write()
        w.run([], w.now_ns + 300 * MS)
        w.clock_bump(client % 3, S)             # another election
        w.run([], w.now_ns + 300 * MS)
    kinds = [entry[1:] for entry in w.trace()]
    struck = [i for i, entry in enumerate(kinds) if entry[0] == "crash-point"]
    assert struck
    for i in struck:
        assert kinds[i][3] == point
        assert kinds[i + 1][:2] == ("power-loss", kinds[i][1])
    w.calm()
    run_until(w, lambda: w.converged() is None)


def test_clocks_run_fast_jump_ahead_and_never_go_back() -> None:
    w = world()
    w.run([], S)
    w.call_at(w.now_ns, int)
    before, since = [w.clock_ns(host) for host in range(3)], w.now_ns
    w.clock_rate(0, 200_000)
    w.clock_bump(1, 5 * S)
    assert w.clock_ns(0) == before[0]
    w.run([], w.now_ns + S)
    passed = w.now_ns - since
    assert w.clock_ns(0) - before[0] == pytest.approx(1.2 * passed, rel=1e-5)
    assert w.clock_ns(1) - before[1] == passed + 5 * S
    assert w.clock_ns(2) - before[2] == passed


def test_a_majority_whose_clocks_jump_over_their_election_timeout_stands_for_election() -> None:
    w = world()
    led = leader(w)
    term = w.leaders()[0][0]
    w.clock_bump((led + 1) % 3, 10 * S)
    w.run([], w.now_ns + S)
    assert w.leaders() == [(term, led)]         # one alone: the others hear the leader
    w.clock_bump((led + 1) % 3, 10 * S)
    w.clock_bump((led + 2) % 3, 10 * S)
    run_until(w, lambda: w.leaders() != [] and w.leaders()[0][0] > term)


def test_two_groups_live_in_one_world_each_with_its_own_leader_and_log() -> None:
    w = World(3, 7, Environment())
    sites = [range(3), range(3, 7)]
    for number, hosts in enumerate(sites):
        w.add_group(hosts, heartbeat_ns=50 * MS, election_ns=300 * MS, domain=number)
        for host in hosts:
            w.start(host)
    far = [(a, b) for a in sites[0] for b in sites[1]]
    far += [(b, a) for a, b in far]
    w.impair(far, delay_ns=40 * MS)             # the sites are far apart
    w.cut(far)                                  # and then hear nothing of each other
    run_until(w, lambda: w.converged() is None)
    leaders = [host for _, host in w.leaders()]
    assert sorted(next(i for i, site in enumerate(sites) if host in site)
                  for host in leaders) == [0, 1]
    writer = Writer(w, next(host for host in leaders if host in sites[1]))
    run_until(w, lambda: writer.statuses == ["ok"])
    run_until(w, lambda: w.converged() is None)
    entries = {(w.status(host) or {})["last_index"] for host in sites[0]}
    more = {(w.status(host) or {})["last_index"] for host in sites[1]}
    assert entries == {1}
    assert more == {2}


def test_bare_frames_are_lost_doubled_and_overtaken_and_the_cluster_lives() -> None:
    w = world(5, frames=True, loss_ppm=100_000, duplicate_ppm=100_000, reorder_ppm=100_000)
    run_until(w, lambda: w.leaders() != [])
    writer = Writer(w, leader_now(w))
    run_until(w, lambda: writer.statuses == ["ok"])
    fates = ("lost", "duplicated", "reordered")
    run_until(w, lambda: min(w.counters()[name] for name in fates) > 10)
    w.calm()
    run_until(w, lambda: w.converged() is None)


def test_altered_bytes_are_refused_and_cost_a_connection() -> None:
    w = world(record=True)
    leader(w)
    handle = w.impair([(0, 1), (1, 0), (0, 2), (2, 0)], corrupt_ppm=300_000)
    run_until(w, lambda: w.counters()["refused_frames"] > 3)
    assert "part" in {entry[1] for entry in w.trace()}
    w.lift(handle)
    run_until(w, lambda: w.converged() is None)


def test_impairments_add_up_and_end() -> None:
    w = world()
    leader(w)
    one = w.impair([(0, 1)], delay_ns=MS, loss_ppm=10)
    two = w.impair([(0, 1)], delay_ns=2 * MS, bytes_per_s=1000)
    w.run([], w.now_ns + S)
    assert w.counters()["delayed"] > 0
    w.lift(one)
    w.lift(two)
    delayed = w.counters()["delayed"]
    w.run([], w.now_ns + S)
    assert w.counters()["delayed"] == delayed


def test_a_slow_node_takes_its_inputs_together() -> None:
    w = world(3, record=True)
    follower = (leader(w) + 1) % 3
    w.slow(follower, 200 * MS)
    w.run([], w.now_ns + 2 * S)
    w.call_at(w.now_ns, int)
    times = {entry[0] for entry in w.trace()
             if entry[1] == "message" and entry[3] == follower and entry[0] > w.now_ns - S}
    assert 0 < len(times) <= 6


def test_a_disk_that_fails_stops_its_node_loudly_and_it_starts_again_on_a_good_one() -> None:
    w = world()
    follower = (leader(w) + 1) % 3
    w.disk(follower).fail()
    writer = Writer(w, leader_now(w))
    run_until(w, lambda: w.state(follower) == "broken")
    assert w.trouble(follower)
    run_until(w, lambda: writer.statuses == ["ok"])
    w.disk(follower).heal()
    w.start(follower)
    run_until(w, lambda: w.converged() is None)


def test_a_stalled_disk_keeps_a_write_waiting_until_it_works_again() -> None:
    w = world()
    host = leader(w)
    others = [h for h in range(3) if h != host]
    for follower in others:
        w.disk(follower).stall()
    writer = Writer(w, host)
    w.run([], w.now_ns + 200 * MS)
    assert writer.statuses == []
    for follower in others:
        w.disk(follower).unstall()
    run_until(w, lambda: writer.statuses == ["ok"])


def test_after_a_cut_what_left_first_still_arrives_first() -> None:
    w = world(record=True, latency_ns=20 * MS)
    host = leader(w)
    writers = [Writer(w, host, number) for number in (1, 2)]
    run_until(w, lambda: all(writer.statuses == ["ok"] for writer in writers))
    for step in range(20):
        for writer in writers:
            w.call_at(w.now_ns + step * 5 * MS, writer.write)
    handle = w.cut([*isolated(w, host), (host, 3), (3, host)])
    w.call_at(w.now_ns + 60 * MS, w.lift, handle)       # with much on its way
    run_until(w, lambda: all(writer.statuses == ["ok"] * 21 for writer in writers))
    newest: dict[object, int] = {}
    for _, kind, a, b, detail in w.trace():
        if kind in ("message", "request", "response"):
            assert detail["sent_ns"] >= newest.get((kind, a, b), 0)
            newest[kind, a, b] = detail["sent_ns"]
    assert writers[0].heard == writers[1].heard == ["connected"]


def test_what_a_client_sent_before_it_left_is_still_read() -> None:
    for paused in (False, True):
        w = world(latency_ns=MS, jitter_ns=5 * MS)
        host = leader(w)
        writer = Writer(w, host)
        run_until(w, lambda: bool(writer.statuses))     # noqa: B023
        served = w.status(host)["served_writes"]        # type: ignore[index]
        if paused:
            w.pause(host)
        writer.write()
        w.run([], w.now_ns + 10 * MS * paused)
        w.close(writer.connection)
        w.run([], w.now_ns + 20 * MS)
        w.resume(host)
        w.run([], w.now_ns + 40 * MS)
        assert w.status(host)["served_writes"] == served + 1    # type: ignore[index]


def test_an_answer_that_is_on_its_way_arrives_before_the_news_that_its_process_ended() -> None:
    w = world()
    host = leader(w)
    writer = Writer(w, host)
    run_until(w, lambda: writer.statuses == ["ok"])
    w.impair([(3, host)], delay_ns=50 * MS)
    writer.write()
    w.call_at(w.now_ns + 20 * MS, w.kill, host)
    run_until(w, lambda: writer.heard == ["connected", "closed"])
    assert writer.statuses == ["ok", "ok"]


def test_a_process_gets_nothing_that_was_sent_to_the_one_before() -> None:
    w = world(record=True, latency_ns=40 * MS, jitter_ns=0)
    follower = (leader(w) + 1) % 3
    for _ in range(10):
        w.run([], w.now_ns + 90 * MS)
        w.kill(follower)
        w.start(follower)
    w.run([], w.now_ns + S)
    began = 0
    for now_ns, kind, a, b, detail in w.trace():
        if kind == "start" and a == follower:
            began = now_ns
        assert kind != "message" or b != follower or detail["sent_ns"] >= began


def test_a_connection_with_damaged_frames_is_read_no_further() -> None:
    w = world(record=True, latency_ns=5 * MS)
    leader(w)
    w.impair([(0, 1), (1, 0), (0, 2), (2, 0)], corrupt_ppm=300_000)
    writer = Writer(w, 0)
    for step in range(400):
        w.call_at(w.now_ns + step * 5 * MS, writer.write)
    w.run([], w.now_ns + 3 * S)
    closed = set()
    for _, kind, a, b, _ in w.trace():
        if kind == "refused":
            closed.add((b, a))
        elif kind == "part":
            closed.discard((a, b))
        assert kind != "message" or (a, b) not in closed
    assert w.counters()["refused_frames"] > 10


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_recording_changes_nothing_of_a_run_with_damaged_frames_either(seed: int) -> None:
    def run(*, record: bool) -> str:
        w = world(3, seed, record=record)
        host = leader(w)
        w.impair([(a, b) for a in range(4) for b in range(4) if a != b], corrupt_ppm=100_000)
        for number in range(4):
            writer = Writer(w, host, number + 1)
            for step in range(50):
                w.call_at(w.now_ns + step * 10 * MS, writer.write)
        w.run([], w.now_ns + 2 * S)
        assert w.counters()["refused_frames"] > 3
        return w.digest()

    assert run(record=True) == run(record=False)


def test_the_end_of_a_process_is_not_heard_through_a_cut() -> None:
    w = world(record=True)
    host = leader(w)
    follower = (host + 1) % 3
    w.run([], w.now_ns + 200 * MS)
    w.cut([(host, follower)])
    w.kill(follower)
    killed_ns = w.now_ns
    w.run([], w.now_ns + S)
    parted = [now_ns for now_ns, kind, a, b, _ in w.trace()
              if (kind, a, b) == ("part", host, follower)]
    assert parted == []
    w.run([], w.now_ns + 2 * S)
    parted = [now_ns for now_ns, kind, a, b, _ in w.trace()
              if (kind, a, b) == ("part", host, follower)]
    assert len(parted) == 1
    assert parted[0] - killed_ns >= 2 * S               # nobody acknowledged what it sent


def test_what_queued_up_for_a_narrow_link_flows_when_it_is_wide_again() -> None:
    w = world()
    host = leader(w)
    writers = [Writer(w, host, number + 1) for number in range(10)]
    run_until(w, lambda: all(writer.statuses for writer in writers))
    handle = w.impair([(other, host) for other in range(3) if other != host], bytes_per_s=4000)
    for step in range(300):
        for writer in writers:
            w.call_at(w.now_ns + step * 10 * MS, writer.write)
    w.run([], w.now_ns + 3 * S)
    w.lift(handle)
    run_until(w, lambda: w.converged() is None, 2 * S)


def test_a_leader_may_die_after_any_of_its_members_was_sent_an_entry() -> None:
    reached = set()
    for seed in range(30):
        w = world(5, seed, record=True, crash_points=(("append", 30_000),),
                  crash_down_ns=100 * MS)
        run_until(w, lambda: w.leaders() != [])     # noqa: B023
        for number in range(8):
            Writer(w, leader_now(w) if w.leaders() else 0, number + 1)
            w.run([], w.now_ns + 300 * MS)
        trace = w.trace()
        for now_ns, kind, host, _, _ in trace:
            if kind == "crash-point":
                reached.add(sum(entry[1:3] == ("message", host) and entry[4]["sent_ns"] == now_ns
                                and entry[4]["type"] == "append" for entry in trace))
    assert {1, 2, 3, 4} <= reached


def test_a_clock_goes_on_for_days() -> None:
    w = World(1, 1, Environment(drift_ppm=1000))
    before = w.clock_ns(0)
    w.call_at(100 * 3600 * S, int)
    assert w.advance()
    assert w.clock_ns(0) - before == pytest.approx(100 * 3600 * S, rel=0.002)


def test_a_world_that_nobody_needs_any_more_is_forgotten_with_all_that_it_would_have_done() -> None:
    class Waiting:
        def __init__(self, w: World) -> None:
            self.world = w

        def call(self) -> None: ...

    w = world()
    waiting = Waiting(w)
    w.call_at(100 * S, waiting.call)
    there = weakref.ref(waiting)
    del w, waiting
    gc.collect()
    assert there() is None


def test_what_a_paused_node_never_read_is_forgotten_with_its_world() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    def once(seed: int) -> None:
        w = world(3, seed)
        host = leader(w)
        writer = Writer(w, host)
        run_until(w, lambda: bool(writer.statuses))
        w.pause(host)
        for number in range(100):
            w.send(writer.connection, codec.encode_request(
                number, 1, number, codec.OPS["write"], b"k", bytes(100_000)))
        w.run([], w.now_ns + S)

    once(0)
    before = resident()
    for seed in range(10):
        once(seed)
        gc.collect()
    assert resident() - before < 50 << 20               # of 100 MB that they did not read


def test_connections_that_were_given_up_while_dialling_are_forgotten() -> None:
    w = world()
    leader(w)
    w.cut([(0, 3)])
    for _ in range(100):
        connection = w.connect(0, 0, None)
        w.run([], w.now_ns + MS)
        w.close(connection)
    assert not [o for o in gc.get_objects() if type(o).__name__ == "Connection"]


@pytest.mark.parametrize("call", [
    lambda w: w.start(3), lambda w: w.kill(-1), lambda w: w.cut([(0, 0)]),
    lambda w: w.hears(0, 9), lambda w: w.clock_rate(0, -1_000_000),
    lambda w: w.crash_points({"lunch": 1}, 1), lambda w: w.impair([(0, 1)], delay=1),
    lambda w: w.add_group([0], heartbeat_ns=1, election_ns=2),
    lambda w: w.connect(7, 0, None), lambda w: w.reset(-9, 0), lambda w: w.reset(0, 0),
])
def test_what_makes_no_sense_is_refused(call: Callable[[World], object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        call(world())


def test_a_violation_ends_the_run_even_if_whoever_caused_it_ignores_it() -> None:
    """A fault's coroutine that resumes a node may be anybody's, and catch anything."""
    w = world(1, sync_ns=50 * MS)
    w.disk(0).lie()
    run_until(w, lambda: bool(w.leaders()))
    w.pause(0)                          # its first entry's sync returns meanwhile
    w.run([], w.now_ns + 100 * MS)
    with pytest.raises(InvariantViolation, match=r"durability.*resume on n1"):
        w.resume(0)
    with pytest.raises(InvariantViolation, match=r"durability.*resume on n1"):
        w.advance()
