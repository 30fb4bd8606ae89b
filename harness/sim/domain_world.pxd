# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from seatrial.core.domain_invariants cimport DomainInvariants
from seatrial.core.read_invariants cimport ReadInvariants
from seatrial.harness.sim.machines cimport Machine
from seatrial.harness.sim.queue cimport Event
from seatrial.harness.sim.stream cimport Stream
from seatrial.harness.sim.world cimport World

cdef enum:                      # ends of a link
    CHILD = 0
    PARENT = 1

cdef class DomainLink:          # the connection of a child's leader to a node of its parent
    cdef readonly uint32_t number
    cdef int[2] hosts
    cdef uint32_t[2] lives      # of the processes at its ends; 0: that end is closed
    cdef int state
    cdef uint64_t[2] stalled_ns     # since when what goes to that end is not acknowledged
    cdef Stream to_child, to_parent     # (not an array: nobody would take its vectors apart)

    cdef Stream* stream(self, int to) noexcept


cdef class DomainWorld(World):
    cdef readonly uint64_t links_made, links_lost
    cdef DomainInvariants mirrors
    cdef ReadInvariants reads
    cdef dict parents           # domain -> hosts of its parent, as the nodes' files say
    cdef dict trees             # domain -> the initial tree, which the root's nodes begin with
    cdef dict uplinks           # number -> DomainLink, in the order of their making
    cdef list dialled           # by host: its newest DomainLink, or None
    cdef list avoided           # by host: the node that it was last at

    cdef int _tend(self, Machine m) except -1
    cdef int _dial_parent(self, Machine m, uint32_t node) except -1
    cdef int _leave(self, Machine m, DomainLink u) except -1
    cdef uint32_t _choose(self, Machine m) except -1
    cdef int _happen_to_link(self, DomainLink u, Event* e) except -1
    cdef int _dials_parent(self, DomainLink u) except -1
    cdef int _knocks_at_parent(self, DomainLink u) except -1
    cdef int _fails(self, DomainLink u) except -1
    cdef int _send_on(self, DomainLink u, int to, uint8_t kind, bytes data) except -1
    cdef int _send_segment(self, DomainLink u, int to, uint8_t kind, const char* data,
                           size_t size) except -1
    cdef int _comes(self, DomainLink u, Event* e) except -1
    cdef int _forsake_link_later(self, DomainLink u, int to) except -1
    cdef int _take_in(self, DomainLink u, Event* e) except -1
    cdef int _feed_end(self, Machine m, DomainLink u, int end, Event* e) except -1
    cdef int _close_end(self, DomainLink u, int end) except -1
    cdef int _end_breaks(self, DomainLink u, int end) except -1
    cdef int _tell_end(self, Machine m, DomainLink u, int end) except -1
    cdef int _forget(self, DomainLink u) except -1
    cdef int _reset_link(self, DomainLink u) except -1
    cdef int _release_uplink(self, DomainLink u) except -1
