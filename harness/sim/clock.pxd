"""What a node's monotonic clock shows: it may run fast or slow and jump ahead, never back."""
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    RATE_BITS = 20          # a rate of 1 << RATE_BITS is that of the world's own time

cdef struct Clock:
    uint64_t world_ns       # since when (virtual time) ...
    uint64_t shown_ns       # ... it runs on from here ...
    uint64_t rate           # ... at this rate


cdef inline uint64_t shown(const Clock* c, uint64_t now_ns) noexcept nogil:
    """Return what it shows at ``now_ns``: (passed * rate) >> RATE_BITS, in parts that fit."""
    cdef uint64_t passed = now_ns - c.world_ns
    cdef uint64_t rest = passed & ((1 << RATE_BITS) - 1)
    return c.shown_ns + (passed >> RATE_BITS) * c.rate + ((rest * c.rate) >> RATE_BITS)


cdef inline uint64_t when_shown(const Clock* c, uint64_t shown_ns) noexcept nogil:
    """Return the first moment at which it shows at least ``shown_ns``."""
    cdef uint64_t ahead, rest
    if shown_ns <= c.shown_ns:
        return c.world_ns
    ahead = shown_ns - c.shown_ns
    rest = ((ahead % c.rate) << RATE_BITS) + c.rate - 1
    return c.world_ns + (ahead // c.rate << RATE_BITS) + rest // c.rate


cdef inline void set_clock(Clock* c, uint64_t now_ns, uint64_t jump_ns,
                           uint64_t rate) noexcept nogil:
    """Go on from now, ``jump_ns`` ahead, at another rate."""
    c.shown_ns = shown(c, now_ns) + jump_ns
    c.world_ns = now_ns
    c.rate = rate


cdef inline uint64_t rate_of(int64_t ppm) except 0:
    """Return the rate of a clock that is off by so many parts per million."""
    if not -900_000 <= ppm <= 9_000_000:
        raise ValueError(f"a clock's rate is off by {ppm} ppm: expected -900,000 to 9,000,000")
    return <uint64_t>((<int64_t>1 << RATE_BITS) + (ppm << RATE_BITS) // 1_000_000)
