# distutils: language = c++
"""One node's pure machine: consensus, state machine, and the requests of clients.

Bytes and times go in, bytes and group writes come out; sockets, disk, clock and chance are
the shell's (node.py) or the simulator's. One loop iteration feeds everything that arrived,
then calls ``poll`` once: it replicates, applies what is committed and answers, so that
batches come from load and never from timers. Python is entered once a batch, not once an
entry.

Outcomes that clients can build on: an answer "not-leader", "busy", "too-large" or
"session-lost" means that the operation did not happen; "unknown" that it may yet happen.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t

from seatrial.core.buffer cimport Buffer, buffer_append, buffer_consume, buffer_free, buffer_size
from seatrial.core.chunks cimport CHUNK_BYTES, Chunks
from seatrial.core.codec cimport (
    FrameHeader,
    HEADER_SIZE,
    MARK,
    next_frame,
    NOTICE,
    plain_crc,
    Request,
)
from seatrial.core.domain cimport Domain
from seatrial.core.invariant cimport must
from seatrial.core.kv cimport KeyValue
from seatrial.core.log_clock cimport LogClock
from seatrial.core.raft cimport Raft
from seatrial.core.raft_state cimport LEADER
from seatrial.core.replica_state cimport Connection, INCOMING_CHUNK

from seatrial.core.errors import ProtocolError
from seatrial.core.membership import Configuration
from seatrial.core.raft import ROLES
from seatrial.core.tree import Tree

STATES = ("probe", "stream", "snapshot")     # of a member, by Progress.state

cdef enum:
    PEER = 0
    CLIENT = 1
    ORDINARY_OUTPUT_BYTES = 1 << 20


cdef class Replica(ReplicaWrites):
    def __cinit__(self, node, members, *, uint64_t seed, uint64_t now_ns,
                  uint64_t heartbeat_ns, uint64_t election_ns,
                  size_t max_batch_bytes=256 * 1024, size_t max_inflight_bytes=4 << 20,
                  size_t max_value_bytes=1 << 20, size_t max_key_bytes=4096,
                  uint64_t max_sessions=100_000, uint64_t session_ttl_ns=3_600_000_000_000,
                  uint64_t max_uncommitted_bytes=64 << 20,
                  size_t max_write_bytes=1 << 20, bint leases=False,
                  uint64_t lease_drift_ppm=150_000, uint64_t snapshot_bytes=64 << 20,
                  uint64_t keep_bytes=16 << 20, size_t chunk_bytes=CHUNK_BYTES,
                  uint16_t domain=0, tree=None, parent=()):
        if not isinstance(members, Configuration):
            members = Configuration(members)
        self.raft = Raft(node, members, seed, now_ns, heartbeat_ns, election_ns,
                         max_batch_bytes, max_inflight_bytes, leases, lease_drift_ppm,
                         domain, len(parent) > 0)
        self.domain = Domain(self.raft, domain, tree, parent, max_batch_bytes, max_inflight_bytes)
        self.kv = KeyValue()
        self.clock = LogClock()
        self.making = Chunks()
        self.snapshot_bytes = snapshot_bytes
        self.keep_bytes = keep_bytes
        self.chunk_bytes = chunk_bytes
        self.admin = []
        self.notices = []
        self.max_value_bytes = max_value_bytes
        self.max_key_bytes = max_key_bytes
        self.session_terms.max_sessions = max_sessions
        self.session_terms.ttl_ns = session_ttl_ns
        self.max_uncommitted_bytes = max_uncommitted_bytes
        self.max_write_bytes = max_write_bytes

    # ---- inputs ------------------------------------------------------------------------

    def peer_up(self, uint32_t peer, uint64_t now_ns) -> None:
        """Our outgoing connection to a member came up."""
        self.raft.peer_up(peer, now_ns)

    def peer_down(self, uint32_t peer, uint64_t now_ns) -> None:
        """Our outgoing connection to a member went away."""
        self.raft.peer_down(peer)

    def peer_reset(self, uint32_t peer) -> None:
        """A member's connection to us was replaced: forget the incomplete frame on the old."""
        cdef int place = self.raft._place(peer)
        buffer_consume(&self.raft.peers[place].input, buffer_size(&self.raft.peers[place].input))

    def receive_peer(self, uint32_t peer, bytes data, uint64_t now_ns) -> None:
        """Take bytes of a member's connection. Raises ProtocolError: close that connection."""
        self.feed_peer(peer, PyBytes_AS_STRING(data), len(data), now_ns)

    cdef int feed_peer(self, uint32_t peer, const char* p, size_t size,
                       uint64_t now_ns) except -1 nogil:
        """``receive_peer`` for C callers."""
        cdef int place = self.raft._place(peer)
        cdef Buffer* b = &self.raft.peers[place].input
        # (its place, and so this buffer, is nobody else's while it speaks)
        cdef size_t at = 0
        cdef Py_ssize_t n
        self.raft.speaking = place
        if buffer_size(b):
            buffer_append(b, p, size)
            p = b.data + b.start
            size = buffer_size(b)
        while True:
            n = next_frame(p + at, size - at)
            if n == 0:
                break
            if (<const FrameHeader*>(p + at)).type == NOTICE:
                self._notice(peer, p + at, n)
            elif (<const FrameHeader*>(p + at)).type == MARK:
                self.domain.on_mark(peer, p + at)
            else:
                self.raft.step(peer, p + at, now_ns)
            at += n
        return leave_rest(b, p, at, size)

    cdef int _notice(self, uint32_t peer, const char* frame, size_t size) except -1 nogil:
        """A frame of a member's shell to ours."""
        with gil:
            if plain_crc(frame) != (<const FrameHeader*>frame).crc:
                raise ProtocolError("NOTICE: check failed: bytes were altered on the way")
            self.notices.append((peer, frame[HEADER_SIZE:size]))
        return 0

    def receive_client(self, uint32_t connection, bytes data, uint64_t now_ns) -> None:
        """Take bytes of a client's connection. Raises ProtocolError: close that connection."""
        self.feed_client(connection, PyBytes_AS_STRING(data), len(data))

    cdef int feed_client(self, uint32_t connection, const char* p, size_t size) except -1 nogil:
        """``receive_client`` for C callers."""
        cdef Connection* c = self._connection(connection)
        cdef size_t at = 0
        cdef Py_ssize_t n
        must(c is not NULL, b"unknown connection", connection)
        if buffer_size(&c.input):
            buffer_append(&c.input, p, size)
            p = c.input.data + c.input.start
            size = buffer_size(&c.input)
        while True:
            n = next_frame(p + at, size - at)
            if n == 0:
                break
            self._request(c, <const Request*>(p + at))
            at += n
        return leave_rest(&c.input, p, at, size)

    # ---- links to other domains --------------------------------------------------------------

    def uplink_wanted(self) -> bool:
        """Whether this node shall have a connection to its domain's parent."""
        return self.domain.wanted()

    def parent_nodes(self) -> list:
        """Return the nodes of the parent: (node, address)."""
        return self.domain.parent_nodes()

    def uplink_up(self, uint32_t node, uint64_t now_ns) -> None:
        """Our connection to a node of the parent came up."""
        self.domain.uplink_up(node, now_ns)

    def uplink_down(self, uint64_t now_ns) -> None:
        """That connection went away."""
        self.domain.uplink_down()

    def receive_uplink(self, bytes data, uint64_t now_ns) -> None:
        """Take bytes of it. Raises ProtocolError: close it."""
        self.domain.receive_uplink(PyBytes_AS_STRING(data), len(data), now_ns)

    def take_uplink_move(self) -> tuple | None:
        """Return and forget which node of the parent shall be dialled instead: (node, address);
        (0, ""): any other."""
        return self.domain.take_move()

    def link_up(self, uint32_t connection, uint16_t domain, uint64_t now_ns) -> None:
        """The leader of a child domain connected; the number is never used again."""
        self.domain.link_up(connection, domain)

    def link_down(self, uint32_t connection) -> None:
        """Its connection went away."""
        self.domain.link_down(connection)

    def receive_link(self, uint32_t connection, bytes data, uint64_t now_ns) -> None:
        """Take bytes of it. Raises ProtocolError: close it."""
        self.domain.receive_link(connection, PyBytes_AS_STRING(data), len(data), now_ns)

    @property
    def tree_version(self):
        """A number that changes with the newest tree in the log."""
        return self.raft.mirror.version

    def tree(self) -> Tree | None:
        """Return the newest tree of domains in the log; None: it holds none."""
        payload = self.raft.mirror.tree_payload()
        return None if payload is None else Tree.decode(payload)

    def change_tree(self, change, uint32_t connection=0, uint64_t request=0) -> bool:
        """Propose another tree, ``change(tree)``, whose root commit answers this request; False
        when this node doesn't lead the root. Raises BadTree: it can't be, or not now."""
        if self.raft.role != LEADER or not self.raft.assigning:
            return False
        self.domain.change_tree(change, connection, request)
        return True

    # ---- time ------------------------------------------------------------------------------------

    def tick(self, uint64_t now_ns) -> None:
        """Let time pass; to be called no later than ``deadline_ns()``."""
        self.raft.tick(now_ns)

    def transfer(self, uint32_t node, uint64_t now_ns) -> bool:
        """Have another member lead; False when this node doesn't lead or that one can't."""
        return self.raft.transfer(node, now_ns)

    def change(self, changes, uint32_t connection=0, uint64_t request=0) -> bool:
        """Propose a change of the configuration, whose commit answers this request; False when
        this node doesn't lead. Raises BadConfiguration: it can't be made, or not now."""
        if self.raft.role != LEADER:
            return False
        self.raft.change(changes, connection, request)
        return True

    # ---- once a loop iteration -----------------------------------------------------------

    def poll(self, uint64_t now_ns) -> None:
        """Replicate, apply what is committed, answer: once after all inputs of an iteration."""
        self.settle(now_ns)

    cdef int settle(self, uint64_t now_ns) except -1 nogil:
        """``poll`` for C callers."""
        self._give_back()
        self._confirm_reads(now_ns)
        self.domain.begin(now_ns)
        if self.raft.transfer_to == 0:
            self.clock.settle(self.raft, self.kv, now_ns)
        self.raft.pump(now_ns)
        self._tell_orphans()
        self._apply()
        self.domain.finish(self.kv.applied, now_ns)
        if (self.raft.incoming.index and self.raft.incoming.index <= self.raft.commit
                and self.chunk_written != INCOMING_CHUNK):
            self._drop_incoming()
        self._consider_snapshot(now_ns)
        if not self.snapshot_waiters.empty():
            with gil:
                self._answer_snapshots()
        return self._serve_reads(now_ns)

    # ---- outputs -----------------------------------------------------------------------

    def take_output(self) -> list:
        """Return and forget what is to be sent: (0, member, bytes), (1, connection,
        bytes), on the uplink (2, 0, bytes), on a child's link (3, connection, bytes)."""
        cdef list out = []
        cdef int i
        cdef uint32_t id
        cdef Connection* c
        for i in range(self.raft.places):
            if buffer_size(&self.raft.peers[i].out):
                out.append((PEER, self.raft.peers[i].node, taken(&self.raft.peers[i].out)))
        self.domain.take_output(out)
        for id in self.dirty:
            c = self._connection(id)
            if c is not NULL and c.dirty:
                c.dirty = False
                out.append((CLIENT, id, taken(&c.output)))
        self.dirty.clear()
        return out

    def take_admin(self) -> list:
        """Return and forget requests that the shell answers: (connection, request, op, bytes)."""
        out = self.admin
        self.admin = []
        return out

    def take_notices(self) -> list:
        """Return and forget what members' shells told ours: (member, bytes)."""
        out = self.notices
        self.notices = []
        return out

    def deadline_ns(self) -> int:
        """When ``tick`` must be called at the latest."""
        return min(self.raft.deadline_ns(), self.domain.deadline_ns())

    def status(self) -> dict:
        """Return what this node knows of itself and of its members, for people and metrics."""
        cdef Raft raft = self.raft
        cdef int i
        peers = {}
        for i in range(raft.places):
            if i != raft.me and raft.replicas >> i & 1:
                peers[raft.peers[i].node] = {
                    "connected": bool(raft.peers[i].connected),
                    "state": STATES[raft.peers[i].state],
                    "next_index": raft.peers[i].next_index,
                    "match_index": raft.peers[i].match_index,
                }
        return {
            "node": raft.node, "role": ROLES[raft.role], "term": raft.term, "vote": raft.vote,
            "leader": raft.leader, "commit": raft.commit, "applied": self.applied,
            "first_index": raft.log.first, "snapshot_index": raft.snapshot.index,
            "snapshot_bytes": raft.snapshot.size, "snapshot_ns": self.snapshot_ns,
            "snapshots_made": self.snapshots_made,
            "snapshots_installed": self.snapshots_installed,
            "snapshot_chunks_sent": raft.chunks_sent,
            "snapshot_transfers_resumed": raft.transfers_resumed,
            "snapshot_written": self.making.size, "snapshot_received": raft.incoming.size,
            "last_index": raft.log.last(),
            "durable_index": raft.durable_index, "damaged_until": raft.damaged_until,
            "sessions": self.kv.session_count(),
            "elections": raft.elections, "conflicts": raft.conflicts,
            "duplicates": self.kv.duplicates, "served_reads": self.served_reads,
            "served_writes": self.served_writes, "refused": self.refused,
            "configuration": str(raft.configuration()), "config_index": raft.config_index,
            "transfer_to": raft.transfer_to, "lease": bool(raft.holds_lease(raft.now_ns)),
            "connections": self.connections.size(), "peers": peers,
            "domain": self.domain.status(raft.now_ns) if raft.domain else None,
        }


cdef int leave_rest(Buffer* b, const char* p, size_t at, size_t size) except -1 nogil:
    """Keep the incomplete frame at ``p + at``; what came before it was dealt with."""
    if buffer_size(b):
        buffer_consume(b, at)
        return 0
    return buffer_append(b, p + at, size - at)


cdef bytes taken(Buffer* b):
    """Move a buffer's content out; a buffer that grew beyond the ordinary is given back."""
    cdef bytes out = PyBytes_FromStringAndSize(b.data + b.start, buffer_size(b))
    buffer_consume(b, buffer_size(b))
    if b.capacity > ORDINARY_OUTPUT_BYTES:
        buffer_free(b)
    return out
