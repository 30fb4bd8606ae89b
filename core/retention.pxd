from libc.stdint cimport uint8_t, uint64_t, uint32_t

from seatrial.core.group_write cimport GroupWrite

cdef enum:
    LAST_CHUNK = 1               # Record.flags

cdef enum Fate:                  # of a chunk
    CHUNK_STRAY                  # it continues nothing
    CHUNK_TAKEN
    CHUNK_LAST                   # and its snapshot is complete now

cdef struct Stream:              # of a snapshot's chunks; index 0: none
    uint64_t index               # the last entry included
    uint64_t term
    uint64_t size                # of its bytes so far
    uint32_t crc                 # and theirs
    uint64_t sequence            # the segment that holds its first chunk

cdef class Retention:
    cdef Stream partial          # the newest snapshot that is not complete
    cdef Stream complete         # the newest that is
    cdef uint64_t last           # index of the newest entry
    cdef uint64_t damaged_until  # how far the log went before damage, or 0: all of that is there
    cdef uint64_t sequence       # of the newest segment,
    cdef uint64_t low            # and the smallest index that it holds, or would
    cdef list lows               # of (sequence, low) of those before it

    cdef int clear(self) except -1
    cdef int begin(self, uint64_t sequence) except -1
    cdef bint continues(self, const uint8_t* record) noexcept nogil
    cdef Fate take_chunk(self, const uint8_t* record) noexcept nogil
    cdef void take_entries(self, uint64_t first, uint64_t last) noexcept nogil
    cdef int take_group(self, uint64_t sequence, const GroupWrite* group) except -1
    cdef int recovered(self, uint64_t last, uint64_t damaged_until) noexcept
    cdef uint64_t needless(self, uint64_t first) except? 0
