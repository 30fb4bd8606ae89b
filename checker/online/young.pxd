"""The zones of a key whose first return came after an invocation that is still in flight.

They are in the order of their first returns, and a tree over them holds the latest last
invocation, so that whoever is invoked later finds the zones it contradicts in few steps.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    FEWEST = 8

cdef struct Young:
    int32_t* zone           # by place: which
    int64_t* f              # its first return
    int64_t* tree           # leaf room + place: its last invocation; above: the latest of two
    int32_t first           # place of the oldest
    int32_t end
    int32_t room            # a power of two, or 0


cdef inline void young_free(Young* y) noexcept nogil:
    free(y.zone)
    free(y.f)
    free(y.tree)
    memset(y, 0, sizeof(Young))


cdef inline void young_raise(Young* y, int32_t place, int64_t s) noexcept nogil:
    """A zone's last invocation is later now."""
    cdef int32_t i = y.room + place
    while i and y.tree[i] < s:
        y.tree[i] = s
        i >>= 1


cdef inline bint young_make_room(Young* y) noexcept nogil:
    """Move all to the front, into twice the room if they fill more than half.

    Places change by what ``first`` was; False when there is no memory.
    """
    cdef Young other
    cdef int32_t i, n = y.end - y.first
    other.room = y.room
    if 2 * n >= y.room:
        other.room = max(2 * y.room, <int32_t>FEWEST)
    elif 8 * n < y.room and y.room > FEWEST:
        other.room = y.room >> 1
    other.zone = <int32_t*>malloc(<size_t>other.room * sizeof(int32_t))
    other.f = <int64_t*>malloc(<size_t>other.room * 8)
    other.tree = <int64_t*>malloc(<size_t>other.room * 16)
    if other.zone is NULL or other.f is NULL or other.tree is NULL:
        free(other.zone)
        free(other.f)
        free(other.tree)
        return False
    for i in range(2 * other.room):
        other.tree[i] = -2
    if n:
        memcpy(other.zone, y.zone + y.first, <size_t>n * sizeof(int32_t))
        memcpy(other.f, y.f + y.first, <size_t>n * 8)
        memcpy(other.tree + other.room, y.tree + y.room + y.first, <size_t>n * 8)
    for i in range(other.room - 1, 0, -1):
        other.tree[i] = max(other.tree[2 * i], other.tree[2 * i + 1])
    other.first, other.end = 0, n
    young_free(y)
    y[0] = other
    return True


cdef inline int64_t young_latest(const Young* y, int32_t low, int32_t high) noexcept nogil:
    """The latest last invocation of those at places low to high, without high."""
    cdef int64_t best = -2
    low += y.room
    high += y.room
    while low < high:
        if low & 1:
            best = max(best, y.tree[low])
            low += 1
        if high & 1:
            high -= 1
            best = max(best, y.tree[high])
        low >>= 1
        high >>= 1
    return best


cdef inline int32_t young_before(const Young* y, int64_t moment) noexcept nogil:
    """The place of the first zone that returned at a moment or later."""
    cdef int32_t low = y.first, high = y.end, middle
    while low < high:
        middle = (low + high) >> 1
        if y.f[middle] < moment:
            low = middle + 1
        else:
            high = middle
    return low
