"""Snapshots in a group of real machines: made, written, sent, resumed, installed, restarted."""
from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from seatrial.core import codec
from seatrial.core.errors import InvariantViolation
from seatrial.core.recovery import Snapshot
from seatrial.core.replica import Replica

MS = 1_000_000
OPS = codec.OPS
FLAGS_AT = 65                               # of a record


class Disk:
    """What a log gives back after a restart: as recovery.py does, without its bytes."""

    def __init__(self) -> None:
        self.term = self.vote = 0
        self.first, self.base_term = 1, 0
        self.records: dict[int, bytes] = {}
        self.chunks: list[bytes] = []           # of the newest snapshot, complete or not
        self.complete: list[bytes] = []         # of the newest complete one

    def write(self, term: int, vote: int, records: bytes, base: int, base_term: int,
              chunk: bytes, first: int) -> None:
        self.term, self.vote = term, vote
        if chunk:
            if codec.describe_record(chunk)["sequence"] == 0:
                self.chunks = []
            self.chunks.append(chunk)
            if chunk[FLAGS_AT] & 1:             # the last one
                self.complete = list(self.chunks)
        if records and base + 1 not in self.records and base not in self.records:
            self.records.clear()
        for record in codec.split_records(records):
            index = codec.describe_record(record)["index"]
            for later in [i for i in self.records if i >= index]:
                del self.records[later]
            self.records[index] = record
        for early in [i for i in self.records if i < first]:
            self.base_term = codec.describe_record(self.records.pop(early))["term"]

    def snapshot(self, chunks: list[bytes]) -> Snapshot | None:
        if not chunks:
            return None
        seen = codec.describe_record(chunks[0])
        return Snapshot(seen["index"], seen["term"], b"".join(chunks))


class Group:
    """Replicas that exchange frames at once; connections and processes end when the test says."""

    def __init__(self, nodes: int = 3, **options: int) -> None:
        self.ids = list(range(1, nodes + 1))
        self.options = {"snapshot_bytes": 4000, "keep_bytes": 500} | options
        self.now = 0
        self.disks = {node: Disk() for node in self.ids}
        self.replicas: dict[int, Replica] = {}
        self.cut: set[int] = set()
        self.sent: list[tuple[int, str]] = []
        self.answers: dict[int, str] = {}
        self.requests = self.session = 0
        self.lose: Callable[[int, bytes], bool] = lambda target, frame: False
        for node in self.ids:
            self.start(node)

    def start(self, node: int) -> None:
        disk = self.disks[node]
        replica = Replica(node, self.ids, seed=node, now_ns=self.now, heartbeat_ns=10 * MS,
                          election_ns=100 * MS, max_batch_bytes=600, max_inflight_bytes=200_000,
                          **self.options)
        entries = sorted(disk.records)
        complete, chunks = disk.complete, disk.chunks
        replica.restore(
            disk.term, disk.vote, b"".join(disk.records[i] for i in entries),
            first=entries[0] if entries else 1, base_term=disk.base_term,
            snapshot=disk.snapshot(complete),
            partial=disk.snapshot(chunks) if chunks != complete else None)
        self.replicas[node] = replica
        replica.client_up(1)
        for other in self.replicas:
            if other != node and other not in self.cut:
                self.replicas[other].peer_reset(node)
                replica.peer_reset(other)
                self.replicas[other].peer_up(node, self.now)
                replica.peer_up(other, self.now)

    def stop(self, node: int) -> None:
        del self.replicas[node]
        for replica in self.replicas.values():
            replica.peer_down(node, self.now)

    def settle(self) -> None:
        """Exchange frames and write until nothing is left to do."""
        busy = True
        while busy:
            busy = False
            for node, replica in list(self.replicas.items()):
                replica.poll(self.now)
                while (write := replica.take_persist()) is not None:
                    seq, term, vote, _, records, base, base_term, chunk, first = write
                    self.disks[node].write(term, vote, records, base, base_term, chunk, first)
                    replica.persisted(seq, self.now)
                    replica.poll(self.now)
                for kind, target, data in replica.take_output():
                    busy = True
                    for frame in codec.split_frames(bytearray(data)):
                        self.deliver(kind, node, target, frame)

    def deliver(self, kind: int, node: int, target: int, frame: bytes) -> None:
        if kind == 1:
            request, status, _, _, rindex, *_ = codec.decode_response(frame)
            self.answers[request] = codec.STATUSES[status]
            if request == 1:
                self.session = rindex
        elif target in self.replicas and not {node, target} & self.cut \
                and not self.lose(target, frame):
            name = codec.decode_message(frame)["type"]
            self.sent.append((target, name))
            self.replicas[target].receive_peer(node, frame, self.now)

    def pass_time(self, times: int = 1) -> None:
        for _ in range(times):
            self.now += 10 * MS
            for replica in self.replicas.values():
                if replica.deadline_ns() <= self.now:
                    replica.tick(self.now)
            self.settle()

    def leader(self) -> Replica:
        for _ in range(200):
            found = [r for r in self.replicas.values() if r.status()["role"] == "leader"
                     and r.raft.node not in self.cut]
            if found:
                return max(found, key=lambda r: r.raft.term)
            self.pass_time()
        raise AssertionError("nobody leads")

    def write(self, keys: Iterable[int], size: int = 100) -> None:
        leader = self.leader()
        if not self.requests:
            leader.receive_client(1, codec.encode_request(1, 7, 0, OPS["open-session"]), self.now)
            self.requests = 1
            self.settle()
        for key in keys:
            self.requests += 1
            leader.receive_client(1, codec.encode_request(
                self.requests, self.session, self.requests, OPS["write"], b"k%d" % key,
                bytes([key % 251]) * size), self.now)
            self.settle()
        assert set(self.answers.values()) <= {"ok"}, self.answers

    def agree(self) -> None:
        """All that run hold the same state."""
        self.pass_time(30)
        states = [(r.kv.applied, r.kv.items()) for r in self.replicas.values()]
        assert all(state == states[0] for state in states[1:])



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
