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
from cython.operator cimport dereference, preincrement
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_reserve,
    buffer_size,
)
from seatrial.core.chunks cimport CHUNK_BYTES, LAST_CHUNK, Chunks
from seatrial.core.codec cimport (
    ANY_NODE,
    COMMAND_SIZE,
    Command,
    FrameHeader,
    HAS_VALUE,
    HEADER_SIZE,
    KIND_COMMAND,
    KIND_CONFIG,
    KIND_OPEN_SESSION,
    MAX_FRAME_BYTES,
    MESSAGE_SIZE,
    NOTICE,
    OP_CAS,
    OP_CHANGE,
    OP_OPEN_SESSION,
    OP_PING,
    OP_SNAPSHOT,
    OP_STATUS,
    OP_TRANSACT,
    OP_TRANSFER,
    RECORD_SIZE,
    REQUEST,
    REQUEST_SIZE,
    RESPONSE,
    RESPONSE_SIZE,
    Record,
    Response,
    STATUS_BAD_REQUEST,
    STATUS_BUSY,
    STATUS_NOT_LEADER,
    STATUS_OK,
    STATUS_TOO_LARGE,
    STATUS_UNKNOWN,
    SessionTerms,
    command_size,
    next_frame,
    op_reads,
    op_writes,
    plain_crc,
    record_crc,
    set_length,
)
from seatrial.core.invariant cimport must
from seatrial.core.log cimport Slot
from seatrial.core.marks cimport (
    ANSWER_OK,
    BUSY_WITH_OUTPUT,
    BUSY_WITH_READS,
    BUSY_WITH_UNCOMMITTED,
    mark,
    READ_AFTER_LEASE_ENDED,
    READ_AT_FOLLOWER,
    READ_BY_LEASE,
    READ_BY_ROUND,
    READ_LOST,
    SNAPSHOT_ASKED_FOR,
    SNAPSHOT_BEGUN,
    SNAPSHOT_GIVEN_UP,
    SNAPSHOT_OVERTAKEN,
    SNAPSHOT_RESTORED_IN_PART,
    SNAPSHOT_TAKEN,
    TRANSFER_BLOCKED_WRITE,
)
from seatrial.core.mutant cimport (
    ANSWER_BEFORE_COMMIT,
    CONFIGURATION_WHEN_APPLIED,
    FOLLOWER_READ_UNAPPLIED,
    MUTANT,
    READ_FROM_FOLLOWER,
    READ_UNCONFIRMED,
    seatrial_arm,
    SNAPSHOT_AHEAD_OF_LOG,
    SNAPSHOT_LOSES_OUTGOING,
    STEP_DOWN_SAYS_NO,
    TERM_NOT_PERSISTED,
    TRANSFER_DOES_NOT_BLOCK,
    VOTE_NOT_PERSISTED,
)
from seatrial.core.outcome cimport Outcome
from seatrial.core.raft_state cimport LEADER, Orphan
from seatrial.core.transaction cimport largest_key, sound

import msgspec

from seatrial.core.errors import ProtocolError
from seatrial.core.membership import Configuration
from seatrial.core.raft import ROLES

STATES = ("probe", "stream", "snapshot")     # of a member, by Progress.state

