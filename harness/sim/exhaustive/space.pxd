# distutils: language = c++
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.actions cimport ACTIONS, MAX_NUMBERINGS
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.messages cimport Messages
from seatrial.harness.sim.exhaustive.properties cimport Properties
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Local, Transitions
from seatrial.harness.sim.exhaustive.visited cimport Visited

cdef enum:
    MAX_WORDS = 20              # of a state: nodes, connections, past, counters

cdef class Space:
    cdef readonly object scope
    cdef int nodes
    cdef int words
    cdef int past                           # where in a state that is,
    cdef int used                           # and 8 bytes of counters
    cdef uint8_t[8] bounds
    cdef RaftEncoding states
    cdef Symmetry symmetry
    cdef Messages messages
    cdef Transitions transitions
    cdef Properties properties
    cdef Visited visited
    cdef uint32_t[MAX_WORDS] origin         # where nobody has done anything,
    cdef uint32_t[MAX_WORDS] start          # the first state that is explored,
    cdef readonly list prefix               # and how it came there
    cdef list told                          # None, but while a trace is played
    cdef uint32_t[MAX_WORDS] reached        # by the newest trace that was played
    cdef vector[uint32_t] frontier          # the states of this depth,
    cdef vector[uint32_t] found             # and the new ones of the next
    cdef uint64_t frontier_first            # number of the first of them
    cdef uint64_t at                        # how many of them were expanded
    cdef vector[uint32_t] parents           # of each state but the first
    cdef vector[uint16_t] actions           # that led from there to it
    cdef readonly int depth
    cdef readonly uint64_t edges
    cdef readonly uint64_t numbered         # how many states they are, if numbers of nodes count
    cdef int orbit                          # how many the state of the newest fingerprint is
    cdef bint collecting                    # what can happen, without going there
    cdef vector[uint16_t] collected
    cdef uint64_t limit
    cdef int action                         # that is being tried
    cdef readonly object violation

    cdef int _queue(self, int sender, int receiver) noexcept nogil
    cdef const Local* _local(self, const uint32_t* s, int node) noexcept nogil
    cdef bint _may(self, uint32_t* s, int kind) noexcept nogil
    cdef int _step(self, uint32_t* s, int node, int kind, uint32_t other,
                   uint32_t message) except -1 nogil
    cdef int _take(self, uint32_t* s, int kind, int node, int other) except -1 nogil
    cdef int _crash(self, uint32_t* s, int node) except -1 nogil
    cdef int _restart(self, uint32_t* s, int node) except -1 nogil
    cdef bint _late(self, const uint32_t* s, int node, uint32_t message) noexcept nogil
    cdef int _try(self, const uint32_t* s, int kind, int node, int other) except -1 nogil
    cdef int _expand(self, const uint32_t* s) except -1 nogil
    cdef int _expand_node(self, const uint32_t* s, int i) except -1 nogil
    cdef Print _print(self, const uint32_t* s) noexcept nogil
