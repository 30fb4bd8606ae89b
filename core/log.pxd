from libc.stdint cimport uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport Record

cdef struct Slot:
    uint64_t offset         # of the record, counted from the log's first byte ever
    uint64_t term
    uint64_t request        # who waits for it here (a client's request id)
    uint32_t connection     # and on which connection; 0: nobody
    uint32_t length

cdef class Log:
    cdef Buffer arena       # the records [first, last], back to back
    cdef uint64_t arena_offset  # what `offset` of the arena's first byte is
    cdef Slot* slots
    cdef size_t head        # slots[head] is entry `first`
    cdef size_t count
    cdef size_t capacity
    cdef uint64_t first     # index of the first entry held (1 until compaction)
    cdef uint64_t base_term  # term of entry first - 1 (0 at the beginning)
    cdef uint64_t observed  # invariants.pyx saw the entries up to here; no later one was cut since

    cdef uint64_t last(self) noexcept nogil
    cdef uint64_t last_term(self) noexcept nogil
    cdef uint64_t term_at(self, uint64_t index) noexcept nogil
    cdef bint holds(self, uint64_t index) noexcept nogil
    cdef Slot* slot(self, uint64_t index) noexcept nogil
    cdef Record* record(self, uint64_t index) noexcept nogil
    cdef uint64_t offset_of(self, uint64_t index) noexcept nogil
    cdef Record* append(self, const Record* record) except NULL nogil
    cdef Record* reserve(self, size_t length) except NULL nogil
    cdef int truncate(self, uint64_t index) except -1 nogil
    cpdef int compact(self, uint64_t index) except -1 nogil
    cpdef int restart(self, uint64_t index, uint64_t term) except -1 nogil
    cdef int give_back(self) except -1 nogil
    cdef uint64_t range_end(self, uint64_t begin, size_t max_bytes) noexcept nogil
    cdef const char* range_bytes(self, uint64_t begin, uint64_t end, size_t* n) noexcept nogil
