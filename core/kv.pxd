# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.string cimport string

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport Command, Record
from seatrial.core.keys cimport Keys
from seatrial.core.locks cimport Locks
from seatrial.core.outcome cimport Outcome
from seatrial.core.sessions cimport Session, Sessions
from seatrial.core.snapshot cimport SnapshotReader, SnapshotWriter

cdef enum:
    CLOCKS = 8                  # whose hashes a member remembers

cdef struct Hashed:
    uint64_t index              # rindex of a CLOCK; 0: none
    uint64_t hash               # of the state after it

cdef class KeyValue:
    cdef Keys keys
    cdef Locks locks
    cdef Sessions sessions
    cdef SnapshotWriter writer
    cdef SnapshotReader reader
    cdef readonly uint64_t applied              # rindex of the newest entry applied
    cdef readonly uint64_t log_time_ns
    cdef readonly uint64_t duplicates           # retries answered from the table
    cdef Hashed[CLOCKS] hashed
    cdef uint64_t clocks                        # CLOCKs applied: the next one's place
    cdef uint64_t opened                        # holds an Outcome's value
    cdef uint64_t own_ns                        # this node's clock, which must decide nothing
    cdef string block                           # of the snapshot that was loaded

    cdef int apply(self, const Record* record, Outcome* out) except -1 nogil
    cdef void read(self, const char* key, size_t size, Outcome* out) noexcept nogil
    cdef void query(self, uint8_t op, const char* key, size_t key_size, const char* argument,
                    size_t size, Outcome* out) noexcept nogil
    cdef bint can_expire(self) noexcept nogil
    cdef uint64_t state_hash(self) noexcept nogil
    cdef Hashed newest_hash(self) noexcept nogil

    # A snapshot of the state at `applied`, in slices; entries may be applied between them.
    cdef int snapshot_begin(self, const char* block, size_t size) except -1 nogil
    cdef int snapshot_chunk(self, Buffer* out, size_t max_bytes) except -1 nogil    # 1: the last
    cdef int snapshot_end(self) except -1 nogil
    # Loading one: nothing changes before the last chunk, which returns 1.
    cdef int load_end(self) except -1
    cdef int load_begin(self) except -1
    cdef int load_chunk(self, const char* p, size_t size, uint32_t crc,
                        bint last) except -1 nogil

    cdef void _open_session(self, const Record* record, Outcome* out) noexcept nogil
    cdef int _command(self, const Record* record, Outcome* out) except -1 nogil
    cdef void _once(self, Session* s, const Record* record, Outcome* out) noexcept nogil
    cdef void _execute(self, const Record* record, Outcome* out) noexcept nogil
    cdef int _clock(self, const Record* record) except -1 nogil
