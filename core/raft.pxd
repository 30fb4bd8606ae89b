from libc.stdint cimport uint32_t, uint64_t

from seatrial.core.raft_elections cimport RaftElections

cdef class Raft(RaftElections):
    cdef int step(self, uint32_t sender, const char* frame, uint64_t now_ns) except -1 nogil
    cdef int tick(self, uint64_t now_ns) except -1 nogil
    cdef int pump(self, uint64_t now_ns) except -1 nogil
    cdef int persisted(self, uint64_t seq, uint64_t now_ns) except -1 nogil
    cdef int peer_up(self, uint32_t node, uint64_t now_ns) except -1 nogil
    cdef int peer_down(self, uint32_t node) except -1 nogil
