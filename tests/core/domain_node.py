"""One node of a tree of domains; parent, children, members, disk and clock are a test's hands."""
from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from seatrial.core import codec
from seatrial.core.crc import crc32c
from seatrial.core.replica import Replica
from seatrial.core.tree import Domain, Tree

MS = 1_000_000
S = 1000 * MS
A, B, C = 1, 2, 3
EPOCH = 1 << 16 | A
ELECTION_NS = 100 * MS
HEARTBEAT_NS = 10 * MS
LEASE_NS = 300 * MS
NODE = {A: 1, B: 11, C: 21}
HEADER = struct.Struct("<IIBBHI")
BODY = struct.Struct("<IHH18QII")
FIELDS = ("sender", "domain", "about", "term", "adopted_epoch", "adopted_term", "rindex", "epoch",
          "rterm", "mark_rindex", "mark_epoch", "mark_term", "end_rindex", "end_epoch", "end_term",
          "sent_ns", "echo_ns", "lease_ns", "include_rindex", "age_ns", "round", "count",
          "reserved")
MARK, ATTACH, APPEND, ACK, SNAPSHOT, REDIRECT, REFUSED, READ, READ_REPLY, REPORT, BASE = (
    14, *range(40, 50))
REJECTED, ASKS = 1, 4
NO_OP, TREE = 0, 6
TYPES = {name: number for number, name in codec.MESSAGE_TYPES.items()}
STATUSES = (*codec.STATUSES[:14], "not-root", "fenced", "too-old", "lost")


class Entry(NamedTuple):
    """A root entry as a parent sends it."""

    rindex: int
    rterm: int
    kind: int = NO_OP
    payload: bytes = b""


def tree(**changes: dict[str, Any]) -> Tree:
    """Return A with a synchronous child B, and what is said of these: ``c={"parent": B}``."""
    of = {"a": A, "b": B, "c": C}
    given: dict[str, dict[str, Any]] = {"a": {}, "b": {"parent": A, "sync": True,
                                                       "included": True}}
    for name, fields in changes.items():
        given[name] = given.get(name, {}) | fields
    return Tree({of[name]: Domain(name, nodes=((NODE[of[name]], f"{name}:1"),),
                                  **{"exclude_after_ns": 10 * S} | fields)
                 for name, fields in given.items()}, A, lease_ns=LEASE_NS)


def link_frame(kind: int, flags: int = 0, records: bytes = b"", **fields: int) -> bytes:
    """Return a frame between domains."""
    body = BODY.pack(*(fields.get(name, 0) for name in FIELDS))
    size = HEADER.size + len(body) + len(records)
    folded = ~(size ^ size >> 16) & 0xFFFF
    head = HEADER.pack(size, 0, kind, flags, folded, 0)
    crc = crc32c(head[8:] + body)
    if kind in (APPEND, SNAPSHOT):
        for record in codec.split_records(records):
            crc = crc32c(record[:24], crc)
    else:
        crc = crc32c(head[8:] + body + records)
    return head[:4] + crc.to_bytes(4, "little") + head[8:] + body + records


def read_frame(frame: bytes) -> dict[str, Any]:
    """Return the fields of a frame between domains."""
    _, _, kind, flags, _, _ = HEADER.unpack_from(frame)
    fields = dict(zip(FIELDS, BODY.unpack_from(frame, HEADER.size), strict=True))
    return {"kind": kind, "flags": flags, "rest": frame[HEADER.size + BODY.size:], **fields}


