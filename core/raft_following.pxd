from libc.stdint cimport uint64_t

from seatrial.core.codec cimport Message
from seatrial.core.raft_members cimport RaftMembers

cdef class RaftFollowing(RaftMembers):
    cdef int _follow(self, const Message* m, uint64_t now_ns) except -1 nogil
    cdef int _verified(self, uint64_t index) noexcept nogil
    cdef uint64_t _sure(self) noexcept nogil
    cdef int _flush_ack(self) except -1 nogil
    cdef int _truncate(self, uint64_t index) except -1 nogil
    cdef int _reply_append(self, const Message* m, bint rejected, uint64_t index,
                           uint64_t log_term) except -1 nogil
    cdef uint64_t _guess_match(self, uint64_t index, uint64_t term) noexcept nogil
    cdef int _on_append(self, const Message* m, uint64_t now_ns) except -1 nogil
    cdef int _on_heartbeat(self, const Message* m, uint64_t now_ns) except -1 nogil
