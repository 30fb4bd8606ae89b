# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.harness.sim.machines cimport Machine, Machines
from seatrial.harness.sim.network cimport Fate, Network
from seatrial.harness.sim.packet cimport Packet
from seatrial.harness.sim.queue cimport Event
from seatrial.harness.sim.stream cimport Stream

cdef enum:                      # of a link or a client's connection
    APART = 0
    DIALLING = 1
    JOINED = 2
    ENDED = 3

cdef enum:
    MS = 1_000_000
    REDIAL_NS = 100 * MS        # these four as core/transport.py and core/client.py have them
    DIAL_TIMEOUT_NS = 500 * MS
    USER_TIMEOUT_NS = 2000 * MS
    RESEND_NS = 200 * MS        # Linux's smallest retransmission timeout

cdef cppclass Link:             # a member's outgoing connection to another
    int state
    uint32_t number             # of the newest connection
    uint64_t stalled_ns         # since when what is sent is not acknowledged; 0: it is
    uint32_t life               # of the process that accepted it; 0: that has closed it
    Stream stream


cdef class Connection:          # of a client
    cdef readonly uint32_t number
    cdef readonly int pool, host
    cdef object client
    cdef int state
    cdef uint32_t life          # of the machine's process that accepted it
    cdef uint64_t stalled_ns
    cdef Stream to_host, to_client


cdef class World(Machines):
    cdef readonly Network network
    cdef readonly uint64_t resets, refused_frames
    cdef uint32_t numbers       # of connections
    cdef vector[Link] links     # [from * hosts + to]
    cdef dict connections
    cdef bint frames
    cdef uint64_t reset_ppm

    cdef int _refuse(self, int sender, int receiver) except -1
    cdef Link* _link(self, int sender, int receiver) noexcept
    cdef void _dial(self, int sender, int receiver, uint64_t when_ns) noexcept
    cdef int _dials(self, int sender, int receiver, uint32_t number) except -1
    cdef int _joins(self, int sender, int receiver, uint32_t number) except -1
    cdef int _break(self, int sender, int receiver) except -1
    cdef int _parts(self, int sender, int receiver, uint32_t number) except -1
    cdef Packet* _perhaps_corrupted(self, const char* data, size_t size, Fate* fate) except NULL
    cdef int _arrives(self, Event* e) except -1
    cdef int _deliver(self, Machine m, Link* link, Event* e) except -1
    cdef int _feed(self, Machine m, Link* link, Event* e) except -1
    cdef void _stall(self, Link* link, int sender, int receiver) noexcept
    cdef int _gives_up(self, int sender, int receiver, uint32_t number) except -1
    cdef int _release_link(self, int sender, int receiver) except -1
    cdef bint _unreachable(self, int host, int sender) noexcept
    cdef void _resend(self, Stream* stream, uint64_t which) noexcept
    cdef tuple _way_of(self, const Event* e)
    cdef int _send_host(self, Connection c, uint8_t kind, bytes data) except -1
    cdef int _happen_to_client(self, Connection c, Event* e) except -1
    cdef int _knocks(self, Connection c) except -1
    cdef int _asks(self, Connection c, Event* e) except -1
    cdef int _deliver_request(self, Machine m, Connection c, Event* e) except -1
    cdef int _feed_request(self, Machine m, Connection c, Event* e) except -1
    cdef int _hang_up_on(self, Connection c) except -1
    cdef int _send_client(self, Connection c, uint8_t kind, const char* data, size_t size) except -1
    cdef int _answers(self, Connection c, Event* e) except -1
    cdef int _tell_client(self, Connection c, Event* e) except -1
    cdef int _forsake_later(self, Connection c) except -1
    cdef int _release_connection(self, Connection c) except -1
    cdef int _leaves(self, Connection c) except -1
    cdef int _closes(self, Connection c) except -1