class DomainNode:
    """The leader of its domain, once ``lead`` was called.

    members: how many nodes the domain has; the others answer at once while ``followers`` is true.
    """

    def __init__(self, domain: int, first: Tree | None = None, *, members: int = 1,
                 snapshot_bytes: int = 64 << 20) -> None:
        self.domain, self.first, self.members = domain, first, members
        self.snapshot_bytes = snapshot_bytes
        self.now = S
        self.followers = True
        self.term = self.vote = 0
        self.records: dict[int, bytes] = {}
        self.to_parent: list[dict[str, Any]] = []
        self.to_child: dict[int, list[dict[str, Any]]] = {}
        self.answers: dict[int, tuple[str, int, tuple[int, ...]]] = {}
        self.session = 0
        self.start()

    def start(self) -> None:
        """Begin a life with what the disk holds."""
        me = NODE[self.domain]
        self.replica = Replica(
            me, range(me, me + self.members), seed=5, now_ns=self.now - ELECTION_NS,
            heartbeat_ns=HEARTBEAT_NS, election_ns=ELECTION_NS, domain=self.domain,
            tree=self.first, parent=() if self.domain == A else ((NODE[A], "a:1"),),
            snapshot_bytes=self.snapshot_bytes, keep_bytes=1)
        self.replica.restore(self.term, self.vote,
                             b"".join(self.records[i] for i in sorted(self.records)))
        for peer in range(me + 1, me + self.members):
            self.replica.peer_up(peer, self.now)
        self.replica.client_up(1)
        self.replica.client_up(2)
        self.poll()

    # ---- the world around it ---------------------------------------------------------------

    def poll(self) -> None:
        """Run until nothing is left to do; the disk is immediate."""
        while True:
            self.replica.poll(self.now)
            write = self.replica.take_persist()
            if write is not None:
                self._keep(write)
                self.replica.persisted(write[0], self.now)
                continue
            out = self.replica.take_output()
            for kind, target, data in out:
                self._hear(kind, target, codec.split_frames(bytearray(data)))
            if not out:
                return

    def _keep(self, write: Sequence[Any]) -> None:
        self.term, self.vote = write[1], write[2]
        for record in codec.split_records(write[4]):
            index = codec.describe_record(record)["index"]
            self.records = {i: kept for i, kept in self.records.items() if i < index}
            self.records[index] = record

    def _hear(self, kind: int, target: int, frames: list[bytes]) -> None:
        for frame in frames:
            if kind == 0 and self.followers:
                self._follow(target, codec.decode_message(frame))
            elif kind == 1:
                request, status, value, _, rindex, *_ = codec.decode_response(frame)
                _, named = codec.response_domains(frame)
                self.answers[request] = (STATUSES[status], rindex, named)
                if request == 1 and value is not None:
                    self.session = int.from_bytes(value, "little")
            elif kind == 2:
                self.to_parent.append(read_frame(frame))
            elif kind == 3:
                self.to_child.setdefault(target, []).append(read_frame(frame))

    def _follow(self, peer: int, said: dict[str, Any]) -> None:
        """Answer as a member that agrees with everything."""
        kind, term = said["type"], said["term"]
        answers: dict[str, dict[str, int]] = {
            "vote": {"flags": 1}, "pre-vote": {"flags": 1, "round": said["round"]},
            "append": {"index": self.replica.raft.log.last_index},
            "heartbeat": {"round": said["round"]}}
        if kind in answers:
            me = NODE[self.domain]
            self.replica.receive_peer(peer, codec.encode_message(
                TYPES[f"{kind}-reply"], peer, me, term, **answers[kind]), self.now)

    def wait(self, ns: int) -> None:
        """Let time pass."""
        end = self.now + ns
        while self.now < end:
            self.now = min(end, max(self.replica.deadline_ns(), self.now + MS))
            self.replica.tick(self.now)
            self.poll()

    def lead(self) -> None:
        """Be elected."""
        while self.replica.status()["role"] != "leader":
            self.wait(10 * MS)
        self.wait(20 * MS)

    def restart(self) -> None:
        """End its process, begin another, and be elected again."""
        self.start()
        self.lead()

    # ---- the parent -------------------------------------------------------------------------

    def link(self) -> None:
        """The connection to the parent is up, a new one."""
        self.replica.uplink_up(NODE[A], self.now)
        self.poll()
        self.to_parent.clear()

    def parent(self, rterm: int, *entries: Entry, before: tuple[int, int] = (0, 0),
               mark: tuple[int, int] = (0, 0), end: tuple[int, int] | None = None,
               kind: int = APPEND, rest: bytes = b"", **fields: int) -> None:
        """The parent serves what is a prefix of the log of the root's leader of this term."""
        records = b"".join(codec.encode_record(
            entry.rindex, entry.rterm, entry.kind, entry.payload, rindex=entry.rindex, epoch=EPOCH,
            rterm=entry.rterm) for entry in entries) + rest
        last = (entries[-1].rindex, entries[-1].rterm) if entries else before
        end = end or last
        given = {"sender": NODE[A], "domain": self.domain, "term": rterm, "adopted_epoch": EPOCH,
                 "adopted_term": rterm, "rindex": before[0], "epoch": EPOCH if before[0] else 0,
                 "rterm": before[1], "mark_rindex": mark[0], "mark_epoch": EPOCH,
                 "mark_term": mark[1], "end_rindex": end[0], "end_epoch": EPOCH,
                 "end_term": end[1], "sent_ns": self.now, "echo_ns": self.now,
                 "count": len(entries)}
        self.replica.receive_uplink(link_frame(kind, records=records, **given | fields), self.now)
        self.poll()

    def acked(self) -> int:
        """How far it has acknowledged since it was linked."""
        return max((said["rindex"] for said in self.to_parent
                    if said["kind"] == ACK and not said["flags"] & REJECTED), default=0)

    def said(self, kind: int) -> list[dict[str, Any]]:
        """What it has told its parent, of this type."""
        return [said for said in self.to_parent if said["kind"] == kind]

    # ---- a child ----------------------------------------------------------------------------

    def attach(self, child: int, rindex: int = 0, rterm: int = 0) -> None:
        """A child's leader connects, whose mirror ends there; it agrees up to there."""
        self.replica.link_up(child, child, self.now)
        self.child(child, ATTACH, rindex, rterm)
        if rindex:
            self.ack(child, rindex, rterm)

    def child(self, child: int, kind: int, rindex: int = 0, rterm: int = 0, *, flags: int = ASKS,
              **fields: int) -> None:
        """The child's leader says something."""
        epoch, adopted = self.replica.raft.mirror.adopted
        given = {"sender": NODE[child], "domain": child, "rindex": rindex,
                 "epoch": EPOCH if rindex else 0, "rterm": rterm, "adopted_epoch": epoch,
                 "adopted_term": adopted, "sent_ns": self.now, "echo_ns": self.now}
        self.replica.receive_link(child, link_frame(kind, flags, **given | fields), self.now)
        self.poll()

    def ack(self, child: int, rindex: int, rterm: int | None = None, **fields: int) -> None:
        """The child acknowledges an entry."""
        if rterm is None:
            rterm = self.replica.raft.mirror.entry(rindex)[2]
        self.child(child, ACK, rindex, rterm, mark_rindex=rindex, end_rindex=rindex, count=1,
                   **fields)

    def lease_of(self, child: int) -> int:
        """The lease that a child is given which asks now."""
        self.to_child[child] = []
        self.child(child, ACK)
        return max((said["lease_ns"] for said in self.to_child[child]), default=0)

    # ---- clients ----------------------------------------------------------------------------

    def open(self) -> None:
        """Open a session for what is written."""
        self.ask(1, "open-session")

    def ask(self, request: int, op: str, *, expected: bytes | None = None, prefix: bool = False,
            bounded: bool = False, connection: int = 1, poll: bool = True) -> None:
        """A client asks for something."""
        self.replica.receive_client(connection, codec.encode_request(
            request, self.session, request, codec.OPS[op], b"k", b"v" if op == "write" else b"",
            expected, prefix=prefix, bounded=bounded), self.now)
        if poll:
            self.poll()

    def answer(self, request: int) -> str | None:
        """The status of an answer, None before there is one."""
        return self.answers[request][0] if request in self.answers else None

    # ---- what it holds ----------------------------------------------------------------------

    @property
    def end(self) -> int:
        return self.replica.raft.mirror.end

    @property
    def committed(self) -> int:
        """How far it knows the root to have committed."""
        return self.replica.domain.committed

    @property
    def applied(self) -> int:
        return self.replica.kv.applied

    def rterm(self, rindex: int) -> int | None:
        """The term of the entry there, None where it holds none."""
        found = self.replica.raft.mirror.entry(rindex)
        return found[2] if found is not None and rindex <= self.end else None

    def change(self, change: Any) -> None:
        """An administrator asks for another tree."""
        assert self.replica.change_tree(change)
        self.poll()
