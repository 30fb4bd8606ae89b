# distutils: language = c++
from libc.stdint cimport uint64_t

from seatrial.core.codec cimport Command, Request
from seatrial.core.mirror cimport Coordinates
from seatrial.core.replica_snapshots cimport ReplicaSnapshots
from seatrial.core.replica_state cimport Connection, Read

cdef class ReplicaReads(ReplicaSnapshots):
    cdef int _read(self, Connection* c, const Request* r, const Command* q) except -1 nogil
    cdef int _confirm_reads(self, uint64_t now_ns) except -1 nogil
    cdef bint _read_lost(self, const Read* r) noexcept nogil
    cdef bint _read_ready(self, Read* r, uint64_t now_ns) noexcept nogil
    cdef int _learn_indexes(self) noexcept nogil
    cdef int _serve_reads(self, uint64_t now_ns) except -1 nogil
    cdef int _read_prefix(self, Connection* c, const Request* r, const Command* q) except -1 nogil
    cdef bint _token_lost(self, Coordinates token) noexcept nogil
    cdef int _answer_read(self, Connection* c, Read* r) except -1 nogil
    cdef int _serve_waiting(self, uint64_t now_ns) except -1 nogil
