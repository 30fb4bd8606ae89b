# distutils: language = c++
from libc.stdint cimport uint32_t
from libcpp.vector cimport vector

from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.properties cimport Properties
from seatrial.harness.sim.exhaustive.search cimport Search
from seatrial.harness.sim.exhaustive.transitions cimport Local
from seatrial.harness.sim.exhaustive.tree_messages cimport TreeMessages
from seatrial.harness.sim.exhaustive.tree_properties cimport TreeProperties
from seatrial.harness.sim.exhaustive.tree_transitions cimport Part, TreeTransitions

cdef class TreeSpace(Search):
    cdef int nodes
    cdef int domains
    cdef int[4] domain_of                   # place of a node -> of its domain, the root's is 0
    cdef int[4][4] queues                   # sender, receiver: where in a state that connection is
    cdef int up                             # where in a state what children's leaders sent is,
    cdef int down                           # and what they are sent
    cdef int pasts                          # each domain's past as a group, then the tree's
    cdef int time                           # jumps << 4 | heartbeats
    cdef Properties root                    # of each domain as a group,
    cdef Properties second
    cdef Properties third
    cdef vector[Print] *group_prints[4]      # and the fingerprints of their pasts
    cdef RaftEncoding states
    cdef TreeMessages messages
    cdef TreeTransitions transitions
    cdef TreeProperties properties

    cdef const Local* _local(self, const uint32_t* s, int node) noexcept nogil
    cdef const Part* _part(self, const uint32_t* s, int node) noexcept nogil
    cdef bint _may(self, uint32_t* s, int counter) noexcept nogil
    cdef int _step(self, uint32_t* s, int node, int kind, uint32_t other,
                   uint32_t message) except -1 nogil
    cdef uint32_t _group_changed(self, const uint32_t* s, int domain, uint32_t before,
                                 uint32_t after) except? 0 nogil
    cdef int _happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil
    cdef int _link_happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil
    cdef int _crash(self, uint32_t* s, int node) except -1 nogil
    cdef int _restart(self, uint32_t* s, int node) except -1 nogil
    cdef int _forget_link(self, uint32_t* s, int node) except -1 nogil
    cdef bint _linked(self, const uint32_t* s, int node) noexcept nogil
    cdef int _expand_node(self, const uint32_t* s, int i) except -1 nogil
    cdef object _taken(self, const uint32_t* s, name, int node, int other)
