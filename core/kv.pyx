# distutils: language = c++
"""The replicated state machine: keys to values, locks, client sessions, and log time. Its entries
are those of the root, which are the same in all domains; local ones are nothing to it.

Deterministic: the same entries give the same state and the same answers on every member. Nothing
but the log decides: no setting of a member's own, and no clock (what the leader's settings and its
clock say is carried by its entries). A write is executed once however often it comes
(sessions.pyx).

Members compare their states: each CLOCK entry tells what the leader's hashed to after an earlier
one, and a member whose own hash differed stops loudly. Better no answer than a wrong one, and a
state that came apart once never heals by itself.

Applying runs without the interpreter.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from cython.operator cimport dereference, preincrement
from libc.string cimport memcpy

from seatrial.core.buffer cimport buffer_free, buffer_init, buffer_size
from seatrial.core.codec cimport (
    COMMAND_SIZE,
    ClockTime,
    KIND_CLOCK,
    KIND_COMMAND,
    KIND_OPEN_SESSION,
    OP_ACQUIRE,
    OP_HOLDER,
    OP_READ,
    OP_RELEASE,
    OP_SCAN,
    OP_TRANSACT,
    OP_WRITE,
    RECORD_SIZE,
    STATUS_BAD_REQUEST,
    STATUS_OK,
    STATUS_SESSION_LOST,
    STATUS_UNKNOWN,
    SessionTerms,
    command_size,
)
from seatrial.core.frozen_map cimport FrozenMap
from seatrial.core.invariant cimport must
from seatrial.core.keys cimport Item
from seatrial.core.marks cimport (
    mark,
    SESSION_STATES_COMPARED,
    SESSION_WRITE_OUTDATED,
    SESSION_WRITE_REPEATED,
)
from seatrial.core.mutant cimport (
    APPLY_TWICE,
    CACHED_ANSWER_WRONG,
    EXPIRY_BY_OWN_CLOCK,
    MUTANT,
    seatrial_arm,
    SNAPSHOT_WITHOUT_LOG_TIME,
)
from seatrial.core.outcome cimport answer, answer_with
from seatrial.core.snapshot cimport hash_of
from seatrial.core.transaction cimport transact

from seatrial.core.errors import CorruptSnapshot


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class KeyValue:
    def __cinit__(self):
        self.keys = Keys()
        self.locks = Locks()
        self.sessions = Sessions()
        self.writer = SnapshotWriter()

    # ---- entries -----------------------------------------------------------------------

    cdef int apply(self, const Record* record, Outcome* out) except -1 nogil:
        """Apply a committed entry, which must be the next; ``out`` is what to answer."""
        must(record.rindex == self.applied + 1, b"applies out of order", record.rindex,
             self.applied)
        self.applied = record.rindex
        answer(out, STATUS_OK)
        if record.kind == KIND_COMMAND:
            return self._command(record, out)
        if record.kind == KIND_OPEN_SESSION:
            self._open_session(record, out)
        elif record.kind == KIND_CLOCK:
            return self._clock(record)
        return 0

    cdef void _open_session(self, const Record* record, Outcome* out) noexcept nogil:
        """Open a session under the nonce ``client``; answer its id."""
        cdef SessionTerms terms
        if record.length != RECORD_SIZE + sizeof(terms) or record.rindex == 0:
            answer(out, STATUS_BAD_REQUEST)
            return
        memcpy(&terms, <const char*>record + RECORD_SIZE, sizeof(terms))
        self.opened = self.sessions.open(record.client, record.rindex, record.rindex,
                                         self.log_time_ns, terms.max_sessions, terms.ttl_ns)
        answer_with(out, STATUS_OK, <const char*>&self.opened, sizeof(self.opened))

    cdef int _command(self, const Record* record, Outcome* out) except -1 nogil:
        cdef Session* s
        if record.sequence == 0:
            answer(out, STATUS_BAD_REQUEST)
            return 0
        s = self.sessions.use(record.client, record.rindex, self.log_time_ns)
        if s is NULL:
            answer(out, STATUS_SESSION_LOST)
            return 0
        self._once(s, record, out)
        self.sessions.settle(s)
        return 0

    cdef void _once(self, Session* s, const Record* record, Outcome* out) noexcept nogil:
        """Execute a session's next write; answer one that was executed as it was then."""
        if record.sequence == s.sequence and not MUTANT(APPLY_TWICE):
            self.duplicates += 1
            mark(SESSION_WRITE_REPEATED)
            if MUTANT(CACHED_ANSWER_WRONG):
                return
            out.status = s.status
            out.has_value = s.has_value
            out.value = s.value.data()
            out.value_length = s.value.size()
        elif record.sequence < s.sequence:
            mark(SESSION_WRITE_OUTDATED)
            answer(out, STATUS_UNKNOWN)     # an old copy: its answer is no longer kept
        else:
            self._execute(record, out)
            self.sessions.answered(s, record.sequence, out)

    cdef void _execute(self, const Record* record, Outcome* out) noexcept nogil:
        cdef const Command* c = <const Command*>(<const char*>record + RECORD_SIZE)
        cdef size_t size = record.length - RECORD_SIZE
        if size < COMMAND_SIZE or command_size(c) != size:
            answer(out, STATUS_BAD_REQUEST)
        elif OP_WRITE <= c.op < OP_TRANSACT:
            self.keys.execute(c, out)
        elif c.op == OP_TRANSACT:
            transact(self.keys, c, out)
        elif OP_ACQUIRE <= c.op <= OP_RELEASE:
            self.locks.execute(c, record.rindex, self.log_time_ns, out)
        else:
            answer(out, STATUS_BAD_REQUEST)

    cdef int _clock(self, const Record* record) except -1 nogil:
        """Let log time pass, and compare this state with the leader's. It never goes back."""
        cdef ClockTime clock
        cdef Hashed* h
        cdef uint64_t now_ns
        cdef int i
        if record.length != RECORD_SIZE + sizeof(clock):
            return 0
        memcpy(&clock, <const char*>record + RECORD_SIZE, sizeof(clock))
        if clock.log_time_ns > self.log_time_ns:
            self.log_time_ns = now_ns = clock.log_time_ns
            if MUTANT(EXPIRY_BY_OWN_CLOCK):
                now_ns = max(now_ns, self.own_ns)
            self.sessions.expire(now_ns)
            self.locks.expire(now_ns)
        for i in range(CLOCKS):
            h = &self.hashed[i]
            if h.index and h.index == clock.hashed_index:
                mark(SESSION_STATES_COMPARED)
            must(h.index == 0 or h.index != clock.hashed_index or h.hash == clock.state_hash,
                 b"this state differs from the leader's: index, own hash, the leader's", h.index,
                 h.hash, clock.state_hash)
        h = &self.hashed[self.clocks % CLOCKS]
        h.index, h.hash = record.rindex, self.state_hash()
        self.clocks += 1
        return 0

    cdef bint can_expire(self) noexcept nogil:
        """Whether log time matters to anything."""
        return self.sessions.expiring or self.locks.held.size()

    cdef uint64_t state_hash(self) noexcept nogil:
        """A hash of the whole state: equal states, equal hashes."""
        return hash_of(self.keys, self.locks, self.sessions, self.applied, self.log_time_ns)

    cdef Hashed newest_hash(self) noexcept nogil:
        """The newest CLOCK applied, and what the state hashed to then; index 0: none."""
        return self.hashed[(self.clocks - 1) % CLOCKS]

    # ---- questions ---------------------------------------------------------------------

    cdef void read(self, const char* key, size_t size, Outcome* out) noexcept nogil:
        """Look a key up; the answer points into the state until the next change."""
        self.keys.read(key, size, out)

    cdef void query(self, uint8_t op, const char* key, size_t key_size, const char* argument,
                    size_t size, Outcome* out) noexcept nogil:
        """Answer what changes nothing: read, scan, and who holds a lock."""
        if op == OP_READ:
            self.keys.read(key, key_size, out)
        elif op == OP_SCAN:
            self.keys.scan(key, key_size, argument, size, out)
        elif op == OP_HOLDER:
            self.locks.name.assign(key, key_size)
            self.locks.query(self.locks.name, self.log_time_ns, out)
        else:
            answer(out, STATUS_BAD_REQUEST)

    # ---- snapshots ---------------------------------------------------------------------

    cdef int snapshot_begin(self, const char* block, size_t size) except -1 nogil:
        """Fix the state as it is now; ``block`` goes ahead of it."""
        return self.writer.begin(self.keys, self.locks, self.sessions, self.applied,
                                 self.log_time_ns, self.state_hash(), block, size)

    cdef int snapshot_chunk(self, Buffer* out, size_t max_bytes) except -1 nogil:
        """Add the next slice of the stream to ``out``; return 1 if it was the last.

        ``writer.crc`` is of all bytes up to its end, ``writer.offset`` how many those are.
        """
        return self.writer.chunk(self.keys, self.locks, self.sessions, out, max_bytes)

    cdef int snapshot_end(self) except -1 nogil:
        """Give a snapshot up; nothing if there is none."""
        self.writer.end(self.keys, self.locks, self.sessions)
        return 0

    cdef int load_begin(self) except -1:
        """Begin to load a snapshot; another that was being loaded is forgotten."""
        self.reader = SnapshotReader()
        return 0

    cdef int load_end(self) except -1:
        """Give the loading up."""
        self.reader = None
        return 0

    cdef int load_chunk(self, const char* p, size_t size, uint32_t crc,
                        bint last) except -1 nogil:
        """Take the next bytes of a stream; with the last, become that state and return 1.

        ``crc``: of all bytes up to their end. Raises CorruptSnapshot: nothing has changed.
        """
        self.reader.feed(p, size, crc, last)
        if not last:
            return 0
        self.writer.active = False
        with gil:
            self.keys, self.locks = self.reader.keys, self.reader.locks
            self.sessions = self.reader.sessions
            self.applied = self.reader.index
            if not MUTANT(SNAPSHOT_WITHOUT_LOG_TIME):
                self.log_time_ns = self.reader.now_ns
            self.block = self.reader.block
            self.writer = SnapshotWriter()
            self.reader = None
        self.clocks = 0
        for i in range(CLOCKS):
            self.hashed[i].index = 0
        return 1

    # ---- for tests and tools -----------------------------------------------------------

    def execute(self, bytes record) -> tuple:
        """Apply one record; return its answer's status and value."""
        cdef Outcome out
        self.apply(<const Record*>PyBytes_AS_STRING(record), &out)
        return out.status, out.value[:out.value_length] if out.has_value else None

    def ask(self, uint8_t op, bytes key, bytes argument=b"") -> tuple:
        """Answer a query: status and value."""
        cdef Outcome out
        self.query(op, key, len(key), argument, len(argument), &out)
        return out.status, out.value[:out.value_length] if out.has_value else None

    def skip(self, uint64_t entries) -> None:
        """Count so many entries as applied that never were (quorum_recovery.py)."""
        self.applied += entries

    def begin_snapshot(self, bytes block=b"") -> None:
        """Fix the state as it is now."""
        self.snapshot_begin(block, len(block))

    def next_chunk(self, size_t max_bytes=1 << 16) -> tuple:
        """Return the next slice (bytes, crc up to its end, was it the last)."""
        cdef Buffer out
        buffer_init(&out)
        try:
            last = self.snapshot_chunk(&out, max_bytes)
            return out.data[out.start:out.end] if buffer_size(&out) else b"", self.writer.crc, \
                bool(last)
        finally:
            buffer_free(&out)

    def end_snapshot(self) -> None:
        """Give a snapshot up."""
        self.snapshot_end()

    def load(self, chunks) -> bytes:
        """Become the state in a snapshot's chunks; return its block. Raises CorruptSnapshot."""
        self.load_begin()
        done = False
        for data, crc, last in chunks:
            done = self.load_chunk(data, len(data), crc, last)
        if not done:
            raise CorruptSnapshot("snapshot: its last chunk is missing")
        return self.block

    def get(self, bytes key) -> bytes | None:
        """Return a key's value, None when it is absent."""
        cdef Outcome out
        self.read(key, len(key), &out)
        return out.value[:out.value_length] if out.has_value else None

    def items(self) -> dict:
        """Return a copy of all keys and values."""
        cdef string key, value
        cdef FrozenMap[string, Item].iterator at = self.keys.items.begin()
        out = {}
        while at != self.keys.items.end():
            if self.keys.items.value(at).present:
                key, value = dereference(self.keys.items.key(at)), self.keys.items.value(at).value
                out[<bytes>key] = <bytes>value
            preincrement(at)
        return out

    def session_count(self) -> int:
        """Return how many sessions are open."""
        return self.sessions.by_use.size()

    def lock_count(self) -> int:
        """Return how many locks are held."""
        return self.locks.held.size()

    def pre_images(self) -> int:
        """Return how many old values are kept for a snapshot."""
        return (self.keys.items.kept() + self.locks.held.kept() + self.sessions.by_use.kept())

    def keys_hash(self) -> int:
        """Return the part of the state's hash that comes from keys."""
        return self.keys.sum

    def hashes(self) -> dict:
        """Return what the state hashed to at the newest clock entries, by their index."""
        return {self.hashed[i].index: self.hashed[i].hash for i in range(CLOCKS)
                if self.hashed[i].index}

    def hash(self) -> int:
        """Return the hash of the whole state."""
        return self.state_hash()
