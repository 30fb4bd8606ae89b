"""Random draws that a seed decides: splitmix64, one independent stream per component.

Python's ``random``, ``hash`` and set order are never used where a run must be repeatable. A
simulated operation costs a handful of draws, which is why this is compiled.
Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    typedef unsigned __int128 seatrial_uint128;
    """
    ctypedef unsigned long long uint128 "seatrial_uint128"     # Cython need not know how wide

cdef uint64_t STEP = <uint64_t>0x9E3779B97F4A7C15

MASK = (1 << 64) - 1
GAMMA = STEP


cdef inline uint64_t mixed(uint64_t z) noexcept nogil:
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


def mix64(uint64_t z) -> int:
    """Scramble 64 bits (the output function of splitmix64)."""
    return mixed(z)


cdef class Rng:
    """A stream of draws. ``split(name)`` derives an independent stream from seed and name."""

    cdef readonly uint64_t seed
    cdef public uint64_t state

    def __init__(self, seed: int) -> None:
        self.seed = self.state = seed & MASK

    def __repr__(self) -> str:
        return f"<Rng of seed {self.seed} at {self.state}>"

    def split(self, name: str) -> Rng:
        """Return the stream called ``name``; the same seed and name give the same stream."""
        cdef uint64_t h = self.seed
        cdef unsigned char byte
        for byte in name.encode():
            h = mixed((h ^ byte) + STEP)
        return Rng(h)

    cdef inline uint64_t next(self) noexcept:
        self.state += STEP
        return mixed(self.state)

    def next64(self) -> int:
        """Return 64 random bits."""
        return self.next()

    def below(self, uint64_t n) -> int:
        """Return an int in [0, n), without bias worth measuring for n < 2**32."""
        if n == 0:
            raise ValueError("below(n) needs n > 0, got 0")
        return <uint64_t>((<uint128>self.next() * n) >> 64)

    def uniform(self, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        # as objects: a C compiler may fuse the multiplication and the addition, and round once
        share: object = <double>(self.next() >> 11) * 2.0**-53
        return <object>low + (<object>high - <object>low) * share

    def choice(self, items):
        """Return one of ``items``."""
        return items[self.below(len(items))]

    def shuffled(self, items) -> list:
        """Return ``items`` in random order (Fisher-Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out
