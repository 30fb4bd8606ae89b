from libc.stdint cimport uint64_t

from seatrial.core.codec cimport Message
from seatrial.core.progress cimport Progress
from seatrial.core.raft_snapshots cimport RaftSnapshots

cdef class RaftRounds(RaftSnapshots):
    cdef uint64_t _heard_majority_ns(self, uint64_t now_ns) noexcept nogil
    cdef int _send_heartbeat(self, Progress* p) except -1 nogil
    cdef int _begin_round(self, uint64_t now_ns) except -1 nogil
    cdef int _broadcast_heartbeat(self, uint64_t now_ns) except -1 nogil
    cdef int _confirm_rounds(self) except -1 nogil
    cdef uint64_t want_round(self) noexcept nogil
    cdef bint holds_lease(self, uint64_t now_ns) noexcept nogil
    cdef uint64_t read_floor(self) noexcept nogil
    cdef uint64_t ask_read_index(self) noexcept nogil
    cdef int _repeat_ticket(self, uint64_t now_ns) except -1 nogil
    cdef int _on_read_index(self, Progress* p, const Message* m) except -1 nogil
    cdef int _answer_tickets(self) except -1 nogil
    cdef int _on_read_index_reply(self, const Message* m) except -1 nogil
