"""Draws without a state: the same question gets the same answer, whatever else was asked.

A stream of draws would be shifted by every operation that is left out of a run, and each shrunk
schedule would meet another world. Here a draw depends on the seed, on what it is for, and on
the moment. Mixing: splitmix64's output function (Steele, Lea, Flood 2014).
"""
from libc.stdint cimport uint64_t


cdef inline uint64_t mixed(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint64_t draw(uint64_t seed, uint64_t what, uint64_t when) noexcept nogil:
    """Return 64 bits for one purpose at one moment."""
    return mixed(mixed(seed ^ what * <uint64_t>0x9E3779B97F4A7C15)
                 + when * <uint64_t>0xD1B54A32D192ED03)


cdef inline uint64_t below(uint64_t bits, uint64_t n) noexcept nogil:
    """Return a number in [0, n) from the upper 24 bits of a draw; n <= 2**40, 0 gives 0."""
    return ((bits >> 40) * n) >> 24


cdef inline bint happens(uint64_t bits, uint64_t ppm) noexcept nogil:
    """Return whether something with this probability (parts per million) happens."""
    return ppm != 0 and below(bits, 1_000_000) < ppm
