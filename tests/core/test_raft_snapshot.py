"""Snapshots in a group of real machines: made, written, sent, resumed, installed, restarted."""
from __future__ import annotations

import pytest

from seatrial.core import codec
from seatrial.core.errors import InvariantViolation
from seatrial.core.replica import Replica

from .snapshot_group import MS, OPS, Group


def test_a_log_is_compacted_when_a_snapshot_holds_it_and_little_is_kept() -> None:
    group = Group()
    group.write(range(200))
    for replica in group.replicas.values():
        status = replica.status()
        assert status["snapshot_index"] > 100
        assert status["snapshot_index"] - 10 < status["first_index"] <= status["snapshot_index"] + 1
    group.agree()


def test_the_first_leader_writes_the_configuration_into_the_log() -> None:
    """Else a snapshot would have to tell what only the file of the node that made it says: one
    whose file was out of date let a member elect itself alone."""
    group = Group(snapshot_bytes=1 << 30)
    group.write(range(3))
    first = group.leader()
    assert first.status()["config_index"] == 1
    other = next(n for n in group.ids if n != first.raft.node)
    first.transfer(other, group.now)
    group.pass_time(5)
    assert group.leader().raft.node == other
    kinds = [codec.describe_record(group.leader().raft.log.bytes_of(i))["kind"]
             for i in range(1, group.leader().status()["last_index"] + 1)]
    assert kinds.count("config") == 1


def test_a_restarted_node_goes_on_from_its_snapshot_and_the_log_after_it() -> None:
    group = Group()
    group.write(range(200))
    group.stop(3)
    group.start(3)
    assert group.replicas[3].status()["commit"] > 100
    group.write(range(200, 230))
    group.agree()


def test_who_lacks_what_the_log_no_longer_holds_is_sent_a_snapshot_and_then_the_log() -> None:
    group = Group()
    group.write(range(5))
    victim = next(n for n in group.ids if n != group.leader().raft.node)
    group.stop(victim)
    group.write(range(5, 300))
    group.sent.clear()
    group.start(victim)
    group.pass_time(30)
    assert (victim, "snapshot") in group.sent
    group.write(range(300, 310))
    group.agree()
    group.stop(victim)
    group.start(victim)
    group.agree()


def big() -> tuple[Group, int]:
    """A group whose snapshot has several chunks, one node far behind."""
    group = Group(snapshot_bytes=200_000)
    group.write(range(3))
    victim = next(n for n in group.ids if n != group.leader().raft.node)
    group.stop(victim)
    group.write(range(3, 700), size=1000)
    return group, victim


def chunks_sent(group: Group, victim: int) -> int:
    return group.sent.count((victim, "snapshot"))


@pytest.mark.parametrize("what", ["connection", "receiver", "sender"])
def test_a_transfer_goes_on_where_it_broke_off(what: str) -> None:
    group, victim = big()
    total = (group.leader().status()["snapshot_bytes"] + (1 << 16) - 1) >> 16
    assert total >= 6
    passed = 0

    def after_three(target: int, frame: bytes) -> bool:
        nonlocal passed
        if target == victim and codec.decode_message(frame)["type"] == "snapshot":
            passed += 1
            return passed > 3
        return False

    group.lose = after_three
    group.start(victim)
    group.settle()
    assert chunks_sent(group, victim) == 3
    leader = group.leader().raft.node
    if what == "connection":
        group.replicas[leader].peer_down(victim, group.now)
        group.replicas[leader].peer_up(victim, group.now)
    else:
        group.stop(victim if what == "receiver" else leader)
        group.start(victim if what == "receiver" else leader)
    group.sent.clear()
    group.lose = lambda target, frame: False
    group.agree()
    assert group.replicas[victim].status()["first_index"] > 1
    assert total - 3 <= chunks_sent(group, victim) <= total     # (the first tells how far it is)


def test_lost_chunks_are_sent_again() -> None:
    group, victim = big()
    seen: set[bytes] = set()

    def lose_each_once(target: int, frame: bytes) -> bool:
        if codec.decode_message(frame)["type"] not in ("snapshot", "snapshot-reply"):
            return False
        new = frame not in seen
        seen.add(frame)
        return new

    group.lose = lose_each_once
    group.start(victim)
    group.pass_time(300)
    group.agree()


