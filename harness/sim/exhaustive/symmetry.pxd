from libc.stdint cimport uint32_t

from seatrial.harness.sim.exhaustive.actions cimport MAX_NUMBERINGS

cdef class Symmetry:
    cdef readonly int count                 # of numberings; 0 is as the nodes are
    cdef uint32_t[MAX_NUMBERINGS][64] names  # node id -> its name
