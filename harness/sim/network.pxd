from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.vector cimport vector

cdef struct Effect:             # what impairments add up to on one way between two endpoints
    uint64_t delay_ns
    uint64_t jitter_ns
    uint64_t loss_ppm
    uint64_t duplicate_ppm
    uint64_t reorder_ppm
    uint64_t corrupt_ppm
    uint64_t bytes_per_s        # 0: no limit

cdef struct Met:                # packets that met what they would not have met unimpaired
    uint64_t delayed
    uint64_t lost
    uint64_t duplicated
    uint64_t reordered
    uint64_t corrupted
    uint64_t limited

cdef struct Way:                # from one endpoint to another
    uint32_t cuts               # how many cuts it is under
    uint64_t free_ns            # when its bandwidth is free again
    Effect effect
    Met met

cdef struct Fate:               # what the network does to one packet
    uint64_t delay_ns
    bint lost
    bint corrupted
    bint reordered
    uint64_t copy_ns            # a second copy arrives after so long; 0: none

cdef class Network:
    cdef readonly int endpoints
    cdef uint64_t seed
    cdef Effect usual           # what the environment does to every packet
    cdef uint64_t latency_ns
    cdef uint64_t tail_ppm
    cdef uint64_t tail_ns
    cdef vector[Way] ways       # [receiver * endpoints + sender]
    cdef dict in_force          # handle -> (pairs, effect or None for a cut)
    cdef int handles
    cdef readonly uint64_t sent, lost, duplicated, reordered, corrupted, cut_off, delayed, limited

    cdef Way* way(self, int receiver, int sender) noexcept nogil
    cdef bint is_cut(self, int receiver, int sender) noexcept nogil
    cdef bint is_limited(self, int receiver, int sender) noexcept nogil
    cdef void judge(self, int receiver, int sender, size_t size, uint64_t now_ns,
                    Fate* fate) noexcept nogil
