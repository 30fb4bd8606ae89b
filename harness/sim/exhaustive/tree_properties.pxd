# distutils: language = c++
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Local
from seatrial.harness.sim.exhaustive.tree_transitions cimport Part, TreeTransitions

cdef struct TreePast:           # what nobody may ever contradict
    uint8_t count               # of root entries that somebody has applied
    uint8_t[4] applied          # how many somebody in each domain has
    uint16_t[24] history        # their numbers, without local coordinates

cdef class TreeProperties:
    cdef TreeTransitions transitions
    cdef RaftEncoding states
    cdef Symmetry symmetry
    cdef int nodes
    cdef int[4] domain_of                   # place of a node -> of its domain, the root's is 0
    cdef int domains
    cdef unordered_map[string, uint32_t] numbers
    cdef vector[TreePast] pasts
    cdef vector[Print] prints               # symmetry.count for each

    cdef uint32_t number(self, TreePast* past) except *
    cdef uint32_t changed(self, const uint32_t* now, uint32_t past, uint32_t before,
                          uint32_t after) except? 0 nogil
    cdef int leases(self, const uint32_t* now, uint32_t past, uint64_t now_ns) except -1 nogil
    cdef int _mirror_changed(self, const uint32_t* now, TreePast* past,
                             uint32_t after) except -1 nogil
    cdef int _agree(self, int node, const uint16_t* a, int a_end, int other, const uint16_t* b,
                    int b_end) except -1 nogil
    cdef int _applies(self, const uint32_t* now, TreePast* past, uint32_t before,
                      uint32_t after) except -1 nogil
    cdef int _held_until_released(self, TreePast* past, int rindex,
                                  uint16_t fresh) except -1 nogil
    cdef int _held_as_told(self, const uint32_t* now, TreePast* past) except -1 nogil
