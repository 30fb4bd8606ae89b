"""Stories of snapshots and of damaged disks, for test_planted_stories.py."""
from __future__ import annotations

from seatrial.core import codec
from seatrial.core.membership import Change
from seatrial.core.replica import Replica

from .test_raft_snapshot import MS, Group, receiver

TYPES = {name: number for number, name in codec.MESSAGE_TYPES.items()}


def fresh(node: int, group: Group) -> Replica:
    """A node of a group, before it took what its disk holds."""
    replica = Replica(node, group.ids, seed=9, now_ns=group.now, heartbeat_ns=10 * MS,
                      election_ns=100 * MS, snapshot_bytes=1 << 30)
    replica.client_up(1)
    return replica


def settle(replica: Replica, now: int) -> list[dict[str, object]]:
    """Write and poll until nothing is left to do; return what it sent to members."""
    sent = []
    while True:
        replica.poll(now)
        write = replica.take_persist()
        if write is not None:
            replica.persisted(write[0], now)
            continue
        out = replica.take_output()
        sent += [codec.decode_message(frame) for kind, _, data in out if kind == 0
                 for frame in codec.split_frames(bytearray(data))]
        if not out:
            return sent


def snapshot_of_a_part(conflicts: bool) -> tuple[Replica, int]:
    """A node that restarted with a long log is sent a snapshot of its first part.

    conflicts: the log is of another term there. Returns it, and the snapshot's last entry."""
    group = Group(keep_bytes=1 << 30)
    group.write(range(200))
    group.agree()
    leader = group.leader().raft.node
    node = next(n for n in group.ids if n != leader)
    disk = group.disks[leader]
    replica = fresh(node, group)
    last = codec.describe_record(disk.complete[0])["index"]
    if conflicts:
        records = b"".join(codec.encode_record(i, 1 if i < last - 9 else disk.term + 1, 0, rindex=i,
                                               rterm=1) for i in range(1, last + 10))
    else:
        records = b"".join(disk.records[i] for i in sorted(disk.records))
    term = disk.term + 2
    replica.restore(term, 0, records)
    for other in group.ids:
        if other != node:
            replica.peer_up(other, group.now)
    for chunk in disk.complete:
        record = codec.describe_record(chunk)
        replica.receive_peer(leader, codec.encode_message(
            TYPES["snapshot"], leader, node, term, index=record["index"],
            log_term=record["term"], records=chunk), group.now)
        settle(replica, group.now)
    assert replica.status()["commit"] == last
    return replica, last


def snapshot_of_a_prefix() -> bool:
    """A node has acknowledged more than the snapshot that it is sent holds."""
    replica, last = snapshot_of_a_part(False)
    return replica.status()["last_index"] > last


def snapshot_against_the_log() -> bool:
    """What a node has after the snapshot's last entry is of a leader that was deposed."""
    replica, last = snapshot_of_a_part(True)
    return replica.status()["last_index"] == last


def snapshot_before_its_sync() -> bool:
    """All of a snapshot has come, and the disk has not synced it yet."""
    group = Group()
    group.write(range(200))
    group.agree()
    leader = group.leader().raft.node
    node = next(n for n in group.ids if n != leader)
    disk = group.disks[leader]
    replica = fresh(node, group)
    replica.restore(disk.term, 0, b"")
    replica.peer_up(leader, group.now)
    for chunk in disk.complete:
        record = codec.describe_record(chunk)
        replica.receive_peer(leader, codec.encode_message(
            TYPES["snapshot"], leader, node, disk.term, index=record["index"],
            log_term=record["term"], records=chunk), group.now)
    replica.poll(group.now)
    sent = [codec.decode_message(frame) for _, _, data in replica.take_output()
            for frame in codec.split_frames(bytearray(data))]
    return not any(m["type"] == "append-reply" and m["index"] for m in sent)


def entries_around_a_snapshot() -> bool:
    """A node took a snapshot of what its leader does not know it to hold, and sends again."""
    group = Group(keep_bytes=1 << 30)
    group.write(range(200))
    group.agree()
    leader = group.leader().raft.node
    node = next(n for n in group.ids if n != leader)
    disk = group.disks[node]
    last = codec.describe_record(disk.complete[0])["index"]
    terms = {i: codec.describe_record(record)["term"] for i, record in disk.records.items()}
    replica = fresh(node, group)
    replica.restore(disk.term, 0, b"", first=last + 1, base_term=terms[last],
                    snapshot=disk.snapshot(disk.complete))
    replica.peer_up(leader, group.now)
    replica.receive_peer(leader, codec.encode_message(
        TYPES["append"], leader, node, disk.term, index=last - 5, log_term=terms[last - 5],
        records=b"".join(disk.records[i] for i in range(last - 4, last + 4))), group.now)
    settle(replica, group.now)
    return bool(replica.raft.log.last_index == last + 3)


