# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t
from libcpp.vector cimport vector

from seatrial.core.raft_encoding cimport RaftEncoding
from seatrial.harness.sim.exhaustive.actions cimport ACTIONS, MAX_MEMBERS
from seatrial.harness.sim.exhaustive.hashing cimport Print
from seatrial.harness.sim.exhaustive.messages cimport Messages
from seatrial.harness.sim.exhaustive.search cimport MAX_WORDS, Search
from seatrial.harness.sim.exhaustive.symmetry cimport Symmetry
from seatrial.harness.sim.exhaustive.transitions cimport Local, Step, Transitions

cdef struct Move:               # what is tried at a node
    int kind
    int other
    int source                  # where in a state its message must be; 0: it takes none
    bint leads                  # only if the node leads

cdef class Cluster(Search):
    cdef int nodes
    cdef int[MAX_MEMBERS] domain_of         # place of a node -> of its domain, the root's is 0
    cdef int[MAX_MEMBERS][MAX_MEMBERS] queues   # sender, receiver: where in a state; 0: none
    cdef uint8_t[MAX_WORDS] senders         # and what ends of a connection are at a place there
    cdef uint8_t[MAX_WORDS] receivers
    cdef int connected                      # where in a state connections end, and maybe links,
    cdef int pasts                          # what is past begins,
    cdef int time                           # and the clock is; 0: there is none
    cdef int used                           # and 8 bytes of counters are
    cdef uint8_t[8] bounds
    cdef int[ACTIONS] counters              # kind -> the counter of its bound
    cdef vector[vector[Move]] moves         # of each node
    cdef uint32_t[MAX_WORDS] origin         # the state where nobody has done anything
    cdef uint32_t[MAX_WORDS] reached        # and the one that the newest trace came to
    cdef list told                          # None, but while a trace is played
    cdef Symmetry symmetry
    cdef RaftEncoding states
    cdef Messages messages
    cdef Transitions transitions

    cdef const Local* _local(self, const uint32_t* s, int node) noexcept nogil
    cdef bint _may(self, uint32_t* s, int kind) noexcept nogil
    cdef int _step(self, uint32_t* s, int node, int kind, uint32_t other,
                   uint32_t message) except -1 nogil
    cdef int _arrives(self, uint32_t* s, int kind, int node, int other) except -1 nogil
    cdef int _cut_off(self, uint32_t* s, int node) except -1 nogil
    cdef int _restart(self, uint32_t* s, int node) except -1 nogil

    # What there is in one space and not in the other.
    cdef int _happens(self, uint32_t* s, int kind, int node, int other) except -1 nogil
    cdef int _crash(self, uint32_t* s, int node) except -1 nogil
    cdef int _source(self, int kind, int node, int other) noexcept nogil
    cdef int _target(self, const uint32_t* s, int node, uint32_t to) noexcept nogil
    cdef int _stepped(self, uint32_t* s, int kind, int node, uint32_t before) except -1 nogil
    cdef Print _rest(self, const uint32_t* s, int numbering) noexcept nogil
    cdef dict _told(self, const Step* step)
