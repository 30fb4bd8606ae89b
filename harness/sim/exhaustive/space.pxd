# distutils: language = c++
from libc.stdint cimport uint32_t

from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.messages cimport Messages
from seatrial.harness.sim.exhaustive.properties cimport Properties
from seatrial.harness.sim.exhaustive.search cimport Search
from seatrial.harness.sim.exhaustive.transitions cimport Local, Transitions

cdef class Space(Search):
    cdef int nodes
    cdef int past                           # where in a state that is
    cdef RaftEncoding states
    cdef Messages messages
    cdef Transitions transitions
    cdef Properties properties

    cdef int _queue(self, int sender, int receiver) noexcept nogil
    cdef const Local* _local(self, const uint32_t* s, int node) noexcept nogil
    cdef bint _may(self, uint32_t* s, int kind) noexcept nogil
    cdef int _step(self, uint32_t* s, int node, int kind, uint32_t other,
                   uint32_t message) except -1 nogil
    cdef int _crash(self, uint32_t* s, int node) except -1 nogil
    cdef int _restart(self, uint32_t* s, int node) except -1 nogil
    cdef bint _late(self, const uint32_t* s, int node, uint32_t message) noexcept nogil
    cdef int _expand_node(self, const uint32_t* s, int i) except -1 nogil
