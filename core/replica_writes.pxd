# distutils: language = c++
from libc.stdint cimport uint32_t, uint64_t

from seatrial.core.replica_requests cimport ReplicaRequests

cdef struct GroupWrite:     # what a node writes and syncs at once
    uint64_t seq
    uint64_t term
    uint64_t vote
    uint32_t count
    const char* records
    size_t size
    uint64_t base           # the entry after which the records go; without any: the last
    uint64_t base_term
    const char* chunk       # one SNAPSHOT record, or NULL
    size_t chunk_size
    uint64_t first          # entries below it are needless once a complete snapshot holds them

cdef class ReplicaWrites(ReplicaRequests):
    cdef size_t _write_limit(self) noexcept nogil
    cdef bint next_write(self, GroupWrite* w) except -1     # for C callers: no Python objects
    cdef int synced(self, uint64_t seq, uint64_t now_ns) except -1
