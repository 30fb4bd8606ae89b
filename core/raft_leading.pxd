from libc.stdint cimport uint8_t, uint32_t, uint64_t

from seatrial.core.codec cimport Message, Record
from seatrial.core.progress cimport Progress
from seatrial.core.raft_rounds cimport RaftRounds

cdef class RaftLeading(RaftRounds):
    cdef int propose(self, uint8_t kind, uint64_t client, uint64_t sequence, const char* payload,
                     size_t size, uint32_t connection, uint64_t request) except -1 nogil
    cdef int propose_two(self, uint8_t kind, const char* head, size_t head_size,
                         const char* rest, size_t rest_size) except -1 nogil
    cdef int _propose(self, uint8_t kind, uint64_t client, uint64_t sequence, const char* payload,
                      size_t size, const char* rest, size_t rest_size, uint32_t connection,
                      uint64_t request) except -1 nogil
    cdef int copy(self, const Record* theirs) except -1 nogil
    cdef bint assigns(self) noexcept nogil
    cdef uint64_t epoch(self) noexcept nogil
    cdef int _leave_joint(self) except -1 nogil
    cdef int _send_append(self, Progress* p, uint64_t end) except -1 nogil
    cdef int _send_appends(self, Progress* p, uint64_t now_ns) except -1 nogil
    cdef int _advance_commit(self) except -1 nogil
    cdef int _matched(self, Progress* p, uint64_t index) except -1 nogil
    cdef int _on_append_reply(self, Progress* p, const Message* m, uint64_t now_ns) except -1 nogil
    cdef int _on_heartbeat_reply(self, Progress* p, const Message* m,
                                 uint64_t now_ns) except -1 nogil