def test_entries_that_a_snapshot_replaced_are_gone() -> None:
    """A follower's unconfirmed tail that conflicts with the snapshot goes with its old log."""
    group = Group()
    group.write(range(3))
    old = group.leader().raft.node
    group.cut.add(old)
    for key in range(40):
        group.replicas[old].receive_client(1, codec.encode_request(
            1000 + key, group.session, 1000 + key, OPS["write"], b"lost", b"x"), group.now)
        group.settle()
    group.pass_time(50)
    group.answers.clear()
    leader = group.leader()
    for key in range(300):
        leader.receive_client(1, codec.encode_request(
            2000 + key, group.session, 2000 + key, OPS["write"], b"k%d" % key, b"y" * 50),
            group.now)
        group.settle()
    group.cut.clear()
    group.agree()
    assert b"lost" not in group.replicas[old].kv.items()
    group.stop(old)
    group.start(old)
    group.agree()


def test_the_configuration_of_a_compacted_log_is_in_the_snapshot() -> None:
    from seatrial.core.membership import Change

    group = Group()
    group.write(range(3))
    assert group.leader().change([Change("remove", 3)])
    group.settle()
    group.write(range(3, 200))
    keeper = next(n for n in (1, 2) if n != group.leader().raft.node)
    group.stop(keeper)
    group.start(keeper)
    assert group.replicas[keeper].status()["configuration"] == "voters=(1 2)"


@pytest.mark.parametrize(("more", "leaders"), [(0, 1), (1, 0)], ids=["whole", "lacks-one"])
def test_a_damaged_node_votes_only_for_who_may_hold_all_that_it_lost(more: int, leaders: int
                                                                     ) -> None:
    """Protocol-aware recovery (Alagappan and others, FAST 2018): a node that denied what it had
    acknowledged could elect a leader without it. So it judges a candidate by the latest entry
    that its own log may have held; it never stands itself."""
    group = Group(snapshot_bytes=1 << 30)
    group.write(range(20))
    victim = next(n for n in group.ids if n != group.leader().raft.node)
    leader = group.leader().raft.node
    other = next(n for n in group.ids if n not in (victim, leader))
    if more:
        group.lose = lambda target, frame: target == other
        group.write([20])                       # committed by the leader and the victim
        group.stop(other)                       # (it knows nothing of it)
        group.lose = lambda target, frame: False
    disk = group.disks[victim]
    last = max(disk.records)
    group.stop(victim)
    for index in range(last - 5, last + 1):
        del disk.records[index]
    replica = Replica(victim, group.ids, seed=1, now_ns=group.now, heartbeat_ns=10 * MS,
                      election_ns=100 * MS)
    replica.restore(disk.term, disk.vote,
                    b"".join(disk.records[i] for i in sorted(disk.records)),
                    damaged_until=last, damaged_term=disk.term)
    group.stop(leader)                          # only the damaged one can elect the other
    group.replicas[victim] = replica
    replica.client_up(1)
    if more:
        group.start(other)
    for a, b in ((victim, other), (other, victim)):
        group.replicas[a].peer_up(b, group.now)
    group.pass_time(100)
    assert [r.status()["role"] for r in group.replicas.values()].count("leader") == leaders
    assert replica.status()["role"] != "leader"
    if more:
        assert replica.raft.damaged_until == last
        group.start(leader)
        group.agree()
    assert replica.raft.damaged_until == 0


def test_a_snapshot_that_is_not_what_was_written_stops_the_node() -> None:
    group = Group()
    group.write(range(200))
    disk = group.disks[3]
    flipped = bytearray(disk.complete[0])
    flipped[100] ^= 1
    disk.complete[0] = bytes(flipped)
    group.stop(3)
    with pytest.raises(InvariantViolation):
        group.start(3)


