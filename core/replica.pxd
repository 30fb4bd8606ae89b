# distutils: language = c++
from libc.stdint cimport uint32_t, uint64_t

from seatrial.core.replica_writes cimport ReplicaWrites

cdef class Replica(ReplicaWrites):
    cdef int _notice(self, uint32_t peer, const char* frame, size_t size) except -1 nogil

    # What the shell's methods do, for C callers: without Python objects.
    cdef int feed_peer(self, uint32_t peer, const char* p, size_t size,
                       uint64_t now_ns) except -1 nogil
    cdef int feed_client(self, uint32_t connection, const char* p, size_t size) except -1 nogil
    cdef int settle(self, uint64_t now_ns) except -1 nogil
