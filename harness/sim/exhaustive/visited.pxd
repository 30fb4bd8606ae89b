from libc.stdint cimport uint64_t

from seatrial.harness.sim.exhaustive.hashing cimport Print

cdef class Visited:
    cdef Print* slots
    cdef readonly uint64_t capacity
    cdef readonly uint64_t count

    cdef bint add(self, Print p) noexcept nogil
