"""A small deterministic cluster for tests of the pure core: lossy connections, crashing disks.

Replicas exchange real frames over FIFO connections with random delays; connections break and
lose what they carried; partitions stop them silently for a while; a crash loses every group
write whose sync did not return (or keeps it: the disk may have finished); a paused node finds
all that came meanwhile at once; a bad relay delivers some APPENDs late, or twice. Time is
virtual and one seed decides everything. Clients issue unique writes, CAS and reads, retry with
the same sequence, and record a history of (process, f, value, result, invoked, completed).
"""
from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from seatrial.core import codec
from seatrial.core.invariants import AskedDurability, ClusterInvariants
from seatrial.core.replica import Replica
from seatrial.harness.rng import Rng

MS = 1_000_000
OPS = codec.OPS
TYPES = {name: number for number, name in codec.MESSAGE_TYPES.items()}


@dataclass
class Disk:
    """What survives a crash of one node: the newest hard state and the records, as a WAL would."""

    term: int = 0
    vote: int = 0
    records: list[bytes] = field(default_factory=list)
    terms: list[int] = field(default_factory=list)      # of the records

    def term_at(self, index: int) -> int:
        return self.terms[index - 1] if index <= len(self.terms) else 0

    def write(self, term: int, vote: int, records: bytes) -> None:
        self.term, self.vote = term, vote
        for record in codec.split_records(records):
            entry = codec.describe_record(record)
            index = entry["index"]
            del self.records[index - 1:], self.terms[index - 1:]
            assert len(self.records) == index - 1, "a write left a gap"
            self.records.append(record)
            self.terms.append(entry["term"])


def votes_granted(data: bytes) -> list[tuple[int, int, int]]:
    """The votes that these frames give: (voter, term, candidate)."""
    replies = [codec.decode_message(frame) for frame in codec.split_frames(bytearray(data))
               if codec.frame_type(frame) == TYPES["vote-reply"]]
    return [(m["sender"], m["term"], m["receiver"]) for m in replies if m["flags"]]


