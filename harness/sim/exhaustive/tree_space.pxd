# distutils: language = c++
from libc.stdint cimport uint32_t
from libcpp.vector cimport vector

from seatrial.harness.sim.exhaustive.cluster cimport Cluster
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.properties cimport Properties
from seatrial.harness.sim.exhaustive.tree_messages cimport TreeMessages
from seatrial.harness.sim.exhaustive.tree_properties cimport TreeProperties
from seatrial.harness.sim.exhaustive.tree_transitions cimport Part, TreeTransitions

cdef class TreeSpace(Cluster):
    cdef int domains
    cdef int up                             # where in a state what children's leaders sent is,
    cdef int down                           # and what they are sent; their queues end there
    cdef Properties root                    # of each domain as a group,
    cdef Properties second
    cdef Properties third
    cdef vector[Print] *group_prints[4]      # and the fingerprints of their pasts
    cdef TreeMessages tree_messages         # Cluster's,
    cdef TreeTransitions tree_transitions   # as what they are
    cdef TreeProperties properties

    cdef const Part* _part(self, const uint32_t* s, int node) noexcept nogil
    cdef uint32_t _group_changed(self, const uint32_t* s, int domain, uint32_t before,
                                 uint32_t after) except? 0 nogil
    cdef int _dial(self, uint32_t* s, int node, int other) except -1 nogil
    cdef int _forget_link(self, uint32_t* s, int node) except -1 nogil
    cdef bint _linked(self, const uint32_t* s, int node) noexcept nogil