cdef enum:
    PEER = 0
    CLIENT = 1
    ORDINARY_OUTPUT_BYTES = 1 << 20
    MAX_OUTPUT_BYTES = 4 << 20      # to one client at a time: small questions, large answers
    MAX_WAITING_READS = 1 << 16
    MAX_SNAPSHOT_WAITERS = 64
    MAX_PATIENCE = 4            # times snapshot_bytes of log, while a member is sent a snapshot


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Replica:
    def __cinit__(self, node, members, *, uint64_t seed, uint64_t now_ns,
                  uint64_t heartbeat_ns, uint64_t election_ns,
                  size_t max_batch_bytes=256 * 1024, size_t max_inflight_bytes=4 << 20,
                  size_t max_value_bytes=1 << 20, size_t max_key_bytes=4096,
                  uint64_t max_sessions=100_000, uint64_t session_ttl_ns=3_600_000_000_000,
                  uint64_t max_uncommitted_bytes=64 << 20,
                  size_t max_write_bytes=1 << 20, bint leases=False,
                  uint64_t lease_drift_ppm=150_000, uint64_t snapshot_bytes=64 << 20,
                  uint64_t keep_bytes=16 << 20, size_t chunk_bytes=CHUNK_BYTES):
        if not isinstance(members, Configuration):
            members = Configuration(members)
        self.raft = Raft(node, members, seed, now_ns, heartbeat_ns, election_ns,
                         max_batch_bytes, max_inflight_bytes, leases, lease_drift_ppm)
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

    def __dealloc__(self):
        cdef unordered_map[uint32_t, Connection*].iterator at = self.connections.begin()
        while at != self.connections.end():
            buffer_free(&dereference(at).second.input)
            buffer_free(&dereference(at).second.output)
            free(dereference(at).second)
            preincrement(at)

    def restore(self, term: int, vote: int, records: bytes, *, first: int = 1,
                base_term: int = 0, snapshot=None, partial=None,
                damaged_until: int = 0, damaged_term: int = 0) -> None:
        """Take what the disk held, once, before any input (recovery.pyx, Recovered)."""
        cdef Raft raft = self.raft
        if snapshot is not None:
            self._restore_chunks(snapshot)
            must(self.kv.applied == raft.incoming.index and raft.incoming.complete,
                 b"restore: the snapshot is not whole", self.kv.applied, raft.incoming.index)
            raft.restore_snapshot(self.kv.block.data(), self.kv.block.size())
        raft.restore(term, vote, records, first=first, base_term=base_term,
                     damaged_until=damaged_until, damaged_term=damaged_term)
        if partial is not None:
            mark(SNAPSHOT_RESTORED_IN_PART)
            self._restore_chunks(partial)

    def _restore_chunks(self, found) -> None:
        cdef Raft raft = self.raft
        cdef const Record* r
        cdef const char* p
        cdef size_t at = 0
        cdef uint64_t index, term
        cdef bytes records
        index, term, records = found
        p = PyBytes_AS_STRING(records)
        raft.incoming.clear(index, term)
        while at < <size_t>len(records):
            r = <const Record*>(p + at)
            must(record_crc(r) == r.crc and raft.incoming.continues(r),
                 b"restore: a snapshot's chunk does not fit", index, r.sequence)
            raft.incoming.add(r)
            self._load(raft.incoming.chunk(raft.incoming.count() - 1))
            at += r.length
        raft.incoming_durable = raft.incoming.count()

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

    def client_up(self, uint32_t connection) -> None:
        """A client connected; the shell never uses a connection's number again."""
        cdef Connection* c
        must(connection != 0 and self._connection(connection) is NULL,
             b"connection number used twice", connection)
        c = <Connection*>calloc(1, sizeof(Connection))
        if c is NULL:
            raise MemoryError("no memory for a connection")
        c.id = connection
        self.connections[connection] = c

    def client_down(self, uint32_t connection) -> None:
        """A client's connection went away: its answers have nowhere to go."""
        cdef Connection* c = self._connection(connection)
        must(c is not NULL, b"unknown connection", connection)
        self.connections.erase(connection)
        buffer_free(&c.input)
        buffer_free(&c.output)
        free(c)

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

    def tick(self, uint64_t now_ns) -> None:
        """Let time pass; to be called no later than ``deadline_ns()``."""
        self.raft.tick(now_ns)

    def persisted(self, uint64_t seq, uint64_t now_ns) -> None:
        """The group write ``seq`` is durable."""
        self.synced(seq, now_ns)

    cdef int synced(self, uint64_t seq, uint64_t now_ns) except -1:
        """``persisted`` for C callers."""
        self.raft.persisted(seq, now_ns)
        return self._chunk_durable() if self.chunk_written != NO_CHUNK else 0

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

    # ---- requests ----------------------------------------------------------------------

    cdef Connection* _connection(self, uint32_t id) noexcept nogil:
        cdef unordered_map[uint32_t, Connection*].iterator at = self.connections.find(id)
        if at == self.connections.end():
            return NULL
        return dereference(at).second

    cdef int _request(self, Connection* c, const Request* r) except -1 nogil:
        """Take one whole frame of a client: propose it, queue it, or answer at once."""
        cdef const Command* command = <const Command*>(<const char*>r + REQUEST_SIZE)
        cdef const char* body = <const char*>command + COMMAND_SIZE
        cdef size_t size = r.header.length
        cdef uint8_t op
        if (size < REQUEST_SIZE + COMMAND_SIZE or r.header.type != REQUEST
                or REQUEST_SIZE + command_size(command) != size
                or plain_crc(<const char*>r) != r.header.crc):
            with gil:
                raise ProtocolError(f"client's frame of {size} bytes, type {r.header.type}: "
                                    "not a sound request")
        op = command.op
        if op == OP_PING:
            return self._respond(c, r.request, STATUS_OK, False, NULL, 0, 0)
        if op == OP_STATUS or op == OP_CHANGE or op == OP_TRANSFER or op == OP_SNAPSHOT:
            with gil:
                self.admin.append((c.id, r.request, op, body[:command.key_length]))
            return 0
        if self.raft.role != LEADER and not (
                op_reads(op) and (r.header.flags & ANY_NODE or MUTANT(READ_FROM_FOLLOWER))):
            return self._not_leader(c, r.request)
        if op == OP_TRANSACT and not sound(command):
            self.refused += 1
            return self._respond(c, r.request, STATUS_BAD_REQUEST, False, NULL, 0, 0)
        if (command.key_length > self.max_key_bytes
                or (op == OP_TRANSACT and largest_key(command) > self.max_key_bytes)
                or command.value_length > self.max_value_bytes
                or command.expected_length > self.max_value_bytes
                or MESSAGE_SIZE + RECORD_SIZE + size - REQUEST_SIZE > MAX_FRAME_BYTES):
            self.refused += 1
            return self._respond(c, r.request, STATUS_TOO_LARGE, False, NULL, 0, 0)
        if op_reads(op):
            return self._read(c, r, command)
        # (whoever leads next has all that we took, and no more)
        if self.raft.transfer_to and not MUTANT(TRANSFER_DOES_NOT_BLOCK):
            mark(TRANSFER_BLOCKED_WRITE)
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
        if self.raft.log.offset_of(self.raft.log.last() + 1) - self.raft.log.offset_of(
                self.raft.commit + 1) > self.max_uncommitted_bytes:
            mark(BUSY_WITH_UNCOMMITTED)
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
        if op == OP_OPEN_SESSION:
            return self.raft.propose(KIND_OPEN_SESSION, r.client, 0,
                                     <const char*>&self.session_terms, sizeof(SessionTerms), c.id,
                                     r.request)
        if r.sequence and op_writes(op):
            if MUTANT(ANSWER_BEFORE_COMMIT) and op != OP_CAS:
                self.raft.propose(KIND_COMMAND, r.client, r.sequence, <const char*>command,
                                  size - REQUEST_SIZE, 0, 0)
                return self._respond(c, r.request, STATUS_OK, False, NULL, 0,
                                     self.raft.log.last())
            return self.raft.propose(KIND_COMMAND, r.client, r.sequence, <const char*>command,
                                     size - REQUEST_SIZE, c.id, r.request)
        self.refused += 1
        return self._respond(c, r.request, STATUS_BAD_REQUEST, False, NULL, 0, 0)

    cdef int _read(self, Connection* c, const Request* r, const Command* q) except -1 nogil:
        """Queue a linearizable read: at the leader until it is sure that it leads, at a follower
        until the leader said what it must have applied (thesis, 6.4)."""
        cdef const char* key = <const char*>q + COMMAND_SIZE
        cdef Read read
        cdef Outcome out
        if MUTANT(READ_UNCONFIRMED) or MUTANT(READ_FROM_FOLLOWER) and self.raft.role != LEADER:
            self.kv.query(q.op, key, q.key_length, key + q.key_length, q.value_length, &out)
            return self._respond(c, r.request, out.status, out.has_value, out.value,
                                 out.value_length, self.kv.applied)
        if self.raft.role != LEADER and self.raft.leader == 0:
            return self._not_leader(c, r.request)
        if self.reads.size() >= MAX_WAITING_READS:
            mark(BUSY_WITH_READS)
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
        read.connection = c.id
        read.request = r.request
        read.term = self.raft.term
        read.round = read.index = read.ticket = 0
        if self.raft.role != LEADER:
            read.ticket = self.raft.ask_read_index()
        else:
            read.index = self.raft.read_floor()
            if self.raft.lease_ns == 0:
                read.round = self.raft.want_round()
        read.op = q.op
        read.key.assign(key, q.key_length)
        read.argument.assign(key + q.key_length, q.value_length)
        self.reads.push_back(read)
        return 0

    cdef int _not_leader(self, Connection* c, uint64_t request) except -1 nogil:
        cdef uint64_t leader = self.raft.leader if self.raft.role != LEADER else 0
        self.refused += 1
        return self._respond(c, request, STATUS_NOT_LEADER, True, <const char*>&leader,
                             sizeof(leader), 0)

    cdef int _respond(self, Connection* c, uint64_t request, uint8_t status, bint has_value,
                      const char* value, size_t size, uint64_t rindex) except -1 nogil:
        cdef Response* r
        mark(ANSWER_OK + status)
        if not c.dirty:
            c.dirty = True
            self.dirty.push_back(c.id)
        r = <Response*>buffer_reserve(&c.output, RESPONSE_SIZE + size)
        memset(r, 0, RESPONSE_SIZE)
        set_length(&r.header, RESPONSE_SIZE + size)
        r.header.type = RESPONSE
        r.request = request
        r.rindex = rindex
        r.epoch = 1 << 16
        r.term = self.raft.term
        r.status = status
        r.flags = HAS_VALUE if has_value else 0
        r.node = self.raft.node
        r.value_length = <uint32_t>size
        if size:
            memcpy(<char*>r + RESPONSE_SIZE, value, size)
        r.header.crc = plain_crc(<const char*>r)
        c.output.end += r.header.length
        return 0

    # ---- once a loop iteration -----------------------------------------------------------

    def poll(self, uint64_t now_ns) -> None:
        """Replicate, apply what is committed, answer: once after all inputs of an iteration."""
        self.settle(now_ns)

    cdef int settle(self, uint64_t now_ns) except -1 nogil:
        """``poll`` for C callers."""
        self._confirm_reads(now_ns)
        if self.raft.transfer_to == 0:
            self.clock.settle(self.raft, self.kv, now_ns)
        self.raft.pump(now_ns)
        self._tell_orphans()
        self._apply()
        if (self.raft.incoming.index and self.raft.incoming.index <= self.raft.commit
                and self.chunk_written != INCOMING_CHUNK):
            self._drop_incoming()
        self._consider_snapshot(now_ns)
        if not self.snapshot_waiters.empty():
            with gil:
                self._answer_snapshots()
        return self._serve_reads(now_ns)

    cdef int _tell_orphans(self) except -1 nogil:
        """Entries of ours whose fate another leader decides: their clients must ask again."""
        cdef Buffer* b = &self.raft.orphans
        cdef Orphan* orphan
        cdef Connection* c
        while buffer_size(b):
            orphan = <Orphan*>(b.data + b.start)
            c = self._connection(orphan.connection)
            if c is not NULL:
                self._respond(c, orphan.request, STATUS_NOT_LEADER if MUTANT(STEP_DOWN_SAYS_NO)
                              else STATUS_UNKNOWN, False, NULL, 0, 0)
            buffer_consume(b, sizeof(Orphan))
        return 0

    cdef int _apply(self) except -1 nogil:
        cdef uint64_t i
        cdef Slot* slot
        cdef Record* record
        cdef Connection* c
        cdef Outcome out
        must(self.raft.commit <= self.raft.log.last(), b"commits beyond the log",
             self.raft.commit, self.raft.log.last())
        for i in range(self.kv.applied + 1, self.raft.commit + 1):
            record = self.raft.log.record(i)
            self.kv.apply(record, &out)
            if MUTANT(CONFIGURATION_WHEN_APPLIED) and record.kind == KIND_CONFIG:
                buffer_append(&self.raft.configs, &record.index, sizeof(uint64_t))
                self.raft._adopt(<const char*>record + RECORD_SIZE, record.length - RECORD_SIZE, i)
            slot = self.raft.log.slot(i)
            if slot.connection:
                self.served_writes += 1
                c = self._connection(slot.connection)
                slot.connection = 0
                if c is not NULL:
                    self._respond(c, slot.request, out.status, out.has_value, out.value,
                                  out.value_length, record.rindex)
        return 0

    cdef int _confirm_reads(self, uint64_t now_ns) except -1 nogil:
        """Reads that came while we held a lease and wait: without it they need a round."""
        cdef size_t i = self.reads.size()
        if self.raft.lease_ns == 0 or self.raft.role != LEADER or self.raft.holds_lease(now_ns):
            return 0
        while i > 0 and self.reads[i - 1].round == 0:
            i -= 1
            self.reads[i].round = self.raft.want_round()
            mark(READ_AFTER_LEASE_ENDED)
        return 0

    cdef bint _read_lost(self, const Read* r) noexcept nogil:
        """Who was to vouch for it no longer does."""
        if self.raft.term != r.term or (r.ticket == 0) != (self.raft.role == LEADER):
            return True
        return self.raft.leader == 0

    cdef bint _read_ready(self, const Read* r, uint64_t now_ns) noexcept nogil:
        if r.ticket:
            return (self.raft.ticket_answered >= r.ticket
                    and (self.kv.applied >= self.raft.ticket_index
                         or MUTANT(FOLLOWER_READ_UNAPPLIED)))
        if self.kv.applied < r.index:
            return False
        if r.round == 0:
            return self.raft.holds_lease(now_ns)
        return self.raft.round_confirmed >= r.round

    cdef int _serve_reads(self, uint64_t now_ns) except -1 nogil:
        """Answer the reads that may be answered now, in order."""
        cdef Read* r
        cdef Connection* c
        cdef Outcome out
        cdef bint lost
        while not self.reads.empty():
            r = &self.reads.front()
            lost = self._read_lost(r)
            if not lost and not self._read_ready(r, now_ns):
                break
            c = self._connection(r.connection)
            if c is not NULL:
                if lost:
                    mark(READ_LOST)
                    self._not_leader(c, r.request)
                elif buffer_size(&c.output) > MAX_OUTPUT_BYTES:
                    mark(BUSY_WITH_OUTPUT)
                    self.refused += 1
                    self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
                else:
                    self.kv.query(r.op, r.key.data(), r.key.size(), r.argument.data(),
                                  r.argument.size(), &out)
                    self._respond(c, r.request, out.status, out.has_value, out.value,
                                  out.value_length, self.kv.applied)
                    self.served_reads += 1
                    mark(READ_AT_FOLLOWER if r.ticket else READ_BY_ROUND if r.round
                         else READ_BY_LEASE)
            self.reads.pop_front()
        return 0

    # ---- snapshots (paper, section 7) ------------------------------------------------------

    cdef int _consider_snapshot(self, uint64_t now_ns) except -1 nogil:
        """Begin a snapshot of what is applied once enough was logged since the one before: as
        much as that one's size at least, so that writing them is no more work than the log.

        One that is being sent is not replaced by a newer one, which would have to be sent from
        its beginning; but no member may be so slow that our log grows without bound.
        """
        cdef uint64_t since = self.raft.snapshot.index + 1
        cdef uint64_t logged, enough = max(self.snapshot_bytes, self.raft.snapshot.size)
        if (self.making.index or self.raft.incoming.count() or self.kv.applied < since
                or since < self.raft.log.first):
            return 0
        logged = self.raft.log.offset_of(self.kv.applied + 1) - self.raft.log.offset_of(since)
        if logged < enough and not self._snapshot_wanted():
            return 0
        if logged < 2 * enough and self.raft.sending(now_ns):
            return 0
        return self._begin_snapshot()

    cdef bint _snapshot_wanted(self) noexcept nogil:
        """Whether somebody asked for one that holds more than the newest."""
        cdef size_t i
        for i in range(self.snapshot_waiters.size()):
            if self.snapshot_waiters[i].index > self.raft.snapshot.index:
                return True
        return False

    def request_snapshot(self, uint32_t connection, uint64_t request) -> bool:
        """Take a snapshot of what is applied now; its being durable answers this request, with
        ``snapshot()`` in JSON. False: too many wait already."""
        cdef SnapshotWaiter waiter
        if self.snapshot_waiters.size() >= MAX_SNAPSHOT_WAITERS:
            return False
        mark(SNAPSHOT_ASKED_FOR)
        waiter.connection, waiter.request, waiter.index = connection, request, self.kv.applied
        self.snapshot_waiters.push_back(waiter)
        return True

    cdef int _answer_snapshots(self) except -1:
        """Tell those whose snapshot is durable."""
        cdef vector[SnapshotWaiter] waiting = self.snapshot_waiters
        cdef size_t i
        self.snapshot_waiters.clear()
        for i in range(waiting.size()):
            if self.raft.snapshot.complete and self.raft.snapshot.index >= waiting[i].index:
                self.reply(waiting[i].connection, waiting[i].request, STATUS_OK,
                           msgspec.json.encode(self.snapshot()))
            elif self._connection(waiting[i].connection) is not NULL:
                self.snapshot_waiters.push_back(waiting[i])
        return 0

    def snapshot(self) -> dict:
        """Return what is to be said of this node's newest snapshot, which is durable."""
        cdef Chunks newest = self.raft.snapshot
        return {"node": self.raft.node, "index": newest.index, "term": newest.term,
                "bytes": newest.size, "first_index": self.raft.log.first,
                "hash": f"{newest.state_hash() if newest.complete else 0:016x}"}

    cdef int _begin_snapshot(self) except -1 nogil:
        cdef size_t size
        cdef const char* configuration = self.raft.config_at(self.kv.applied, &size)
        if configuration is NULL:
            return 0
        if MUTANT(SNAPSHOT_LOSES_OUTGOING):
            with gil:
                self.kv.block = without_outgoing(configuration[:size])
            configuration, size = self.kv.block.data(), self.kv.block.size()
        self.making.clear(self.kv.applied, self.raft.log.term_at(self.kv.applied))
        self.made_durable = 0
        mark(SNAPSHOT_BEGUN)
        return self.kv.snapshot_begin(configuration, size)

    cdef const Record* _next_chunk(self) except? NULL nogil:
        """The chunk that goes with the next group write, if there is one."""
        cdef Record* r
        cdef int last
        self.chunk_written = NO_CHUNK
        if self.holds_chunks:
            return NULL
        if self.raft.incoming_durable < self.raft.incoming.count():
            self.chunk_written = INCOMING_CHUNK
            self.chunk_version = self.raft.incoming.version
            if self.making.index:       # on the disk the chunks of two snapshots must not mix
                mark(SNAPSHOT_GIVEN_UP)
                self.kv.snapshot_end()
                self.making.clear(0, 0)
            return self.raft.incoming.chunk(self.raft.incoming_durable)
        if self.making.index == 0 or (self.making.index > self.raft.durable_index
                                      and not MUTANT(SNAPSHOT_AHEAD_OF_LOG)):
            return NULL                 # a snapshot never goes ahead of our own log
        r = self.making.open_chunk()
        r.rindex = self.raft.log.record(self.making.index).rindex
        r.epoch = self.raft.log.record(self.making.index).epoch
        r.rterm = self.raft.log.record(self.making.index).rterm
        last = self.kv.snapshot_chunk(&self.making.records, self.chunk_bytes)
        self.making.close_chunk(last)
        self.chunk_written = OWN_CHUNK
        self.chunk_version = self.making.version
        return self.making.chunk(self.making.count() - 1)

    cdef int _chunk_durable(self) except -1:
        """The chunk that went with the newest group write is on the disk."""
        cdef int whose = self.chunk_written
        cdef Raft raft = self.raft
        self.chunk_written = NO_CHUNK
        if whose == OWN_CHUNK and self.chunk_version == self.making.version:
            self.made_durable += 1
            if self.making.complete:
                self._compact()
        elif whose == INCOMING_CHUNK and self.chunk_version == raft.incoming.version:
            if raft.incoming.index <= raft.commit:
                return self._drop_incoming()
            raft.incoming_durable += 1
            raft.incoming_ack_owed = True
            self._load(raft.incoming.chunk(raft.incoming_durable - 1))
            if self.kv.applied == raft.incoming.index:
                raft.install(self.kv.block.data(), self.kv.block.size())
                self.snapshots_installed += 1
                self.snapshot_ns = raft.now_ns
        return 0

    cdef int _drop_incoming(self) except -1 nogil:
        """A snapshot that we were being sent, or had begun to write before a restart, is needless:
        what came entry by entry was quicker."""
        mark(SNAPSHOT_OVERTAKEN)
        self.raft.incoming.clear(0, 0)
        self.raft.incoming_durable = 0
        with gil:
            self.kv.load_end()
        return 0

    cdef int _load(self, const Record* r) except -1:
        """Have the state machine read a chunk; with the last one it is in that state."""
        if r.sequence == 0:
            self.kv.load_begin()
        self.kv.load_chunk(<const char*>r + RECORD_SIZE, r.length - RECORD_SIZE, <uint32_t>r.client,
                           r.flags & LAST_CHUNK)
        return 0

    cdef int _compact(self) except -1:
        """Our own snapshot is on the disk: forget the log before it, but for a little."""
        cdef Raft raft = self.raft
        cdef Chunks before = raft.snapshot
        cdef uint64_t low, high, middle, end
        raft.snapshot = self.making
        self.making = before
        self.making.clear(0, 0)
        self.snapshots_made += 1
        mark(SNAPSHOT_TAKEN)
        self.snapshot_ns = raft.now_ns
        end = raft.log.offset_of(raft.snapshot.index + 1)
        low, high = raft.log.first, raft.snapshot.index + 1
        while low < high:                   # the first entry that is kept
            middle = (low + high) // 2
            if end - raft.log.offset_of(middle) > self.keep_bytes:
                low = middle + 1
            else:
                high = middle
        return raft.compact(low - 1)

    # ---- outputs -----------------------------------------------------------------------

    def take_persist(self) -> tuple | None:
        """Return the next group write (seq, term, vote, count, records, base, base_term, chunk,
        first), None for nothing.

        At most one is in flight: the next is handed out after ``persisted``.
        """
        cdef GroupWrite w
        if not self.next_write(&w):
            return None
        return (w.seq, w.term, w.vote, w.count, w.records[:w.size], w.base, w.base_term,
                w.chunk[:w.chunk_size] if w.chunk_size else b"", w.first)

    cdef size_t _write_limit(self) noexcept nogil:
        """How many bytes of entries may be written at once. Each write carries one chunk of the
        snapshot that is being made; where the log grows much faster than that gets on, entries
        give way, or the log in memory would become many times as large as the state."""
        if (self.making.index and self.raft.log.offset_of(self.raft.log.last() + 1)
                - self.raft.log.offset_of(self.raft.snapshot.index + 1) > 2 * self.snapshot_bytes):
            return min(self.max_write_bytes, 2 * self.chunk_bytes)
        return self.max_write_bytes

    cdef bint next_write(self, GroupWrite* w) except -1:
        """Fill in the next group write; False for nothing. Its records stay where they are until
        the log changes."""
        cdef Raft raft = self.raft
        cdef uint64_t begin = raft.next_persist, end = begin
        cdef const Record* chunk
        if raft.writing:
            return False
        chunk = self._next_chunk()
        if chunk is NULL and raft.durable_version == raft.state_version and begin > raft.log.last():
            return False
        must(begin >= raft.log.first, b"writes entries that are gone", begin, raft.log.first)
        w.records = b""
        w.size = 0
        w.base = begin - 1
        w.base_term = raft.log.term_at(w.base)
        w.chunk = <const char*>chunk
        w.chunk_size = chunk.length if chunk is not NULL else 0
        w.first = raft.log.first
        # (what comes from the leader's snapshot goes alone: with its last chunk it voids the log)
        if begin <= raft.log.last() and self.chunk_written != INCOMING_CHUNK:
            end = raft.log.range_end(begin, self._write_limit())
            w.records = raft.log.range_bytes(begin, end, &w.size)
        raft.writing = True
        raft.write_seq += 1
        raft.writing_last = end - 1
        raft.writing_version = raft.state_version
        raft.writing_since_ns = raft.now_ns
        raft.next_persist = end
        w.seq = raft.write_seq
        w.term = raft.log.last_term() if MUTANT(TERM_NOT_PERSISTED) else raft.term
        w.vote = 0 if MUTANT(VOTE_NOT_PERSISTED) else raft.vote
        w.count = <uint32_t>(end - begin)
        return True

    def take_output(self) -> list:
        """Return and forget what is to be sent: (0, member, bytes) and (1, connection, bytes)."""
        cdef list out = []
        cdef int i
        cdef uint32_t id
        cdef Connection* c
        for i in range(self.raft.places):
            if buffer_size(&self.raft.peers[i].out):
                out.append((PEER, self.raft.peers[i].node, taken(&self.raft.peers[i].out)))
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

    def reply(self, uint32_t connection, uint64_t request, uint8_t status, bytes value) -> None:
        """Answer an administrative request; nothing happens if the connection is gone."""
        cdef Connection* c = self._connection(connection)
        if c is not NULL:
            self._respond(c, request, status, True, value, len(value), self.kv.applied)

    def deadline_ns(self) -> int:
        """When ``tick`` must be called at the latest."""
        return self.raft.deadline_ns()

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
            "leader": raft.leader, "commit": raft.commit, "applied": self.kv.applied,
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
        }


cdef int leave_rest(Buffer* b, const char* p, size_t at, size_t size) except -1 nogil:
    """Keep the incomplete frame at ``p + at``; what came before it was dealt with."""
    if buffer_size(b):
        buffer_consume(b, at)
        return 0
    return buffer_append(b, p + at, size - at)


cdef bytes without_outgoing(bytes payload):
    """What a planted bug makes of a configuration."""
    found = Configuration.decode(payload)
    return found.leave_joint().encode() if found.joint else payload


cdef bytes taken(Buffer* b):
    """Move a buffer's content out; a buffer that grew beyond the ordinary is given back."""
    cdef bytes out = PyBytes_FromStringAndSize(b.data + b.start, buffer_size(b))
    buffer_consume(b, buffer_size(b))
    if b.capacity > ORDINARY_OUTPUT_BYTES:
        buffer_free(b)
    return out
