from libc.stdint cimport uint64_t

from seatrial.core.codec cimport Record
from seatrial.core.raft_state cimport RaftState

cdef class RaftMembers(RaftState):
    cdef bint _votes(self) noexcept nogil
    cdef bint _stands(self) noexcept nogil
    cdef bint _alone(self) noexcept nogil
    cdef int _adopt(self, const char* payload, size_t size, uint64_t index) except -1 nogil
    cdef int _adopt_newest(self) except -1 nogil
    cdef bint is_configuration(self, const Record* r) noexcept nogil
    cdef int _configured(self, const Record* r) except -1 nogil
    cdef int _unconfigured(self, uint64_t index) except -1 nogil
    cdef const char* config_at(self, uint64_t index, size_t* size) noexcept nogil
