"""Clusters of several domains, deterministic: cluster.py's nodes, disks and time, and links.

One writer writes to whoever leads the root, one reader asks whoever leads some domain for
linearizable reads. Looked at after every step of every node:

* each domain is a Raft group with Raft's properties (core/invariants.pyx);
* the same root coordinates name the same entry after the same prefix, in all logs;
* what is applied is the same in all domains and is never taken back;
* what is acknowledged is in the logs of a majority of the root and of every domain that gates;
* a linearizable read, wherever it is answered, reflects all that was acknowledged before it began.
"""
from __future__ import annotations

from typing import Any

from seatrial.core import codec
from seatrial.core.invariants import AskedDurability, ClusterInvariants
from seatrial.core.replica import Replica
from seatrial.core.tree import Domain, Tree

from .cluster import MS, OPS, Cluster, Disk

LEASE_NS = 80 * MS
RECORD_FLAGS = 65               # their offset in a record (core/codec.pxd)


def tree_of(
    shape: dict[int, tuple[int, bool]], nodes: dict[int, list[int]], **options: Any,
) -> Tree:
    """Return a tree: ``shape`` maps a domain's id to its parent (0: it is the root) and whether it
    is sync; all sync ones count from the beginning."""
    return Tree({
        id: Domain(name=f"d{id}", parent=parent, sync=sync and parent != 0,
                   included=sync and parent != 0,
                   exclude_after_ns=options.get("exclude_after_ns", 400 * MS),
                   block=options.get("block", False),
                   nodes=tuple((node, f"n{node}") for node in nodes[id]))
        for id, (parent, sync) in shape.items()
    }, root=next(id for id, (parent, _) in shape.items() if parent == 0), lease_ns=LEASE_NS)


