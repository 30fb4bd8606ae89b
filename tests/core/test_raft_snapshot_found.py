"""What the differential test (docs/judges.md) found in snapshots, but for what
test_snapshot_troubles.py tells over real logs' bytes."""
from __future__ import annotations

from seatrial.core import codec
from seatrial.core.replica import Replica

from .snapshot_group import OPS, Group

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


def is_snapshot(frame: bytes) -> bool:
    return bool(codec.decode_message(frame)["type"] == "snapshot")


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
