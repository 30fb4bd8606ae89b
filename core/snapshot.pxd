# distutils: language = c++
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.string cimport string

from seatrial.core.buffer cimport Buffer
from seatrial.core.keys cimport Keys
from seatrial.core.locks cimport Locks
from seatrial.core.sessions cimport Sessions

cdef packed struct SnapshotHead:    # 24 bytes, then the block, then u64 log time
    uint32_t magic
    uint32_t version
    uint64_t index              # of the newest entry whose effect is in it
    uint32_t block_length
    uint32_t reserved

cdef packed struct Piece:       # 8 bytes, then u64 fields, key, value
    uint8_t tag
    uint8_t flags
    uint16_t key_length
    uint32_t value_length

cdef class SnapshotWriter:
    cdef readonly bint active
    cdef readonly uint64_t index
    cdef readonly uint64_t offset       # bytes handed out so far
    cdef readonly uint32_t crc          # of those bytes
    cdef Buffer ready           # encoded, not yet handed out
    cdef uint8_t tag            # what comes next
    cdef uint64_t hash
    cdef uint64_t[3] counts     # of sessions, locks, keys so far

    cdef int begin(self, Keys keys, Locks locks, Sessions sessions, uint64_t index,
                   uint64_t now_ns, uint64_t hash, const char* block, size_t size) except -1 nogil
    cdef int chunk(self, Keys keys, Locks locks, Sessions sessions, Buffer* out,
                   size_t max_bytes) except -1 nogil
    cdef void end(self, Keys keys, Locks locks, Sessions sessions) noexcept nogil
    cdef int _session(self, Sessions sessions) except -1 nogil
    cdef int _lock(self, Locks locks) except -1 nogil
    cdef int _key(self, Keys keys) except -1 nogil
    cdef int _piece(self, uint8_t tag, uint8_t flags, const uint64_t* fields, size_t count,
                    const string* key, const string* value) except -1 nogil

cdef class SnapshotReader:
    cdef Keys keys
    cdef Locks locks
    cdef Sessions sessions
    cdef readonly uint64_t index
    cdef readonly uint64_t now_ns
    cdef string block
    cdef uint32_t crc           # of the bytes taken in so far
    cdef Buffer rest            # bytes of an incomplete piece
    cdef bint begun             # the head was read
    cdef bint complete
    cdef uint8_t tag            # of the newest piece
    cdef uint64_t used          # of the newest session
    cdef string name            # of the newest lock or key
    cdef string value
    cdef uint64_t[3] counts

    cdef int feed(self, const char* p, size_t size, uint32_t crc, bint last) except -1 nogil
    cdef size_t _head(self, const char* p, size_t size) except? 0 nogil
    cdef size_t _take(self, const char* p, size_t size) except? 0 nogil
    cdef int _put(self, const Piece* piece, const uint64_t* fields,
                  const char* key) except -1 nogil
    cdef int _close(self, const uint64_t* fields) except -1 nogil

cdef uint64_t hash_of(Keys keys, Locks locks, Sessions sessions, uint64_t index,
                      uint64_t now_ns) noexcept nogil
