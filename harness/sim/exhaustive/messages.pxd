# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer
from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry

cdef struct Kind:               # of a message
    uint8_t type
    uint8_t flags

cdef struct Queue:
    uint32_t first              # message
    uint32_t rest               # queue behind it
    uint32_t length

cdef class Messages:
    cdef RaftEncoding states
    cdef Symmetry symmetry
    cdef unordered_map[string, uint32_t] numbers
    cdef vector[string] messages
    cdef vector[Kind] kinds
    cdef vector[Print] prints               # symmetry.count for each message
    cdef vector[Queue] queues               # 0: the empty one
    cdef vector[Print] queue_prints         # symmetry.count for each queue
    cdef unordered_map[uint64_t, uint32_t] longer   # queue << 32 | message -> queue
    cdef Buffer scratch

    cdef int number(self, const char* frame) except -1
    cdef int put_frame(self, const char* frame, const uint32_t* names) except -1
    cdef dict fields(self, uint32_t number)
    cdef size_t memory_bytes(self)
    cdef uint32_t pushed(self, uint32_t queue, uint32_t message) noexcept nogil