def snapshot_while_members_change() -> bool:
    """A joint configuration is committed, and a snapshot taken, before the leader can leave it."""
    group = Group(5, snapshot_bytes=1 << 30)
    group.write(range(3))
    leader = group.leader()
    gone = [n for n in group.ids if n != leader.raft.node][:2]
    joint = leader.raft.log.last_index + 1

    def lose(target: int, frame: bytes) -> bool:
        return target == leader.raft.node and leader.raft.commit >= joint

    group.lose = lose
    leader.change([Change("remove", node) for node in gone])
    group.settle()
    assert leader.kv.applied == joint
    leader.request_snapshot(1, 5000)
    group.settle()
    disk = group.disks[leader.raft.node]
    loaded = fresh(leader.raft.node, group)
    loaded.restore(disk.term, disk.vote, b"", first=joint + 1, base_term=disk.term,
                   snapshot=disk.snapshot(disk.complete))
    return "&&" in loaded.status()["configuration"]


def damaged() -> tuple[Group, int, int, Replica]:
    """A node lost the end of a log that it had acknowledged, and starts again while the leader
    does not run. Returns the group, the leader, the third node, and the damaged one."""
    group = Group(snapshot_bytes=1 << 30)
    group.write(range(20))
    leader = group.leader().raft.node
    node, other = (n for n in group.ids if n != leader)
    disk = group.disks[node]
    last = max(disk.records)
    for replica in (leader, other, node):
        group.stop(replica)
    for index in range(last - 5, last + 1):
        del disk.records[index]
    replica = fresh(node, group)
    replica.restore(disk.term, disk.vote, b"".join(disk.records[i] for i in sorted(disk.records)),
                    damaged_until=last, damaged_term=disk.term)
    group.replicas[node] = replica
    replica.peer_up(other, group.now)
    replica.peer_up(leader, group.now)
    return group, leader, other, replica


def ask(replica: Replica, candidate: int, term: int, last: int, last_term: int, now: int) -> bool:
    """Whether a node gives its vote to a candidate whose log ends there."""
    replica.receive_peer(candidate, codec.encode_message(
        TYPES["vote"], candidate, replica.raft.node, term, index=last, log_term=last_term), now)
    return any(m["type"] == "vote-reply" and m["flags"] for m in settle(replica, now))


def vote_of_a_damaged_node() -> bool:
    """A candidate that lacks what the damaged node once acknowledged asks for its vote."""
    group, _, other, replica = damaged()
    last = replica.raft.log.last_index
    term = replica.raft.term
    return not ask(replica, other, term + 1, last, term, group.now + 1000 * MS)


def first_entry_of_a_repair() -> bool:
    """The leader has begun to give back what was lost; then one that lacks it asks for a vote."""
    group, leader, other, replica = damaged()
    last, term = replica.raft.log.last_index, replica.raft.term
    record = group.disks[leader].records[last + 1]
    replica.receive_peer(leader, codec.encode_message(
        TYPES["append"], leader, replica.raft.node, term, index=last, log_term=term,
        records=record), group.now)
    settle(replica, group.now)
    return not ask(replica, other, term + 1, last + 1, term, group.now + 1000 * MS)


def leader_of_a_damaged_node() -> bool:
    """A node that lost what it had acknowledged comes back to the leader that counted on it."""
    group = Group(snapshot_bytes=1 << 30)
    group.write(range(20))
    leader = group.leader().raft.node
    node = next(n for n in group.ids if n != leader)
    disk = group.disks[node]
    last = max(disk.records)
    group.stop(node)
    for index in range(last - 5, last + 1):
        del disk.records[index]
    replica = fresh(node, group)
    replica.restore(disk.term, disk.vote, b"".join(disk.records[i] for i in sorted(disk.records)),
                    damaged_until=last, damaged_term=disk.term)
    group.replicas[node] = replica
    for a, b in ((node, other) for other in group.ids if other != node):
        group.replicas[a].peer_up(b, group.now)
        group.replicas[b].peer_up(a, group.now)
    budget = 2000

    def runs_out(target: int, frame: bytes) -> bool:
        nonlocal budget
        budget -= 1
        return budget < 0

    group.lose = runs_out               # (who asks and answers without end)
    group.pass_time(30)
    return replica.raft.log.last_index >= last


def newer_snapshot() -> bool:
    """A newer snapshot takes the place of one that a member got three chunks of."""
    group, replica, frames = receiver()
    leader = group.leader()
    for frame in frames[:3]:
        replica.receive_peer(leader.raft.node, frame, group.now)
        group.settle()
    group.pass_time(120)
    group.write(range(700, 1000), size=1000)
    group.lose = lambda target, frame: False
    group.pass_time(100)
    return bool(replica.kv.applied == leader.kv.applied)


STORIES = {
    "snapshot-cuts-suffix": snapshot_of_a_prefix,
    "snapshot-keeps-conflict": snapshot_against_the_log,
    "snapshot-acked-when-received": snapshot_before_its_sync,
    "snapshot-before-it-refused": entries_around_a_snapshot,
    "snapshot-loses-outgoing": snapshot_while_members_change,
    "snapshot-newer-keeps-place": newer_snapshot,
    "damaged-votes": vote_of_a_damaged_node,
    "damaged-trusted-early": first_entry_of_a_repair,
    "damaged-match-kept": leader_of_a_damaged_node,
}
