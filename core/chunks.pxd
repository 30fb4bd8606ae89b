from libc.stdint cimport uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport Record

cdef enum:
    LAST_CHUNK = 1              # Record.flags of a SNAPSHOT record
    CHUNK_BYTES = 1 << 16       # of the stream, in one record

cdef class Chunks:
    cdef readonly uint64_t index        # of the last entry that the snapshot holds; 0: none yet
    cdef readonly uint64_t term
    cdef readonly uint64_t size         # bytes of the stream so far
    cdef readonly uint32_t crc          # of those
    cdef readonly bint complete
    cdef uint64_t version               # how often it began anew
    cdef Buffer records                 # SNAPSHOT records, back to back
    cdef Buffer starts                  # where in ``records`` each begins (size_t)

    cdef void clear(self, uint64_t index, uint64_t term) noexcept nogil
    cdef void give_back(self) noexcept nogil
    cdef bint continues(self, const Record* r) noexcept nogil
    cdef bint contradicts(self, const Record* r) noexcept nogil
    cdef int add(self, const Record* r) except -1 nogil
    cdef Record* open_chunk(self) except NULL nogil
    cdef int close_chunk(self, bint last) except -1 nogil
    cdef uint64_t count(self) noexcept nogil
    cdef const Record* chunk(self, uint64_t number) noexcept nogil
    cdef uint64_t number_at(self, uint64_t offset) noexcept nogil
    cdef uint64_t state_hash(self) noexcept nogil