def test_no_chunk_goes_to_a_disk_that_would_rather_wait() -> None:
    """What fills the log faster than segments are made would hold up the entries."""
    group = Group(nodes=1, snapshot_bytes=2000, chunk_bytes=256)
    replica = group.replicas[1]
    replica.holds_chunks = True
    group.write(range(100))
    assert replica.status()["snapshot_written"] == replica.snapshots_made == 0
    replica.holds_chunks = False
    group.pass_time(5)
    assert replica.snapshots_made > 0


def test_the_memory_of_an_older_snapshot_is_given_back_in_slices() -> None:
    """All of it at once keeps the kernel busy, and commits waiting."""
    slice_bytes = 4 << 20
    group = Group(nodes=1, snapshot_bytes=1 << 30, keep_bytes=0)
    replica = group.replicas[1]
    group.write(range(18), size=1_000_000)
    for made in (1, 2):
        assert replica.request_snapshot(1, 5000)
        while replica.snapshots_made < made:
            replica.poll(group.now)
            replica.persisted((replica.take_persist() or (0,))[0], group.now)
        group.write([0])
    held = replica.making.capacity
    assert (replica.making.index, held > 3 * slice_bytes) == (0, True)
    while replica.making.capacity:
        assert held - replica.making.capacity <= slice_bytes
        held = replica.making.capacity
        replica.poll(group.now)


def test_a_newer_snapshot_takes_the_place_of_one_that_does_not_get_through() -> None:
    """The leader compacts on, though a member that is far behind does not answer; what that one
    has of the older snapshot is no beginning of the newer one."""
    group, victim = big()
    passed = 0

    def after_three(target: int, frame: bytes) -> bool:
        nonlocal passed
        if target == victim and codec.decode_message(frame)["type"] == "snapshot":
            passed += 1
            return passed > 3
        return False

    group.lose = after_three
    group.start(victim)
    group.settle()
    older = group.leader().status()["snapshot_index"]
    group.pass_time(120)                        # more than ten election timeouts without an answer
    group.write(range(700, 1000), size=1000)
    assert group.leader().status()["snapshot_index"] > older
    group.lose = lambda target, frame: False
    group.agree()
    assert group.replicas[victim].status()["first_index"] > older


def receiver() -> tuple[Group, Replica, list[bytes]]:
    """Who hears nothing for so long that it lacks what the log no longer holds; and the frames of
    the snapshot that its leader has for it."""
    group = Group(snapshot_bytes=200_000)
    group.write(range(300), size=1000)
    group.agree()
    victim = next(n for n in group.ids if n != group.leader().raft.node)
    frames: list[bytes] = []

    def keep(target: int, frame: bytes) -> bool:
        if target == victim and codec.decode_message(frame)["type"] == "snapshot":
            frames.append(frame)
        return target == victim

    group.lose = keep
    group.write(range(300, 700), size=1000)
    group.leader().peer_up(victim, group.now)
    group.settle()
    assert len(frames) >= 3
    return group, group.replicas[victim], frames


def chunk_of(replica: Replica, now: int) -> tuple[int, int] | None:
    """Do the next write; of which snapshot a chunk was in it, and where that begins."""
    replica.poll(now)
    write = replica.take_persist()
    if write is None:
        return None
    replica.persisted(write[0], now)
    if not write[7]:
        return None
    chunk = codec.describe_record(write[7])
    return chunk["index"], chunk["sequence"]


def test_a_leaders_snapshot_ends_the_one_that_a_node_is_writing_itself() -> None:
    """Their chunks lie in one log, where a chunk must continue the one before it."""
    group, replica, frames = receiver()
    applied = replica.status()["applied"]
    replica.request_snapshot(1, 5000)
    assert chunk_of(replica, group.now) == (applied, 0)
    leader = group.leader().raft.node
    replica.receive_peer(leader, frames[0], group.now)
    newer, sequence = chunk_of(replica, group.now) or (0, 0)
    assert (newer > applied, sequence) == (True, 0)
    assert chunk_of(replica, group.now) is None
    replica.receive_peer(leader, frames[1], group.now)
    assert chunk_of(replica, group.now) == (newer, 1 << 16)
