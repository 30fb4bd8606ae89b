"""Groups of real machines for tests of snapshots: disks, network and time are the test's own."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

from seatrial.core import codec
from seatrial.core.errors import CorruptSegment
from seatrial.core.invariants import ClusterInvariants
from seatrial.core.membership import Configuration
from seatrial.core.recovery import Recovered, Snapshot, recover_images
from seatrial.core.replica import Replica
from seatrial.harness.sim.disk import Disk as SimulatedDisk

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
        self.options: dict[str, Any] = {"snapshot_bytes": 4000, "keep_bytes": 500} | options
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
        self.join(node, replica)

    def join(self, node: int, replica: Replica) -> None:
        """A process began: clients and the other members connect."""
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
            self.propose(leader.raft.node, key, size)
            self.settle()
        assert set(self.answers.values()) <= {"ok"}, self.answers

    def propose(self, node: int, key: int, size: int = 100) -> None:
        """Ask a node for one write, which need not succeed."""
        self.requests += 1
        self.replicas[node].receive_client(1, codec.encode_request(
            self.requests, self.session, self.requests, OPS["write"], b"k%d" % key,
            bytes([key % 251]) * size), self.now)

    def agree(self) -> None:
        """All that run come to hold the same state."""
        self.pass_time(30)
        for _ in range(200):
            states = [(r.kv.applied, r.kv.items()) for r in self.replicas.values()]
            if all(state == states[0] for state in states[1:]):
                return
            self.pass_time()
        raise AssertionError([r.status() for r in self.replicas.values()])

    def isolate(self, node: int) -> None:
        """Cut a node off; both sides know."""
        self.cut.add(node)
        for other in self.replicas:
            if other != node:
                self.replicas[node].peer_down(other, self.now)
                self.replicas[other].peer_down(node, self.now)

    def rejoin(self, node: int) -> None:
        self.cut.discard(node)
        for other in self.replicas:
            if other != node:
                self.reconnect(node, other)

    def reconnect(self, a: int, b: int) -> None:
        """The connections between two break, and are there again."""
        for node, other in ((a, b), (b, a)):
            self.replicas[node].peer_down(other, self.now)
            self.replicas[other].peer_reset(node)
            self.replicas[node].peer_up(other, self.now)

    def lose_chunks(self, target: int, after: int = 0) -> None:
        """Lose what a node is sent of snapshots, after so many chunks."""
        def lose(receiver: int, frame: bytes) -> bool:
            return (receiver == target and codec.decode_message(frame)["type"] == "snapshot"
                    and self.sent.count((target, "snapshot")) >= after)

        self.sent.clear()
        self.lose = lose

    def lose_nothing(self) -> None:
        self.lose = lambda target, frame: False

    def hand_over(self, node: int) -> None:
        """Have a node lead."""
        for _ in range(20):
            if self.leader().raft.node == node:
                return
            self.leader().transfer(node, self.now)
            self.settle()
            self.pass_time(3)
        raise AssertionError(f"{node} does not come to lead")


class DiskGroup(Group):
    """The same over simulated disks: a real log's bytes, its recovery, and what it frees.

    Nodes in ``held`` have disks whose syncs return only when the test says. ``files``: what a
    node's own file takes for the members; ``own``: its options where they differ. The cluster's
    invariants are checked after every step.
    """

    def __init__(self, nodes: int = 3, *, members: Iterable[int] = (),
                 files: dict[int, Configuration] | None = None, segment_bytes: int = 256 << 10,
                 own: dict[int, dict[str, Any]] | None = None, **options: int) -> None:
        self.members = Configuration(members or range(1, nodes + 1))
        self.files = files or {}
        self.own = own or {}
        self.held: set[int] = set()
        self.pending: dict[int, int] = {}       # node -> the write that is being synced
        self.chunks: dict[int, bytes] = {}      # node -> the chunk in its newest write, if any
        self.found: dict[int, Recovered] = {}
        self.lives: dict[int, int] = {}
        self.invariants = ClusterInvariants(None)
        self.simulated = {node: SimulatedDisk(
            7, node, sync_ns=1, sync_jitter_ns=0, sync_tail_ppm=0, sync_tail_ns=0,
            segment_bytes=segment_bytes) for node in range(1, nodes + 1)}
        super().__init__(nodes, **({"max_write_bytes": segment_bytes // 4} | options))

    def start(self, node: int) -> None:
        found = self.found[node] = self.simulated[node].recover(damaged=True)
        self.lives[node] = self.lives.get(node, 0) + 1
        replica = Replica(
            node, self.files.get(node, self.members), seed=node + 100 * self.lives[node],
            now_ns=self.now, heartbeat_ns=10 * MS, election_ns=100 * MS,
            **({"max_batch_bytes": 600, "max_inflight_bytes": 200_000} | self.options
               | self.own.get(node, {})))
        replica.restore(
            found.term, found.vote, found.records, first=found.first_index,
            base_term=found.base_term, snapshot=found.snapshot, partial=found.partial,
            damaged_until=found.damaged_until, damaged_term=found.damaged_term)
        self.join(node, replica)

    def stop(self, node: int) -> None:
        """Kill it; what was not synced may be on its disk."""
        self.simulated[node].killed(0)
        self.pending.pop(node, None)
        super().stop(node)

    def restart(self, node: int, **options: int) -> None:
        """Kill it and start it again, with these options from now on."""
        self.own[node] = options
        self.stop(node)
        self.start(node)

    def settle(self, rounds: int = 20_000) -> None:
        """Exchange frames and write until nothing is left to do."""
        busy = True
        while busy:
            rounds -= 1
            assert rounds, "it never comes to rest"
            busy = False
            for node, replica in list(self.replicas.items()):
                replica.poll(self.now)
                self.check()
                while self.write_once(node):
                    busy = True
                self.check()
                for kind, target, data in replica.take_output():
                    busy = True
                    for frame in codec.split_frames(bytearray(data)):
                        self.deliver(kind, node, target, frame)
            self.check()

    def check(self) -> None:
        self.invariants.check(list(self.replicas.values()))

    def write_once(self, node: int) -> bool:
        """Give a node's disk its next write; tell whether there was one."""
        write = None if node in self.pending else self.replicas[node].take_persist()
        if write is None:
            return False
        seq, term, vote, count, records, base, base_term, chunk, first = write
        self.simulated[node].submit(seq, term, vote, count, records, len(records), base,
                                    base_term, chunk, len(chunk), first, self.now)
        self.pending[node] = seq
        self.chunks[node] = chunk
        if node not in self.held:
            self.sync(node)
        return True

    def sync(self, node: int) -> None:
        """A node's disk has what it was given, if that was anything."""
        if node not in self.pending:
            return
        seq = self.pending.pop(node)
        self.simulated[node].synced(seq)
        self.replicas[node].persisted(seq, self.now)
        self.check()
        self.replicas[node].poll(self.now)
        self.check()

    def release(self, node: int) -> None:
        """A held disk goes on."""
        self.held.discard(node)
        self.sync(node)

    def at_chunk(self, node: int, offset: int) -> bool:
        """Whether a node's newest write holds a chunk from this far in its snapshot on."""
        chunk = self.chunks.get(node)
        return bool(chunk and codec.describe_record(chunk)["sequence"] >= offset)

    def damage(self, node: int, wanted: Callable[[Recovered], bool]) -> Recovered:
        """Flip a bit of a stopped node's disk, such that its log recovers in the wanted way."""
        disk = self.simulated[node]
        for draw in range(1, 2000):
            disk.flip(draw)
            with contextlib.suppress(CorruptSegment):
                found = recover_images(disk.segments())
                if found.damaged_until and wanted(found):
                    return found
            disk.flip(draw)                     # the same bit: it is as it was
        raise AssertionError("no bit whose loss does that")
