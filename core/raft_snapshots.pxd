from libc.stdint cimport uint64_t

from seatrial.core.codec cimport Message
from seatrial.core.progress cimport Progress
from seatrial.core.raft_following cimport RaftFollowing

cdef class RaftSnapshots(RaftFollowing):
    cdef void _resumed(self) noexcept nogil
    cdef int _send_snapshot(self, Progress* p, uint64_t now_ns) except -1 nogil
    cdef bint sending(self, uint64_t now_ns) noexcept nogil
    cdef int _on_snapshot(self, const Message* m, uint64_t now_ns) except -1 nogil
    cdef int _flush_snapshot_ack(self) except -1 nogil
    cdef int _on_snapshot_reply(self, Progress* p, const Message* m,
                                uint64_t now_ns) except -1 nogil
    cdef int compact(self, uint64_t index) except -1 nogil
    cdef int restore_snapshot(self, const char* configuration, size_t size) except -1
    cdef int install(self, const char* configuration, size_t size) except -1