class DomainWorld(Cluster):
    """Nodes of several domains; ``sizes`` maps a domain's id to its number of nodes."""

    def __init__(self, shape: dict[int, tuple[int, bool]], sizes: dict[int, int], seed: int,
                 *, batch_bytes: int = 600, snapshot_bytes: int = 1 << 30, **options: Any) -> None:
        self.members: dict[int, list[int]] = {}
        self.domain_of: dict[int, int] = {}
        node = 0
        for domain, size in sizes.items():
            self.members[domain] = list(range(node + 1, node + size + 1))
            self.domain_of |= dict.fromkeys(self.members[domain], domain)
            node += size
        self.tree = tree_of(shape, self.members, **options)
        self.snapshot_bytes = snapshot_bytes
        self.checkers: dict[int, ClusterInvariants] = {}
        for domain in sizes:
            self.checkers[domain] = ClusterInvariants(AskedDurability(
                lambda node, index: self.disks[node].term_at(index)))
        self.entries: dict[tuple[int, int, int], tuple[int, int]] = {}  # and the one before
        self.history: list[tuple[int, int]] = []    # (epoch, term) of what is applied at rindex - 1
        self.states: dict[int, int] = {}            # rindex: the state's hash
        self.looked: dict[int, tuple[int, int, int]] = {}
        self.up: dict[int, tuple[int, int]] = {}    # child's node: (connection, parent's node)
        self.redial: dict[int, int] = {}
        self.turn = 0
        self.highest = 0                # rindex that was acknowledged, or read
        self.pending: dict[int, tuple[str, int]] = {}
        self.written = self.read_here = self.reads = 0
        self.session = self.sequence = 0
        self.cut_domains: set[frozenset[int]] = set()
        super().__init__(node, seed, batch_bytes=batch_bytes)
        self.at(1, self.dial)

    def start(self, node: int) -> None:
        domain = self.domain_of[node]
        mine = self.tree.domains[domain]
        disk = self.disks[node]
        replica = Replica(
            node, self.members[domain], seed=self.rng.next64(), now_ns=self.now,
            heartbeat_ns=20 * MS, election_ns=100 * MS, max_batch_bytes=self.batch_bytes,
            max_inflight_bytes=4 * self.batch_bytes, snapshot_bytes=self.snapshot_bytes,
            keep_bytes=self.snapshot_bytes // 4, chunk_bytes=300, domain=domain,
            tree=self.tree if mine.parent == 0 else None,
            parent=self.tree.domains[mine.parent].nodes if mine.parent else ())
        disk_of(disk).restore(replica)
        self.replicas[node] = replica
        self.life[node] += 1
        for other in self.members[domain]:
            if other != node:
                self.connect(node, other)
                self.connect(other, node)
        self.wake(node)

    def crash(self, node: int) -> None:
        if self.replicas[node] is not None:
            self.checkers[self.domain_of[node]].crashed(node)
        super().crash(node)
        self.looked.pop(node, None)
        for child, (connection, parent) in list(self.up.items()):
            if child == node or parent == node:
                self.hang_up(child, connection)

    def reconnect(self) -> None:
        for members in self.members.values():
            for a in members:
                for b in members:
                    if a != b and (a, b) not in self.blocked:
                        self.connect(a, b)

    # ---- links -----------------------------------------------------------------------------

    def dial(self) -> None:
        """Every leader of a child that wants a link gets one, to the next node that answers."""
        for node, replica in self.replicas.items():
            if replica is None or node in self.paused or node in self.up:
                continue
            if replica.uplink_wanted() and self.redial.get(node, 0) <= self.now:
                choices = [n for n, _ in replica.parent_nodes()]
                self.turn += 1
                if choices:
                    self.connect_up(node, choices[self.turn % len(choices)])
        self.at(self.now + 10 * MS, self.dial)

    def apart(self, a: int, b: int) -> bool:
        return ((a, b) in self.blocked or (b, a) in self.blocked or a in self.paused
                or b in self.paused
                or frozenset((self.domain_of[a], self.domain_of[b])) in self.cut_domains)

    def connect_up(self, child: int, parent: int) -> None:
        self.redial[child] = self.now + 15 * MS
        theirs, mine = self.replicas[parent], self.replicas[child]
        if theirs is None or mine is None or self.apart(child, parent):
            return
        connection = next(self.order) + 1
        self.up[child] = connection, parent
        theirs.link_up(connection, self.domain_of[child], self.now)
        mine.uplink_up(parent, self.now)
        self.at(self.now, lambda: self.wake(child))

    def hang_up(self, child: int, connection: int) -> None:
        if self.up.get(child, (0, 0))[0] != connection:
            return
        _, parent = self.up.pop(child)
        self.arrive.pop((child, -connection), None)
        self.arrive.pop((parent, connection), None)
        mine, theirs = self.replicas[child], self.replicas[parent]
        if mine is not None:
            mine.uplink_down(self.now)
        if theirs is not None:
            theirs.link_down(connection)

    def carry(self, child: int, connection: int, data: bytes, upwards: bool) -> None:
        _, parent = self.up[child]
        key = (child, -connection) if upwards else (parent, connection)
        when = max(self.now + self.draw(self.delay_ns), self.arrive.get(key, 0))
        self.arrive[key] = when

        def deliver() -> None:
            if self.up.get(child, (0, 0))[0] != connection:
                return
            if self.apart(child, parent):
                self.hang_up(child, connection)
                return
            node = parent if upwards else child
            replica = self.replicas[node]
            assert replica is not None
            if upwards:
                replica.receive_link(connection, data, self.now)
            else:
                replica.receive_uplink(data, self.now)
            self.wake(node)
        self.at(when, deliver)

    # ---- steps -----------------------------------------------------------------------------

    def wake(self, node: int) -> None:
        replica = self.replicas[node]
        if replica is None or node in self.paused:
            return
        life = self.life[node]
        if self.now >= replica.deadline_ns():
            replica.tick(self.now)
        replica.poll(self.now)
        self.look(node, replica)
        write = replica.take_persist()
        if write is not None:
            self.at(self.now + self.draw(self.sync_ns),
                    lambda: self.written_out(node, life, write))
        move = replica.take_uplink_move()
        if move is not None and node in self.up:
            self.hang_up(node, self.up[node][0])
            if move[0]:
                self.connect_up(node, move[0])
        for kind, target, data in replica.take_output():
            if kind == 0:
                self.send(node, target, data)
            elif kind == 1:
                self.answered(replica, target, data)
            elif kind == 2 and node in self.up:
                self.carry(node, self.up[node][0], data, True)
            elif kind == 3:
                for child, (connection, _) in list(self.up.items()):
                    if connection == target:
                        self.carry(child, connection, data, False)
        self.at(max(replica.deadline_ns(), self.now + MS // 10), lambda: self.timer(node, life))

    def written_out(self, node: int, life: int, write: tuple[Any, ...]) -> None:
        alive = self.life[node] == life
        if not alive and self.rng.below(2):
            return
        if alive or self.replicas[node] is None:
            disk_of(self.disks[node]).take(write)
        if alive:
            replica = self.replicas[node]
            assert replica is not None
            self.feed(node, lambda: replica.persisted(write[0], self.now))

    # ---- what must hold --------------------------------------------------------------------

    def look(self, node: int, replica: Replica) -> None:
        domain = self.domain_of[node]
        self.checkers[domain].check(
            [r for n in self.members[domain] if (r := self.replicas[n]) is not None])
        mirror, log = replica.raft.mirror, replica.raft.log
        seen = (mirror.end, log.last_index, mirror.version)
        if self.looked.get(node) != seen:
            self.looked[node] = seen
            self.look_at_mirror(node, replica)
        self.look_at_applied(node, replica)

    def look_at_mirror(self, node: int, replica: Replica) -> None:
        mirror = replica.raft.mirror
        at, before = mirror.end, None
        while at and (here := mirror.entry(at)) is not None:
            before = mirror.entry(at - 1)
            if at == 1:
                before = (0, 0, 0)
            if before is None:
                break
            known = self.entries.setdefault(here, (before[1], before[2]))
            assert known == (before[1], before[2]), (
                f"same coordinates, another prefix: {here} after {before} at node {node}, "
                f"elsewhere after {known}")
            if len(self.history) >= at and self.history[at - 1] == (here[1], here[2]):
                break
            at -= 1

    def look_at_applied(self, node: int, replica: Replica) -> None:
        applied = replica.kv.applied
        here = replica.raft.mirror.entry(applied)
        while here is not None and len(self.history) < applied:
            at = len(self.history) + 1
            one = replica.raft.mirror.entry(at)
            assert one is not None, f"node {node} applied {applied} ahead of all, from a snapshot"
            self.history.append((one[1], one[2]))
        if applied and here is not None:
            assert self.history[applied - 1] == (here[1], here[2]), (
                f"node {node} applied {here}; applied elsewhere: {self.history[applied - 1]}")
        known = self.states.setdefault(applied, replica.kv.hash())
        assert known == replica.kv.hash(), f"node {node}'s state at {applied} differs"

    def check_acknowledged(self, rindex: int, replica: Replica) -> None:
        """Who must hold it does: a majority of the root, and of each domain that gates there."""
        payload = replica.raft.mirror.tree_payload(replica.domain.committed)
        assert payload is not None
        tree = Tree.decode(payload)
        coordinates = self.history[rindex - 1]
        assert replica.raft.mirror.entry(rindex) in (None, (rindex, *coordinates))
        for domain in {tree.root} | set(tree.gating()):
            nodes = self.members[domain]
            holding = sum(self.disk_holds(node, rindex, coordinates) for node in nodes)
            assert holding > len(nodes) // 2, (
                f"acknowledged {rindex}: on {holding} of {len(nodes)} disks of domain {domain}")

    def disk_holds(self, node: int, rindex: int, coordinates: tuple[int, int]) -> bool:
        replica = Replica(node, self.members[self.domain_of[node]], seed=1, now_ns=self.now,
                          heartbeat_ns=20 * MS, election_ns=100 * MS, domain=self.domain_of[node],
                          parent=((0, ""),) if self.tree.domains[self.domain_of[node]].parent
                          else ())
        disk_of(self.disks[node]).restore(replica)
        found = replica.raft.mirror.entry(rindex)
        if found is None:
            return replica.kv.applied >= rindex
        return found[1:] == coordinates

    # ---- clients -----------------------------------------------------------------------------

    def leader_of(self, domain: int) -> Replica | None:
        leading = [r for n in self.members[domain]
                   if (r := self.replicas[n]) is not None and n not in self.paused
                   and r.raft.role == 2]
        return max(leading, key=lambda r: r.raft.term) if leading else None

    def ask(self, kind: str, replica: Replica | None, *frame: Any) -> None:
        if replica is None:
            return
        connection = next(self.order) + 1
        self.pending[connection] = kind, self.highest
        replica.client_up(connection)
        replica.receive_client(connection, codec.encode_request(connection, *frame), self.now)
        self.wake(replica.raft.node)

    def write(self, root: int = 0) -> None:
        leader = self.leader_of(root or self.tree.root)
        if self.session == 0:
            self.ask("open", leader, 7, 0, OPS["open-session"])
        else:
            self.sequence += 1
            self.ask("write", leader, self.session, self.sequence, OPS["write"],
                     b"k%d" % (self.sequence % 7), b"v%d" % self.sequence)

    def read(self, domain: int) -> None:
        self.ask(f"read-{domain}", self.leader_of(domain), 0, 0, OPS["read"], b"k1", b"")

    def answered(self, replica: Replica, connection: int, data: bytes) -> None:
        for frame in codec.split_frames(bytearray(data)):
            request, status, value, _, rindex, *_ = codec.decode_response(frame)
            kind, floor = self.pending.pop(request, ("", 0))
            name = codec.STATUSES[status]
            if name == "session-lost":
                self.session = 0
            if name != "ok" or not kind:
                continue
            if kind == "open":
                self.session = int.from_bytes(value or b"", "little")
            elif kind == "write":
                self.written += 1
                self.check_acknowledged(rindex, replica)
                self.highest = max(self.highest, rindex)
            else:
                self.reads += 1
                if replica.domain.domain != self.tree.root:
                    self.read_here += 1
                assert rindex >= floor, f"stale {kind}: reflects {rindex}, acknowledged {floor}"
                self.highest = max(self.highest, rindex)


def disk_of(disk: Disk) -> Keeper:
    keeper = getattr(disk, "keeper", None)
    if keeper is None:
        keeper = Keeper(disk)
        disk.keeper = keeper        # type: ignore[attr-defined]
    return keeper


class Keeper:
    """What one node's writes leave on its disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        disk.term_at = self.term_at         # type: ignore[method-assign]
        self.term = self.vote = 0
        self.first, self.base_term = 1, 0
        self.records: list[bytes] = []
        self.terms: list[int] = []
        self.snapshot: tuple[int, int, bytes] | None = None
        self.making: tuple[int, int, bytes] = (0, 0, b"")

    def term_at(self, index: int) -> int:
        if index < self.first:
            return self.base_term if index == self.first - 1 else (1 << 62)
        at = index - self.first
        return self.terms[at] if at < len(self.terms) else 0

    def take(self, write: tuple[Any, ...]) -> None:
        _, self.term, self.vote, _, records, _, _, chunk, first = write
        for record in codec.split_records(records):
            entry = codec.describe_record(record)
            at = entry["index"] - self.first
            del self.records[at:], self.terms[at:]
            assert len(self.records) == at, "a write left a gap"
            self.records.append(record)
            self.terms.append(entry["term"])
        if chunk:
            entry = codec.describe_record(chunk)
            offset = int.from_bytes(chunk[56:64], "little")
            where = entry["index"], entry["term"]
            before = self.making[2] if self.making[:2] == where and offset else b""
            self.making = (*where, before + chunk)
            if chunk[RECORD_FLAGS] & 1:
                self.snapshot, self.making = self.making, (0, 0, b"")
                if self.term_at(where[0]) != where[1]:
                    self.records, self.terms = [], []
                    self.first, self.base_term = where[0] + 1, where[1]
        if self.snapshot is not None:
            while self.first < first and self.records and self.first <= self.snapshot[0]:
                self.base_term = self.terms[0]
                del self.records[0], self.terms[0]
                self.first += 1

    def restore(self, replica: Replica) -> None:
        replica.restore(self.term, self.vote, b"".join(self.records), first=self.first,
                        base_term=self.base_term, snapshot=self.snapshot)