class Cluster:
    """``nodes`` replicas under a scheduler of events; ``run_until`` moves virtual time."""

    def __init__(self, nodes: int, seed: int, *, batch_bytes: int = 600) -> None:
        self.rng = Rng(seed)
        self.now = 0
        self.order = itertools.count()
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.ids = list(range(1, nodes + 1))
        self.batch_bytes = batch_bytes
        self.disks = {i: Disk() for i in self.ids}
        self.replicas: dict[int, Replica | None] = dict.fromkeys(self.ids)
        self.life = dict.fromkeys(self.ids, 0)
        self.links: dict[tuple[int, int], int] = {}       # (from, to) -> connection's number
        self.arrive: dict[tuple[int, int], int] = {}      # FIFO: newest arrival scheduled
        self.blocked: set[tuple[int, int]] = set()
        self.paused: dict[int, list[Callable[[], None]]] = {}   # what waits for each
        self.bad_relay_until = 0
        self.voters_die_until = 0       # who gives a vote then crashes and comes back
        self.invariants = ClusterInvariants(AskedDurability(
            lambda node, index: self.disks[node].term_at(index)))
        self.answers: Callable[[int, int, bytes], None] = lambda node, connection, data: None
        self.sync_ns = (MS // 10, 3 * MS)
        self.delay_ns = (MS // 10, 2 * MS)
        for i in self.ids:
            self.start(i)

    def at(self, when: int, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), action))

    def start(self, node: int) -> None:
        assert self.replicas[node] is None
        disk = self.disks[node]
        replica = Replica(node, self.ids, seed=self.rng.next64(), now_ns=self.now,
                          heartbeat_ns=20 * MS, election_ns=100 * MS,
                          max_batch_bytes=self.batch_bytes, max_inflight_bytes=4 * self.batch_bytes)
        replica.restore(disk.term, disk.vote, b"".join(disk.records))
        self.replicas[node] = replica
        self.life[node] += 1
        for other in self.ids:
            if other != node:
                self.connect(node, other)
                self.connect(other, node)
        self.wake(node)

    def restart(self, node: int) -> None:
        if self.replicas[node] is None:
            self.start(node)

    def crash(self, node: int) -> None:
        if self.replicas[node] is None:
            return
        self.replicas[node] = None
        self.life[node] += 1
        self.paused.pop(node, None)
        for other in self.ids:
            if other != node:
                self.disconnect(node, other)
                self.disconnect(other, node)

    def connect(self, a: int, b: int) -> None:
        replica = self.replicas[a]
        if replica is None or self.replicas[b] is None or (a, b) in self.links:
            return
        self.links[a, b] = next(self.order)
        target = self.replicas[b]
        assert target is not None
        target.peer_reset(a)
        replica.peer_up(b, self.now)
        self.at(self.now, lambda: self.wake(a))

    def disconnect(self, a: int, b: int) -> None:
        if self.links.pop((a, b), None) is not None:
            self.arrive.pop((a, b), None)
            replica = self.replicas[a]
            if replica is not None:
                replica.peer_down(b, self.now)

    def wake(self, node: int) -> None:
        """Run one loop iteration of a node: poll, write, send; then wait for its deadline."""
        replica = self.replicas[node]
        if replica is None or node in self.paused:
            return
        life = self.life[node]
        if self.now >= replica.deadline_ns():
            replica.tick(self.now)
        replica.poll(self.now)
        write = replica.take_persist()
        if write is not None:
            seq, term, vote, _count, records, *_ = write
            self.at(self.now + self.draw(self.sync_ns),
                    lambda: self.synced(node, life, seq, term, vote, records))
        for kind, target, data in replica.take_output():
            if kind == 0:
                self.send(node, target, data)
            else:
                self.answers(node, target, data)
        self.invariants.check([r for r in self.replicas.values() if r is not None])
        self.at(replica.deadline_ns(), lambda: self.timer(node, life))

    def pause(self, node: int) -> None:
        if self.replicas[node] is not None:
            self.paused.setdefault(node, [])

    def resume(self, node: int) -> None:
        """Let a node go on: it takes everything that came meanwhile in one loop iteration."""
        for action in self.paused.pop(node, []):
            action()
        self.wake(node)

    def feed(self, node: int, action: Callable[[], None]) -> None:
        """Give a node an input, now or when it is no longer paused."""
        if node in self.paused:
            self.paused[node].append(action)
        else:
            action()
            self.wake(node)

    def timer(self, node: int, life: int) -> None:
        replica = self.replicas[node]
        if self.life[node] == life and replica is not None and self.now >= replica.deadline_ns():
            self.wake(node)

    def synced(self, node: int, life: int, seq: int, term: int, vote: int, records: bytes) -> None:
        alive = self.life[node] == life
        if not alive and self.rng.below(2):
            return                      # the crash came first
        if alive or self.replicas[node] is None:
            self.disks[node].write(term, vote, records)
        if alive:
            replica = self.replicas[node]
            assert replica is not None
            self.feed(node, lambda: replica.persisted(seq, self.now))

    def draw(self, bounds: tuple[int, int]) -> int:
        return bounds[0] + self.rng.below(bounds[1] - bounds[0] + 1)

    def send(self, a: int, b: int, data: bytes) -> None:
        link = self.links.get((a, b))
        if link is None:
            return
        votes = votes_granted(data)
        for vote in votes:
            self.invariants.granted(*vote)
        if votes and self.now < self.voters_die_until:
            self.at(self.now, lambda: self.deliver(a, b, link, data))
            self.at(self.now, lambda: self.crash(a))
            self.at(self.now + self.rng.below(2 * MS), lambda: self.restart(a))
            return
        when = max(self.now + self.draw(self.delay_ns), self.arrive.get((a, b), 0))
        self.arrive[a, b] = when
        self.at(when, lambda: self.deliver(a, b, link, data))

    def deliver(self, a: int, b: int, link: int, data: bytes) -> None:
        replica = self.replicas[b]
        if self.links.get((a, b)) != link or replica is None:
            return
        if (a, b) in self.blocked:      # lost on the way: the connection will break
            self.disconnect(a, b)
            return
        if self.now < self.bad_relay_until:
            data = self.relay_badly(a, b, link, data)
        if data:
            self.feed(b, lambda: self.take(a, b, link, data))

    def relay_badly(self, a: int, b: int, link: int, data: bytes) -> bytes:
        """Send some whole APPENDs again later, or only later; return what arrives now."""
        now = b""
        for frame in codec.split_frames(bytearray(data)):
            draw = self.rng.below(6) if codec.frame_type(frame) == TYPES["append"] else 9
            if draw < 2:
                later = self.now + self.rng.below(60 * MS)
                self.at(later, partial(self.feed, b, partial(self.take, a, b, link, frame)))
            if draw != 0:
                now += frame
        return now

    def take(self, a: int, b: int, link: int, data: bytes) -> None:
        replica = self.replicas[b]
        if self.links.get((a, b)) != link or replica is None:
            return
        cut = self.rng.below(len(data)) + 1 if self.rng.below(4) == 0 else len(data)
        replica.receive_peer(a, data[:cut], self.now)
        if cut < len(data):
            replica.receive_peer(a, data[cut:], self.now)

    def reconnect(self) -> None:
        for a in self.ids:
            for b in self.ids:
                if a != b and (a, b) not in self.blocked:
                    self.connect(a, b)

    def run_until(self, until: int, done: Callable[[], bool] = lambda: False) -> None:
        while self.events and self.events[0][0] <= until and not done():
            self.now, _, action = heapq.heappop(self.events)
            action()
        self.now = max(self.now, until) if not done() else self.now

    def leader(self) -> int:
        """The node that leads the newest term, 0 for none."""
        leading = [(r.raft.term, i) for i, r in self.replicas.items()
                   if r is not None and r.status()["role"] == "leader"]
        return max(leading)[1] if leading else 0

    def await_leader(self, within_ns: int = 5000 * MS) -> int:
        """Run until a leader has committed an entry of its own term on all live nodes."""
        def ready() -> bool:
            node = self.leader()
            alive = [r for r in self.replicas.values() if r is not None]
            commits = {r.raft.commit for r in alive}
            return (bool(node) and len(commits) == 1
                    and {r.raft.term for r in alive} == {alive[0].raft.term}
                    and {r.raft.log.last_index for r in alive} == commits and min(commits) > 0)
        self.run_until(self.now + within_ns, ready)
        assert ready(), [r.status() for r in self.replicas.values() if r]
        return self.leader()


