"""What the differential test (docs/judges.md) and its making found in snapshots."""
from __future__ import annotations

from itertools import pairwise

from seatrial.core import codec
from seatrial.core.replica import Replica

from .snapshot_group import FLAGS_AT, OPS, Group

NOBODY = 1 << 31            # no client's connection


def small_chunks(**options: int) -> Group:
    """Snapshots are made when asked for, have many chunks, and nothing of the log stays."""
    return Group(**({"snapshot_bytes": 1 << 30, "keep_bytes": 0, "chunk_bytes": 500} | options))


def follower(group: Group) -> int:
    return next(n for n in group.ids if n != group.leader().raft.node)


def snapshot(group: Group, replica: Replica) -> int:
    """Have one take a snapshot; return the index of its newest."""
    replica.request_snapshot(NOBODY, 0)
    group.settle()
    index: int = replica.status()["snapshot_index"]
    return index


def write_chunks(group: Group, node: int, count: int) -> None:
    """Begin a snapshot and write so many of its chunks."""
    replica = group.replicas[node]
    replica.request_snapshot(NOBODY, 0)
    for _ in range(count):
        replica.poll(group.now)
        write = replica.take_persist()
        assert write is not None
        seq, term, vote, _, records, base, base_term, chunk, first = write
        assert chunk
        assert not chunk[FLAGS_AT] & 1
        group.disks[node].write(term, vote, records, base, base_term, chunk, first)
        replica.persisted(seq, group.now)


def is_snapshot(frame: bytes) -> bool:
    return bool(codec.decode_message(frame)["type"] == "snapshot")


def test_who_crashed_while_it_wrote_a_snapshot_takes_another() -> None:
    group = small_chunks()
    group.write(range(60))
    victim = follower(group)
    write_chunks(group, victim, 2)
    group.stop(victim)
    group.start(victim)
    group.write(range(60, 70))
    group.agree()
    replica = group.replicas[victim]
    assert snapshot(group, replica) == replica.kv.applied
    assert replica.status()["first_index"] == replica.kv.applied + 1


def test_a_snapshot_that_broke_off_and_is_not_needed_any_more_is_in_nobodys_way() -> None:
    """Its receiver caught up by what another leader's log still held."""
    group = small_chunks()
    group.write(range(60))
    old = group.leader().raft.node
    victim = follower(group)
    group.stop(victim)
    group.write(range(60, 80))
    snapshot(group, group.replicas[old])
    passed = 0

    def after_three(target: int, frame: bytes) -> bool:
        nonlocal passed
        passed += target == victim and is_snapshot(frame)
        return target == victim and is_snapshot(frame) and passed > 3

    group.lose = after_three
    group.start(victim)
    group.settle()
    assert passed > 3
    group.lose = lambda target, frame: False
    group.stop(old)
    group.start(old)
    group.cut.add(old)
    for replica in group.replicas.values():
        if replica.raft.node != old:
            replica.peer_down(old, group.now)
    group.write(range(80, 90))
    replica = group.replicas[victim]
    assert replica.snapshots_installed == 0
    assert snapshot(group, replica) == replica.kv.applied


def test_who_is_sent_nothing_while_it_sleeps_does_not_keep_its_leader_from_snapshots() -> None:
    """Its connection stays up, so nobody says that it is gone; and when it wakes up, it is sent the
    leader's new snapshot from its beginning."""
    group = small_chunks()
    group.write(range(60))
    victim = follower(group)
    group.stop(victim)
    group.write(range(60, 80))
    leader = group.leader()
    before = snapshot(group, leader)
    passed = 0

    def asleep_after_three(target: int, frame: bytes) -> bool:
        nonlocal passed
        passed += target == victim and is_snapshot(frame)
        return target == victim and passed > 3

    group.lose = asleep_after_three
    group.start(victim)
    group.settle()
    assert group.replicas[victim].status()["snapshot_received"] > 0
    group.write(range(80, 90))
    for _ in range(30):
        group.pass_time(10)
        leader = group.leader()
        if snapshot(group, leader) > before:
            break
    assert leader.status()["snapshot_index"] > before
    group.lose = lambda target, frame: False
    group.agree()
    assert group.replicas[victim].snapshots_installed == 1


