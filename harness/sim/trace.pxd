from libc.stdint cimport uint32_t, uint64_t

from seatrial.harness.sim.packet cimport Packet

cdef class Trace:
    cdef uint64_t low, high     # the digest
    cdef list entries           # None unless it records

    cdef void happened(self, uint64_t now_ns, uint64_t what, Packet* p) noexcept
    cdef int note(self, uint64_t now_ns, str kind, int a, int b, detail) except -1
    cdef int frames(self, uint64_t now_ns, str kind, int sender, int receiver,
                    Packet* p) except -1
    cdef int request(self, uint64_t now_ns, int connection, int host, Packet* p) except -1
    cdef int response(self, uint64_t now_ns, int connection, int host, Packet* p) except -1
