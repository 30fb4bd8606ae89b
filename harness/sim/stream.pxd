# distutils: language = c++
from libc.stdint cimport uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.harness.sim.queue cimport Event

cdef cppclass Stream:           # one direction of a connection
    uint32_t sent               # packets that were put on it
    uint32_t due                # the next one that may be delivered
    vector[Event] early         # they arrived before that one
    vector[Event] held          # a cut keeps them from arriving

cdef void restart(Stream* s) noexcept
cdef bint in_order(Stream* s, Event* e) noexcept
cdef bint take_early(Stream* s, Event* e) noexcept
cdef void hold(Stream* s, Event* e) noexcept
