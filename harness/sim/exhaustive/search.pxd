# distutils: language = c++
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.visited cimport Visited

cdef enum:
    MAX_WORDS = 32              # of a state: nodes, connections, pasts, counters

cdef class Search:
    cdef readonly object scope
    cdef dict kinds                         # action -> its name
    cdef int words
    cdef Visited visited
    cdef uint32_t[MAX_WORDS] start          # the first state that is explored,
    cdef readonly list prefix               # and how it came there
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

    cdef int _try(self, const uint32_t* s, int kind, int node, int other) except -1 nogil

    # What there is to explore: the space says.
    cdef int _expand(self, const uint32_t* s) except -1 nogil
    cdef int _take(self, uint32_t* s, int kind, int node, int other) except -1 nogil
    cdef Print _print(self, const uint32_t* s) noexcept nogil
