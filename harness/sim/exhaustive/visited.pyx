"""The states that were seen: 16 bytes of fingerprint each, in a table with open addressing.

Two of 10^8 states have the same fingerprint with a probability below 10^-22 ("hash compaction";
Stern and Dill, "Improved probabilistic verification by hash compaction", 1995).
"""
from libc.stdlib cimport calloc, free


cdef extern from *:
    """
    static inline uint64_t seatrial_scaled(uint64_t h, uint64_t n)
    {
        return (uint64_t)(((unsigned __int128)h * n) >> 64);
    }
    """
    uint64_t scaled "seatrial_scaled"(uint64_t h, uint64_t n) noexcept nogil


cdef class Visited:
    """Room for ``states``; memory is touched as it fills."""

    def __cinit__(self, uint64_t states):
        self.capacity = states + states // 3 + 64
        self.count = 0
        self.slots = <Print*>calloc(self.capacity, sizeof(Print))
        if self.slots is NULL:
            raise MemoryError(f"no memory for {states} states")

    def __dealloc__(self):
        free(self.slots)

    cdef bint add(self, Print p) noexcept nogil:
        """Whether a state is new; from now on it is not. There must be room."""
        cdef uint64_t at = scaled(p.low, self.capacity)     # (high is the least of several)
        p.low |= 1                          # a free slot is 0
        while self.slots[at].low:
            if self.slots[at].high == p.high and self.slots[at].low == p.low:
                return False
            at += 1
            if at == self.capacity:
                at = 0
        self.slots[at] = p
        self.count += 1
        return True
