from libc.stdint cimport uint32_t, uint64_t

from seatrial.core.codec cimport Message
from seatrial.core.progress cimport Progress
from seatrial.core.raft_leading cimport RaftLeading

cdef class RaftElections(RaftLeading):
    cdef bint _withholds_votes(self, uint64_t now_ns) noexcept nogil
    cdef int _pre_campaign(self, uint64_t now_ns) except -1 nogil
    cdef int _campaign(self, bint forced, uint64_t now_ns) except -1 nogil
    cdef int _ask_votes(self) except -1 nogil
    cdef int _ask_vote(self, Progress* p) except -1 nogil
    cdef int _count_votes(self, uint64_t now_ns) except -1 nogil
    cdef int _become_leader(self, uint64_t now_ns) except -1 nogil
    cdef bint _up_to_date(self, const Message* m) noexcept nogil
    cdef int _on_pre_vote(self, Progress* p, const Message* m, uint64_t now_ns) except -1 nogil
    cdef int _on_vote(self, const Message* m, uint64_t now_ns) except -1 nogil
    cdef bint transfer(self, uint32_t node, uint64_t now_ns) noexcept nogil
    cdef int _transfer(self) except -1 nogil
    cdef int _on_timeout_now(self, uint64_t now_ns) except -1 nogil
    cdef int _hand_over(self, uint64_t now_ns) except -1 nogil
