# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.map cimport map as cmap
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map

from seatrial.core.codec cimport Command, Record

cdef struct Outcome:        # what applying an entry answers; `value` is valid until the next call
    uint8_t status
    bint has_value
    const char* value
    size_t value_length

cdef cppclass Session:
    uint64_t sequence       # of the newest write applied
    uint64_t used           # index of the entry that last used the session
    uint8_t status          # the stored answer to that write
    bint has_value
    string value

cdef class KeyValue:
    cdef unordered_map[string, string] data
    cdef unordered_map[uint64_t, Session] sessions
    cdef cmap[uint64_t, uint64_t] by_use        # entry index -> session, oldest first
    cdef readonly uint64_t applied              # index of the newest entry applied
    cdef readonly uint64_t duplicates           # retries answered from the table
    cdef string seen                            # holds an Outcome's value

    cdef int apply(self, const Record* record, Outcome* out) except -1 nogil
    cdef void read(self, const char* key, size_t size, Outcome* out) noexcept nogil
    cdef void _execute(self, const Command* c, size_t size, Outcome* out) noexcept nogil
    cdef void _open_session(self, uint64_t client, uint64_t index,
                            uint64_t max_sessions) noexcept nogil
    cdef void _touch(self, uint64_t client, Session* s, uint64_t index) noexcept nogil
