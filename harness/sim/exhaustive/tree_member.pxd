# distutils: language = c++
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.domain_encoding cimport DomainEncoding
from seatrial.harness.sim.exhaustive.member cimport Member

cdef enum:                      # Sent.node
    UPWARD = 64                 # to the parent's node, on the uplink
    DOWNWARD = 128              # + the child's node: on its link

cdef class TreeMember(Member):
    cdef readonly uint16_t domain
    cdef dict options           # what the replica is told of the tree
    cdef DomainEncoding rest
    cdef Buffer more
    cdef uint64_t clock_ns      # what its clock shows in the next step

    cdef int _linked(self, int kind, uint32_t other, const char* message) except -1
    cdef int _change_tree(self, int kind, uint16_t domain) except -1
    cdef int _take_frames(self, uint32_t to, const char* p, const char* end) except -1

cdef uint64_t clock_of(uint32_t time) noexcept nogil
cdef uint32_t time_of(uint64_t ns) noexcept nogil
