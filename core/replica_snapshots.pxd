# distutils: language = c++
from libc.stdint cimport uint64_t

from seatrial.core.codec cimport Record
from seatrial.core.replica_state cimport ReplicaState

cdef class ReplicaSnapshots(ReplicaState):
    cdef int _consider_snapshot(self, uint64_t now_ns) except -1 nogil
    cdef bint _snapshot_wanted(self) noexcept nogil
    cdef int _answer_snapshots(self) except -1
    cdef int _begin_snapshot(self) except -1 nogil
    cdef const Record* _next_chunk(self) except? NULL nogil
    cdef int _chunk_durable(self) except -1
    cdef int _drop_incoming(self) except -1 nogil
    cdef int _load(self, const Record* r) except -1
    cdef int _take_piece(self, const Record* r) except -1
    cdef int _take_base(self, const Record* r) except -1
    cdef int _compact(self) except -1
    cdef int _give_back(self) except -1 nogil