def test_who_has_the_snapshots_last_entry_needs_no_snapshot() -> None:
    """Only its acknowledgements were lost (paper, section 7: the log after that entry is kept)."""
    group = small_chunks()
    group.write(range(10))
    leader, victim = group.leader(), follower(group)
    group.lose = lambda target, frame: codec.decode_message(frame)["sender"] == victim
    group.write(range(10, 60))
    group.stop(victim)
    assert snapshot(group, leader) > 50
    group.lose = lambda target, frame: False
    group.start(victim)
    group.settle()
    replica = group.replicas[victim]
    assert (victim, "snapshot") in group.sent
    assert (replica.snapshots_installed, replica.status()["first_index"]) == (0, 1)
    assert replica.status()["snapshot_received"] == 0
    group.write(range(60, 70))
    group.agree()


def test_who_was_asked_what_it_has_is_sent_no_snapshot_before_it_answers() -> None:
    group = small_chunks()
    late: list[tuple[int, int, bytes]] = []

    def hold(target: int, frame: bytes) -> bool:
        sender = codec.decode_message(frame)["sender"]
        if codec.decode_message(frame)["type"] == "append" and target == max(
                n for n in group.ids if n != sender):
            late.append((sender, target, frame))
            return True
        return False

    group.lose = hold
    leader = group.leader()
    assert late
    assert snapshot(group, leader) == 1
    group.lose = lambda target, frame: False
    for sender, target, frame in late:
        group.replicas[target].receive_peer(sender, frame, group.now)
    group.settle()
    group.write(range(5))
    group.agree()
    assert "snapshot" not in {name for _, name in group.sent}


def test_a_leaders_snapshot_ends_ones_own_that_is_not_complete() -> None:
    """In the log the chunks of two snapshots must not mix: recovery refuses that."""
    group = small_chunks()
    group.write(range(60))
    victim = follower(group)
    leader = group.leader()
    replica = group.replicas[victim]
    for a, b in ((leader.raft.node, victim), (victim, leader.raft.node)):
        group.replicas[a].peer_down(b, group.now)
    group.write(range(60, 80))
    snapshot(group, leader)
    write_chunks(group, victim, 2)
    chunks: list[tuple[int, int, int]] = []
    before = group.disks[victim].write

    def write(term: int, vote: int, records: bytes, base: int, base_term: int, chunk: bytes,
              first: int) -> None:
        if chunk:
            found = codec.describe_record(chunk)
            chunks.append((found["index"], found["sequence"], found["length"]))
        before(term, vote, records, base, base_term, chunk, first)

    group.disks[victim].write = write       # type: ignore[method-assign]
    passed = 0

    def after_three(target: int, frame: bytes) -> bool:
        nonlocal passed
        passed += target == victim and is_snapshot(frame)
        return target == victim and is_snapshot(frame) and passed > 3

    group.lose = after_three
    for a, b in ((leader.raft.node, victim), (victim, leader.raft.node)):
        group.replicas[a].peer_up(b, group.now)
    group.settle()
    assert len({index for index, _, _ in chunks}) == 1
    group.lose = lambda target, frame: False
    group.pass_time(30)
    assert replica.snapshots_installed == 1
    group.agree()
    for (index, at, _), (following, begins, _) in pairwise(chunks):
        assert begins == 0 or (index == following and begins > at)


def test_a_conflict_right_before_what_its_leader_holds_ends_with_a_snapshot() -> None:
    """The leader knows that entry's term, and was content with it: it asked for ever."""
    group = small_chunks()
    group.write(range(10))
    old = group.leader().raft.node
    group.cut.add(old)
    for node in group.ids:
        if node != old:
            group.replicas[node].peer_down(old, group.now)
            group.replicas[old].peer_down(node, group.now)
    group.replicas[old].receive_client(1, codec.encode_request(
        1000, group.session, 1000, OPS["write"], b"lost", b"x"), group.now)
    group.settle()
    group.pass_time(30)
    leader = group.leader()
    last = group.replicas[old].status()["last_index"]
    rest = [group.replicas[node] for node in group.ids if node != old]
    group.pass_time()                           # all know what is committed
    assert [snapshot(group, replica) for replica in rest] == [last, last]
    assert leader.transfer(next(r.raft.node for r in rest if r is not leader), group.now)
    group.settle()
    assert group.leader() is not leader
    seen = 0

    def count(target: int, frame: bytes) -> bool:
        nonlocal seen
        seen += 1
        assert seen < 1000, "no end of it"
        return False

    group.lose = count
    group.cut.clear()
    for node in group.ids:
        if node != old:
            group.replicas[node].peer_up(old, group.now)
            group.replicas[old].peer_up(node, group.now)
    group.settle()
    assert group.replicas[old].snapshots_installed == 1
    group.lose = lambda target, frame: False
    group.agree()
    assert b"lost" not in group.replicas[old].kv.items()
