"""The judged side of the differential test: the commands of etcd/cluster.go, on our replicas.

Each node has a clock of its own, which moves only where a command says so: by a heartbeat
interval when a leader speaks, by an election timeout when a node campaigns or may vote again. A
node that knows no leader may vote at once, as in etcd. Disks are synced after every input.
"""
from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from seatrial.core import codec
from seatrial.core.membership import BadConfiguration, Change
from seatrial.core.replica import Replica

from .disk import Disk, is_last

NOBODY = 0xFFFFFFFF     # no client's connection
HEARTBEAT = 1
ELECTION = 100_000
KINDS = {name: number for number, name in enumerate(codec.KINDS)}
OPEN_SESSION = codec.OPS["open-session"]
CHANGES = {"v": "voter", "l": "learner", "r": "remove"}
FRAME = struct.Struct("<8xB15xQ")               # type, term
TYPES = {name: number for number, name in codec.MESSAGE_TYPES.items()}
APPEND, HEARTBEAT_FRAME, SNAPSHOT = TYPES["append"], TYPES["heartbeat"], TYPES["snapshot"]
CHUNK_BYTES = 128

TRACING = bool(os.environ.get("JUDGE_TRACE"))

# What our core can do; the others of etcd's abilities are left out of the schedules.
FEATURES = frozenset(name for name, method in (("transfer", "transfer"), ("conf", "change"),
                                                ("snapshot", "request_snapshot"))
                     if hasattr(Replica, method))

State = dict[str, Any]


class Node:
    """One member: a replica (None: crashed), its disk and its clock."""

    def __init__(self, node: int, members: list[int], sums: dict[tuple[int, int], int]) -> None:
        self.id = node
        self.members = members
        self.now = 0
        self.disk = Disk(sums)
        self.replica: Replica | None = None
        self.commit = 0
        self.retired = False    # removed from the configuration
        self.beaten = 0         # when a heartbeat came
        self.heard = 0          # when it last heard a leader, or started

    def forget(self) -> None:
        """An election timeout passes since it heard a leader; no more than that, so that it
        isn't the leader's disk that seems to stand still."""
        self.now = max(self.now, self.heard + ELECTION)

    def start(self) -> None:
        self.replica = Replica(self.id, self.members, seed=self.id, now_ns=self.now,
                               heartbeat_ns=HEARTBEAT, election_ns=ELECTION,
                               chunk_bytes=CHUNK_BYTES)
        disk = self.disk
        disk.broken = True
        self.replica.restore(disk.term, disk.vote, b"".join(disk.records), first=disk.first,
                             base_term=disk.base_term,
                             snapshot=disk.snapshot if disk.snapshot[0] else None,
                             partial=disk.partial() if disk.chunks else None)
        self.heard = self.beaten = self.now
        self.forget()
        self.commit = 0

    def leads(self) -> bool:
        return self.replica is not None and self.replica.raft.role == 2