@dataclass
class Event:
    """One completed or pending client operation, in positions of a global order."""

    process: int
    f: str
    value: Any
    result: str                 # ok, fail, info
    seen: Any
    invoked: int
    completed: int              # -1: never


class ChaosClient:
    """One closed-loop client: one session, one operation at a time, retried with its sequence.

    A reader never writes, and stays with a node that does not answer.
    """

    def __init__(self, cluster: Cluster, number: int, counter: itertools.count[int],
                 history: list[Event], *, reader: bool = False) -> None:
        self.reader = reader
        self.cluster, self.number, self.counter, self.history = cluster, number, counter, history
        self.rng = cluster.rng.split(f"client-{number}")
        self.node = self.rng.choice(cluster.ids)
        self.connection = 0
        self.session = 0
        self.sequence = 0
        self.opened = False
        self.process = number
        self.request = 0
        self.current: Event | None = None
        self.frame_args: tuple[Any, ...] = ()
        self.last_seen: bytes | None = None
        self.inbox = bytearray()
        self.give_up_at = 0
        self.stopped = False

    def stamp(self) -> int:
        return next(self.counter)

    def begin(self) -> None:
        if self.stopped:
            return
        if self.session == 0:
            self.session = self.rng.next64() | 1
            self.sequence, self.opened = 0, False
        draw = 0 if self.reader else self.rng.below(10)
        unique = b"%d.%d" % (self.number, self.stamp())
        value: Any = None
        args: tuple[int, bytes, bytes, bytes | None]
        if draw < 4:
            f, args = "read", (OPS["read"], b"x", b"", None)
        elif draw < 7:
            f, args, value = "write", (OPS["write"], b"x", unique, None), unique
        else:
            f, args = "cas", (OPS["cas"], b"x", unique, self.last_seen)
            value = (self.last_seen, unique)
        if f != "read":
            self.sequence += 1
        self.current = Event(self.process, f, value, "info", None, self.stamp(), -1)
        self.history.append(self.current)
        self.frame_args = (0 if f == "read" else self.sequence, *args)
        self.give_up_at = self.cluster.now + 1500 * MS
        self.send()

    def send(self) -> None:
        """Send the operation (its session first) to the node we believe leads."""
        cluster = self.cluster
        if self.current is None or self.stopped:
            return
        if cluster.now > self.give_up_at:
            self.finish("info", None)
            return
        self.request += 1
        request = self.request
        replica = cluster.replicas[self.node]
        if replica is not None and (0, self.node) not in cluster.blocked:
            self.connection = next(cluster.order) + 1
            self.inbox.clear()
            sequence, op, key, value, expected = self.frame_args
            if not self.opened:
                frame = codec.encode_request(request, self.session, 0, OPS["open-session"])
            else:
                frame = codec.encode_request(request, self.session, sequence, op, key, value,
                                             expected)
            node, connection = self.node, self.connection

            def arrive() -> None:
                replica.client_up(connection)
                replica.receive_client(connection, frame, cluster.now)
            def deliver() -> None:
                if cluster.replicas[node] is replica:
                    cluster.feed(node, arrive)
            cluster.at(cluster.now, deliver)
        cluster.at(cluster.now + 300 * MS, lambda: self.retry(request))

    def retry(self, request: int) -> None:
        if request == self.request and self.current is not None:
            if not self.reader:
                self.node = self.rng.choice(self.cluster.ids)
            self.send()

    def answer(self, data: bytes) -> None:
        self.inbox += data
        for frame in codec.split_frames(self.inbox):
            request, status, value, *_ = codec.decode_response(frame)
            if request != self.request or self.current is None:
                continue
            name = codec.STATUSES[status]
            if name == "not-leader":
                hint = int.from_bytes(value or b"", "little")
                self.node = hint if hint else self.rng.choice(self.cluster.ids)
                self.again()
            elif name == "unknown":
                self.again()
            elif not self.opened:
                assert name == "ok", name
                self.session = int.from_bytes(value or b"", "little")
                self.opened = True
                self.send()
            elif name == "cas-mismatch":
                self.last_seen = value
                self.finish("fail", value)
            elif name == "ok":
                if self.current.f == "read":
                    self.last_seen = value
                self.finish("ok", value)
            else:
                raise AssertionError(f"unexpected answer {name}")

    def again(self) -> None:
        """Send the same operation once more, a little later."""
        self.request += 1
        request = self.request

        def resend() -> None:
            if request == self.request:
                self.send()
        self.cluster.at(self.cluster.now + 20 * MS, resend)

    def finish(self, result: str, seen: bytes | None) -> None:
        event = self.current
        assert event is not None
        event.result, event.seen = result, seen
        if result == "info":
            self.session = 0            # a late copy must not be taken for a newer write
            self.process += 1000
        else:
            event.completed = self.stamp()
            if event.f != "read" and result == "ok":
                self.last_seen = event.value if event.f == "write" else event.value[1]
        self.current = None
        self.request += 1
        self.cluster.at(self.cluster.now + self.rng.below(10 * MS), self.begin)
