# distutils: language = c++
"""The replicated state machine: keys to values, and client sessions.

Deterministic: the same entries give the same state and the same answers on every member. A
write is identified by (client, sequence). A session remembers its newest write and its answer,
so that a retry is answered and not applied again (Raft thesis, 6.3). Sessions are opened by
an entry of their own, which carries how many its leader allows: a member's own configuration
must not decide what an entry does. Over that number the one unused for the longest, by log
index and not by time, is forgotten, and its client is told "session-lost" instead of being
served a second time. Sequences begin with 1: a session that has written nothing stands at 0.

Hash tables are the C++ library's: applying runs without the interpreter.
"""
from cython.operator cimport dereference, preincrement
from libc.string cimport memcmp, memcpy

from seatrial.core.codec cimport (
    COMMAND_SIZE,
    HAS_EXPECTED,
    KIND_COMMAND,
    KIND_OPEN_SESSION,
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_WRITE,
    RECORD_SIZE,
    STATUS_BAD_REQUEST,
    STATUS_CAS_MISMATCH,
    STATUS_OK,
    STATUS_SESSION_LOST,
    STATUS_TOO_LARGE,
    STATUS_UNKNOWN,
    command_size,
)
from seatrial.core.invariant cimport must
from seatrial.core.mutant cimport (
    APPLY_TWICE,
    CACHED_ANSWER_WRONG,
    MUTANT,
    seatrial_arm,
)

cdef enum:
    MAX_VALUE_BYTES = 1 << 24   # part of the format: every member must refuse alike


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class KeyValue:
    def __cinit__(self):
        self.applied = 0

    cdef int apply(self, const Record* record, Outcome* out) except -1 nogil:
        """Apply a committed entry, which must be the next; ``out`` is what to answer."""
        cdef const Command* c = <const Command*>(<const char*>record + RECORD_SIZE)
        cdef unordered_map[uint64_t, Session].iterator found
        cdef Session* s
        cdef uint64_t max_sessions
        must(record.index == self.applied + 1, b"applies out of order", record.index,
             self.applied)
        self.applied = record.index
        out.status = STATUS_OK
        out.has_value = False
        out.value = NULL
        out.value_length = 0
        if record.kind == KIND_OPEN_SESSION:
            if record.length != RECORD_SIZE + sizeof(max_sessions):
                out.status = STATUS_BAD_REQUEST
                return 0
            memcpy(&max_sessions, c, sizeof(max_sessions))
            self._open_session(record.client, record.index, max_sessions)
            return 0
        if record.kind != KIND_COMMAND:
            return 0
        if record.sequence == 0:
            out.status = STATUS_BAD_REQUEST
            return 0
        found = self.sessions.find(record.client)
        if found == self.sessions.end():
            out.status = STATUS_SESSION_LOST
            return 0
        s = &dereference(found).second
        self._touch(record.client, s, record.index)
        if record.sequence == s.sequence and not MUTANT(APPLY_TWICE):
            self.duplicates += 1
            if MUTANT(CACHED_ANSWER_WRONG):
                return 0
            out.status = s.status
            out.has_value = s.has_value
            out.value = s.value.data()
            out.value_length = s.value.size()
            return 0
        if record.sequence < s.sequence:
            out.status = STATUS_UNKNOWN     # an old copy: its answer is no longer kept
            return 0
        self._execute(c, record.length - RECORD_SIZE, out)
        s.sequence = record.sequence
        s.status = out.status
        s.has_value = out.has_value
        s.value.assign(out.value, out.value_length)
        return 0

    cdef void _touch(self, uint64_t client, Session* s, uint64_t index) noexcept nogil:
        self.by_use.erase(s.used)
        s.used = index
        self.by_use[index] = client

    cdef void _open_session(self, uint64_t client, uint64_t index,
                            uint64_t max_sessions) noexcept nogil:
        cdef unordered_map[uint64_t, Session].iterator found = self.sessions.find(client)
        cdef Session* s
        if found != self.sessions.end():
            self._touch(client, &dereference(found).second, index)
            return
        while not self.sessions.empty() and self.sessions.size() >= max_sessions:
            self.sessions.erase(dereference(self.by_use.begin()).second)
            self.by_use.erase(self.by_use.begin())
        s = &self.sessions[client]
        s.sequence = 0
        s.used = index
        s.status = STATUS_OK
        s.has_value = False
        self.by_use[index] = client

    cdef void _execute(self, const Command* c, size_t size, Outcome* out) noexcept nogil:
        cdef const char* p = <const char*>c + COMMAND_SIZE
        cdef string key
        cdef unordered_map[string, string].iterator at
        cdef bint present, equal
        if size < COMMAND_SIZE or command_size(c) != size:
            out.status = STATUS_BAD_REQUEST
            return
        key.assign(p, c.key_length)
        p += c.key_length
        if c.op == OP_WRITE:
            self.data[key].assign(p, c.value_length)
        elif c.op == OP_APPEND:
            at = self.data.find(key)
            present = at != self.data.end()
            if (dereference(at).second.size() if present else 0) + c.value_length > MAX_VALUE_BYTES:
                out.status = STATUS_TOO_LARGE
                return
            self.data[key].append(p, c.value_length)
        elif c.op == OP_DELETE:
            self.data.erase(key)
        elif c.op == OP_CAS:
            at = self.data.find(key)
            present = at != self.data.end()
            if c.flags & HAS_EXPECTED:
                equal = (present and dereference(at).second.size() == c.expected_length
                         and memcmp(dereference(at).second.data(), p + c.value_length,
                                    c.expected_length) == 0)
            else:
                equal = not present
            if equal:
                self.data[key].assign(p, c.value_length)
                return
            out.status = STATUS_CAS_MISMATCH
            if present:
                self.seen = dereference(at).second
                out.has_value = True
                out.value = self.seen.data()
                out.value_length = self.seen.size()
        else:
            out.status = STATUS_BAD_REQUEST

    cdef void read(self, const char* key, size_t size, Outcome* out) noexcept nogil:
        """Look a key up; the answer points into the table until the next change."""
        cdef string name
        cdef unordered_map[string, string].iterator at
        name.assign(key, size)
        at = self.data.find(name)
        out.status = STATUS_OK
        out.has_value = at != self.data.end()
        out.value = NULL
        out.value_length = 0
        if out.has_value:
            out.value = dereference(at).second.data()
            out.value_length = dereference(at).second.size()

    def get(self, bytes key) -> bytes | None:
        """Return a key's value, None when it is absent."""
        cdef Outcome out
        self.read(key, len(key), &out)
        return out.value[:out.value_length] if out.has_value else None

    def items(self) -> dict:
        """Return a copy of all keys and values."""
        cdef unordered_map[string, string].iterator at = self.data.begin()
        out = {}
        while at != self.data.end():
            out[<bytes>dereference(at).first] = <bytes>dereference(at).second
            preincrement(at)
        return out

    def session_count(self) -> int:
        """Return how many sessions are open."""
        return self.sessions.size()
