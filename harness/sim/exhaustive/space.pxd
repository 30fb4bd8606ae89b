# distutils: language = c++
from libc.stdint cimport uint32_t

from seatrial.harness.sim.exhaustive.cluster cimport Cluster
from seatrial.harness.sim.exhaustive.properties cimport Properties

cdef class Space(Cluster):
    cdef Properties properties

    cdef bint _late(self, const uint32_t* s, int node, int other) noexcept nogil
