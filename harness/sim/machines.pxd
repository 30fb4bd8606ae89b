# distutils: language = c++
from libc.stdint cimport uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer
from seatrial.core.invariants cimport ClusterInvariants, Durability
from seatrial.core.replica cimport Replica
from seatrial.harness.sim.clock cimport Clock
from seatrial.harness.sim.disk cimport Disk
from seatrial.harness.sim.queue cimport Event
from seatrial.harness.sim.virtual_time cimport Timeline

cdef enum:                      # of a machine
    DOWN = 0
    UP = 1
    PAUSED = 2
    BROKEN = 3

cdef class Group:               # one Raft cluster
    cdef readonly list hosts
    cdef readonly list voters   # that it begins with; the other hosts are spares
    cdef readonly int domain
    cdef readonly uint64_t heartbeat_ns, election_ns
    cdef ClusterInvariants invariants

cdef class GroupDurability(Durability):
    cdef list machines          # by node id - 1

cdef class Machine:             # one host with its node
    cdef int host
    cdef Group group
    cdef Replica replica        # None while no process runs
    cdef Disk disk
    cdef int state
    cdef bint silent            # it lost power: nobody answers for it, not even its kernel
    cdef uint32_t life          # counts starts and ends of the process
    cdef bint comes_back        # a crash point took it down and will start it again
    cdef str trouble
    cdef bint damaged           # its newest start found that the disk lost something
    cdef Clock clock
    cdef uint64_t timer_ns      # when it is to be woken at the latest ...
    cdef uint32_t timer         # ... by the event with this number
    cdef uint64_t iteration_ns  # what one iteration of its loop takes
    cdef uint64_t busy_ns       # until when it is in one
    cdef uint64_t turns         # iterations so far ...
    cdef uint64_t turned_ns     # ... and what they took
    cdef bint waiting           # an event will end that
    cdef uint64_t write_seq     # of the group write in flight
    cdef bint led
    cdef vector[Event] inbox    # what came while it was paused or busy


cdef class Machines(Timeline):
    cdef readonly int hosts
    cdef readonly uint64_t crashes, struck
    cdef readonly object environment
    cdef uint64_t seed
    cdef list machines
    cdef list groups
    cdef uint64_t[5] point_ppm  # crash points
    cdef uint64_t down_ns
    cdef bint points_on

    # What the network does for them (world.pyx).
    cdef int _greet(self, Machine m) except -1
    cdef int _hang_up(self, Machine m) except -1
    cdef int _transmit(self, int sender, int receiver, const char* data, size_t size) except -1
    cdef int _answer(self, Machine m, uint32_t number) except -1
    cdef int _take_late(self, Machine m, Event* e) except -1

    # What a tree of domains adds to a node (domain_world.pyx).
    cdef dict _options(self, Machine m)
    cdef uint64_t _due_ns(self, Machine m)
    cdef int _tick(self, Machine m, uint64_t now_ns) except -1
    cdef int _check(self, Machine m) except -1
    cdef int _send_further(self, Machine m) except -1

    cdef Machine _machine(self, int host)
    cdef int _lose_power(self, Machine m) except -1
    cdef int _lose_unsynced(self, Machine m) except -1
    cdef int _end(self, Machine m, bint silent) except -1
    cdef int _stop_loudly(self, Machine m, str why) except -1
    cdef int _wind(self, Machine m) except -1
    cdef int _rings(self, Machine m, uint32_t number) except -1
    cdef bint _must_wait(self, Machine m, Event* e) except -1
    cdef int _empty_inbox(self, Machine m) except -1
    cdef int _iterate(self, Machine m) except -1
    cdef int _leases(self, Machine m) except -1
    cdef bint _strikes(self, Machine m, int point, int which=*) except -1
    cdef int _send_all(self, Machine m) except -1
    cdef uint32_t _leaving(self, Machine m, Buffer* b) except? 1
    cdef int _synced(self, Machine m, Event* e) except -1
    cdef int _take_synced(self, Machine m, uint32_t life) except -1
