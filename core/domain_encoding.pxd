# distutils: language = c++
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.domain cimport Domain
from seatrial.core.downlinks cimport Downlink
from seatrial.core.mirror cimport Coordinates
from seatrial.core.raft cimport Raft
from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.core.replica cimport Replica
from seatrial.core.root_commit cimport Child

cdef class DomainEncoding:
    cdef RaftEncoding states
    cdef uint64_t begin_ns      # no clock shows less,
    cdef uint64_t jump_ns       # and between two of its jumps none gets on by an election timeout

    cdef int put_time(self, Buffer* out, uint64_t at_ns, bint gone) except -1
    cdef uint64_t get_time(self, const char** p) noexcept
    cdef int encode(self, Replica r, uint64_t now_ns, Buffer* out,
                    const uint32_t* names) except -1
    cdef int decode(self, Replica r, uint64_t now_ns, const char* p) except -1
    cdef int encode_frame(self, const char* frame, Buffer* out,
                          const uint32_t* names) except -1
    cdef int decode_frame(self, const char* p, uint32_t sender, Buffer* out) except -1

    cdef int _put_raft(self, Raft r, uint64_t now_ns, Buffer* out,
                       const uint32_t* names) except -1
    cdef int _get_raft(self, Raft r, const char** p) except -1
    cdef int _put_children(self, Domain d, uint64_t now_ns, Buffer* out) except -1
    cdef int _get_children(self, Domain d, const char** p) except -1
    cdef int _put_downlinks(self, Domain d, uint64_t now_ns, Buffer* out,
                            const uint32_t* names) except -1
    cdef int _put_downlink(self, Domain d, const Downlink* link, uint64_t now_ns,
                           Buffer* out) except -1
    cdef int _get_downlinks(self, Domain d, const char** p) except -1
    cdef int _put_uplink(self, Domain d, uint64_t now_ns, Buffer* out,
                         const uint32_t* names) except -1
    cdef int _get_uplink(self, Domain d, const char** p) except -1
