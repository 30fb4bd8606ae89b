# distutils: language = c++
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport Record
from seatrial.harness.sim.exhaustive.transitions cimport Transitions
from seatrial.harness.sim.exhaustive.tree_member cimport TreeMember

cdef enum:
    MAX_CUTS = 4
    NO_TREE = -1                # in ``counted``: it is no tree,
    UNKNOWN = -2                # or was not seen yet
    HELD_OUT = 1 << 16

cdef struct Part:               # what the tree's side wants to know of a node's state
    bint assigns                # it leads the root
    bint wants                  # it leads a child
    uint8_t parent              # the node that its uplink leads to; 0: none
    uint8_t linked              # mask over the nodes - 1 whose links it has accepted
    uint32_t due                # when its timer is due: jumps << 4 | heartbeats
    uint64_t leased_until_ns    # it may answer reads by itself until then; 0: not at all
    uint8_t applied             # rindex
    uint8_t end                 # of the mirror
    uint8_t held_end
    uint8_t cuts                # of mirrors that the log says: entries that became void
    uint16_t[24] mirror         # record numbers without local coordinates; rindex r is at [r]
    uint16_t[24] held           # the same, of what is on the disk
    uint8_t[4] cut_at
    uint16_t[4] cut

cdef class TreeTransitions(Transitions):
    cdef vector[Part] parts                 # of each local state
    # of each record: a mask over the domains that count by the tree that it holds, and, times
    # HELD_OUT, one over those that an operator keeps out; or one of the above
    cdef vector[int] counted
    cdef Buffer scratch_entry

    cdef int _describe_mirrors(self, TreeMember m, Part* t) except -1
    cdef int root_entry(self, const Record* r) except -1
    cdef int _count(self, int number, const Record* r) except -1