class Cluster:
    """All nodes, and the links between them."""

    def __init__(self, nodes: int, voters: int) -> None:
        ids = list(range(1, nodes + 1))
        sums: dict[tuple[int, int], int] = {}
        self.nodes = {i: Node(i, ids[:voters], sums) for i in ids}
        self.links = {(a, b): True for a in ids for b in ids if a != b}
        self.queues: dict[tuple[int, int], list[bytes]] = {link: [] for link in self.links}
        self.proposed = 0
        self.connections = 0
        self.quiescent = False
        self.counters: dict[str, int] = {}
        self.hashes: dict[tuple[int, int], str] = {}    # of states, by the last entry applied
        for node in self.nodes.values():
            node.start()
        for (a, b) in self.links:
            self.replica(a).peer_up(b, self.nodes[a].now)

    def replica(self, node: int) -> Replica:
        replica = self.nodes[node].replica
        assert replica is not None
        return replica

    def count(self, what: str, n: int = 1) -> None:
        self.counters[what] = self.counters.get(what, 0) + n

    def linked(self, a: int, b: int) -> bool:
        return (self.links[a, b] and self.nodes[a].replica is not None
                and self.nodes[b].replica is not None)

    # ---- the shell's duties ------------------------------------------------------------

    def flush(self, node: Node) -> None:
        """Write, sync and send what a node wants; a leader tells a new commit index at once."""
        replica = node.replica
        assert replica is not None
        raft = replica.raft
        replica.poll(node.now)
        while True:
            write = replica.take_persist()
            if write is not None:
                node.disk.write(write[1], write[2], write[4], write[7])
                replica.persisted(write[0], node.now)
                node.disk.trim(raft.log.first_index)
            elif raft.role == 2 and raft.commit != node.commit:
                node.commit = raft.commit
                node.now += HEARTBEAT
                replica.tick(node.now)
            else:
                break
            replica.poll(node.now)
        node.commit = raft.commit
        for kind, to, data in replica.take_output():
            if kind == 0:
                assert self.linked(node.id, to), "sends to who isn't connected"
                self.queues[node.id, to].append(data)
        if raft.leader == 0:
            node.forget()

    def deliver(self, a: int, b: int) -> bool:
        """Hand over everything on its way from a to b."""
        data = self.queues[a, b]
        if not data:
            return False
        self.queues[a, b] = []
        node = self.nodes[b]
        if TRACING:
            for frame in codec.split_frames(bytearray(b"".join(data))):
                m = codec.decode_message(frame)
                name = codec.MESSAGE_TYPES.get(codec.frame_type(frame), codec.frame_type(frame))
                print(f"  {a}->{b} {name} term {m['term']} flags {m['flags']} index {m['index']} "
                      f"+{m['count']} commit {m['commit']}", file=sys.stderr)
        assert node.replica is not None, "on its way to who is gone"
        for part in data:
            kind, term = FRAME.unpack_from(part)
            if kind in (APPEND, SNAPSHOT) and node.now >= node.beaten + 2 * ELECTION:
                # After so long a silence ours waits for a heartbeat before it believes that
                # the leader's disk works; in life a heartbeat comes at once.
                node.replica.receive_peer(a, codec.encode_message(
                    HEARTBEAT_FRAME, a, b, term, log_term=node.now), node.now)
                node.beaten = node.now
            node.replica.receive_peer(a, part, node.now)
            if node.replica.raft.leader == a:
                node.heard = node.now
                if kind == HEARTBEAT_FRAME:
                    node.beaten = node.now
            self.flush(node)
        return True

    def lose(self, a: int, b: int) -> None:
        """The connection breaks; both are told."""
        for one, other in ((a, b), (b, a)):
            self.queues[one, other] = []
            node = self.nodes[one]
            if node.replica is not None:
                node.replica.peer_down(other, node.now)
                self.flush(node)

    def meet(self, a: int, b: int) -> None:
        """A connection comes up."""
        if self.linked(a, b):
            for one, other in ((a, b), (b, a)):
                node = self.nodes[one]
                self.replica(one).peer_reset(other)
                self.replica(one).peer_up(other, node.now)
                self.flush(node)

    def beat(self, node: Node) -> None:
        node.now += HEARTBEAT
        assert node.replica is not None
        node.replica.tick(node.now)
        self.flush(node)

    def drain(self) -> None:
        moved = True
        while moved:
            moved = False
            for (a, b), queue in self.queues.items():
                if queue:
                    moved = True
                    self.deliver(a, b)

    def settle(self) -> None:
        """Deliver everything and let leaders speak until nothing changes any more."""
        self.drain()
        before = None
        while True:
            for node in self.nodes.values():
                if node.leads():
                    self.beat(node)
            self.drain()
            after = [(r.raft.term, r.raft.vote, r.raft.leader, r.raft.commit, r.raft.role,
                      node.disk.last)
                     for node in self.nodes.values() if (r := node.replica) is not None]
            if after == before:
                break
            before = after
        self.quiescent = True

    # ---- commands ----------------------------------------------------------------------

    def do(self, step: str) -> None:
        self.quiescent = False
        if TRACING:
            print(step, file=sys.stderr)
        name, *words = step.split()
        command: Callable[..., None] = getattr(self, f"do_{name}")
        command(*[int(word) if word.isdigit() else word for word in words])

    def do_settle(self) -> None:
        self.settle()

    def votes(self, node: Node) -> bool:
        """Whether a node is a voter in the newest configuration of its log. One that was a voter
        before may stand while it doesn't know that this is committed, as after a restart (thesis,
        4.2.2); etcd's remembers what is."""
        if "conf" not in FEATURES:
            return True
        configuration = self.replica(node.id).raft.configuration()
        return node.id in configuration.voters | configuration.outgoing

    def do_campaign(self, i: int) -> None:
        node = self.nodes[i]
        if node.replica is not None and not node.leads() and self.votes(node):
            node.now = max(node.now, node.replica.deadline_ns())
            node.replica.tick(node.now)
            self.flush(node)

    def do_lapse(self, i: int) -> None:
        node = self.nodes[i]
        if node.replica is not None and not node.leads():
            node.forget()

    def do_propose(self) -> None:
        for node in self.nodes.values():
            if node.leads() and node.replica is not None:
                self.proposed += 1
                self.connections += 1
                node.replica.client_up(self.connections)
                node.replica.receive_client(
                    self.connections,
                    codec.encode_request(1, self.proposed, 0, OPEN_SESSION), node.now)
                node.replica.client_down(self.connections)
                self.flush(node)

    def do_deliver(self, a: int, b: int) -> None:
        self.deliver(a, b)

    def do_drop(self, a: int, b: int) -> None:
        if self.linked(a, b):
            self.lose(a, b)
            self.meet(a, b)

    def do_cut(self, a: int, b: int) -> None:
        if self.links[a, b]:
            self.links[a, b] = self.links[b, a] = False
            self.lose(a, b)

    def do_heal(self, a: int, b: int) -> None:
        if not self.links[a, b]:
            self.links[a, b] = self.links[b, a] = True
            self.meet(a, b)

    def do_crash(self, i: int) -> None:
        node = self.nodes[i]
        if node.replica is not None:
            self.account(node)
            node.replica = None
            for other in self.nodes:
                if other != i:
                    self.lose(i, other)

    def do_restart(self, i: int) -> None:
        node = self.nodes[i]
        if node.replica is None and not node.retired:
            node.start()
            for other in self.nodes:
                if other != i:
                    self.meet(i, other)

    def do_check(self, i: int) -> None:
        node = self.nodes[i]
        if not node.leads():
            return
        for _ in range(2):
            self.settle()
            if not node.leads():
                break
            node.now += ELECTION + 1
            self.beat(node)
        self.settle()

    def leader(self) -> Node | None:
        """The live leader of the latest term."""
        leading = [node for node in self.nodes.values() if node.leads()]
        return max(leading, key=lambda node: self.replica(node.id).raft.term, default=None)

    def do_transfer(self, i: int) -> None:
        self.settle()
        leader = self.leader()
        if leader is None or leader.id == i or not self.linked(leader.id, i):
            return
        replica = self.replica(leader.id)
        if i in replica.raft.configuration().voters:
            replica.transfer(i, leader.now)
            self.flush(leader)
            self.settle()
            if leader.leads() and replica.raft.transfer_to:
                leader.now += ELECTION          # nobody waits for it any more
                self.beat(leader)

    # ---- snapshots -----------------------------------------------------------------------

    def sending(self, leader: Node) -> bool:
        """Whether a leader is sending its snapshot to somebody that it can reach."""
        peers = self.replica(leader.id).status()["peers"]
        return any(peer["state"] == "snapshot" and self.linked(leader.id, other)
                   for other, peer in peers.items())

    def told(self, node: Node) -> bool:
        """Whether a node's leader can reach it."""
        raft = self.replica(node.id).raft
        return bool(raft.leader) and self.linked(raft.leader, node.id) \
            and self.nodes[raft.leader].leads() and self.replica(raft.leader).raft.term == raft.term

    def do_compact(self, i: int, keep: int) -> None:
        node = self.nodes[i]
        if node.replica is None:
            return
        if not node.leads():
            self.settle()
            if not node.leads() and not self.told(node):
                return
        raft = node.replica.raft
        if node.leads() and (raft.commit < raft.term_start or self.sending(node)):
            return
        applied = raft.commit
        kept = node.disk.records[max(0, applied + 1 - node.disk.first - keep):
                                 applied + 1 - node.disk.first]
        node.replica.keep_bytes = sum(map(len, kept))
        node.replica.request_snapshot(NOBODY, 0)
        self.flush(node)
        index, term, _ = node.disk.snapshot
        if index:
            hashed = node.replica.snapshot()["hash"]
            assert self.hashes.setdefault((index, term), hashed) == hashed, "not the same state"

    def do_tear(self, i: int) -> None:
        """Crash after a few chunks of a snapshot were written, but not the last one."""
        node = self.nodes[i]
        if node.replica is None:
            return
        node.replica.request_snapshot(NOBODY, 0)
        node.replica.poll(node.now)
        for written in range(2):
            write = node.replica.take_persist()
            if write is None or not write[7] or is_last(write[7]):
                break
            node.disk.write(write[1], write[2], write[4], write[7])
            node.replica.persisted(write[0], node.now)
            self.count("torn snapshots", written == 0)
        self.do_crash(i)

    def do_part(self, a: int, b: int) -> None:
        """Deliver what is on its way before a snapshot and half of that; the connection breaks."""
        frames = [frame for part in self.queues[a, b]
                  for frame in codec.split_frames(bytearray(part))]
        chunks = [frame for frame in frames if FRAME.unpack_from(frame)[0] == SNAPSHOT]
        if chunks:
            first = frames.index(chunks[0])
            self.queues[a, b] = frames[:first] + chunks[:len(chunks) // 2]
            self.deliver(a, b)
            self.count("broken transfers")
            self.nodes[b].disk.broken = True
            self.lose(a, b)
            self.meet(a, b)

    # ---- changes -------------------------------------------------------------------------

    def do_conf(self, *words: str) -> None:
        self.settle()
        leader = self.leader()
        if leader is None:
            return
        replica = self.replica(leader.id)
        before = replica.raft.configuration()
        changes = [Change(CHANGES[word[0]], int(word[1:])) for word in words]
        try:
            after = before.enter_joint(changes)
        except BadConfiguration:
            return
        if len(changes) > 1 and len(before.voters ^ after.voters) <= 1:
            return
        if leader.id not in after.voters and after.nodes - before.nodes:
            return
        if all(leader.id == voter or self.linked(leader.id, voter)
               for voter in before.voters | after.voters):
            replica.change(changes)
            self.flush(leader)
            self.settle()
            for node in sorted(before.nodes - after.leave_joint().nodes):
                self.do_crash(node)
                self.nodes[node].retired = True
            self.settle()

    # ---- what is compared --------------------------------------------------------------

    def state(self, node: Node, verbose: bool) -> State:
        disk, replica = node.disk, node.replica
        out: State = {"gone": node.retired, "up": replica is not None,
                      "term": disk.term, "vote": disk.vote,
                      "linked": [node.id] + [other for other in self.nodes if other != node.id
                                             and self.linked(node.id, other)],
                      "first": disk.first, "last": disk.last, "sum": disk.sums[-1],
                      "snap": list(disk.snapshot[:2])}
        if replica is not None:
            status = replica.status()
            assert (status["term"], status["vote"]) == (disk.term, disk.vote), "not written"
            assert (status["first_index"], status["last_index"], status["snapshot_index"]) \
                == (disk.first, disk.last, disk.snapshot[0]), "not written"
            out["conf"] = status.get("configuration", "")
            out["conf_index"] = replica.raft.config_index if "conf" in FEATURES else 1 << 63
            out |= {"role": status["role"], "leader": status["leader"],
                    "commit": status["commit"], "held": status["sessions"]}
        if verbose:
            out["log"] = [list(entry) for entry in disk.entries]
        return out

    def states(self, verbose: bool = False) -> list[State]:
        return [self.state(node, verbose) for node in self.nodes.values()]

    def account(self, node: Node) -> None:
        """Count what only a living replica knows."""
        if node.replica is not None:
            self.count("conflicts", node.replica.raft.conflicts)
            self.count("snapshots", node.replica.snapshots_installed)
            self.count("compactions", node.replica.snapshots_made)

    def finish(self) -> None:
        """Count what only living replicas know."""
        for node in self.nodes.values():
            self.account(node)
            self.count("resumed transfers", node.disk.resumed)
