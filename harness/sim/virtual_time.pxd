# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.harness.sim.packet cimport Packet
from seatrial.harness.sim.queue cimport Event, EventQueue
from seatrial.harness.sim.trace cimport Trace

cdef enum:                      # kinds of events
    CALLS = 0                   # the harness
    ARRIVES = 1                 # bytes between members
    SYNCED = 2
    RINGS = 3                   # a machine's timer
    GOES_ON = 4                 # an iteration is over, the next may begin
    DIALS = 5
    JOINS = 6                   # a dialled connection is there
    PARTS = 7                   # a connection between members is seen to be broken
    GIVES_UP = 8                # bytes were not acknowledged for too long
    STARTS = 9                  # after a crash point
    KNOCKS = 10                 # a client's connection arrives
    OPENS = 11                  # and is answered
    ASKS = 12                   # bytes of a client
    ANSWERS = 13                # bytes for a client
    CLOSES = 14                 # a client learns that its connection is gone
    LEAVES = 15                 # a node learns that a client is
    FORSAKES = 16               # GIVES_UP, of a client's connection
    LINK_DIALS = 17             # a domain's leader dials a node of the parent
    LINK_KNOCKS = 18            # and is heard there
    LINK_FAILS = 19             # or not, for too long
    LINK_OPENS = 20             # the answer: the first packet of the connection
    LINK_BYTES = 21
    LINK_ENDS = 22              # its last packet: the other end has closed it
    LINK_BREAKS = 23            # an end learns that the connection is gone
    LINK_FORSAKES = 24          # GIVES_UP, of such a connection

cdef class Timer:
    cdef object callback
    cdef tuple args
    cdef readonly uint64_t when_ns

cdef class Timeline:
    cdef readonly uint64_t now_ns
    cdef readonly uint64_t events
    cdef EventQueue queue
    cdef uint64_t order
    cdef dict calls             # the order of an event -> its Timer
    cdef Trace log
    cdef bint record
    cdef object violation       # that somebody outside was told of: it ends the run all the same

    cdef void _at(self, uint64_t when_ns, uint8_t kind, int to, int sender, uint32_t number,
                  void* payload) noexcept
    cdef int _happen(self, Event* e) except -1
    cdef void _digest(self, Event* e) noexcept
    cdef int _note(self, str kind, int a, int b, detail) except -1
    cdef object _told(self, violation, int host, str when)

cdef void discard(Event* e) noexcept
cdef void release(vector[Event]* events) noexcept
