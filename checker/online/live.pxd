"""A map from two numbers to a small one whose entries come and go: it shrinks again.

Open addressing, linear probing; what is dropped leaves no mark behind (Knuth, TAOCP 3, 6.4 R).
"""
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    ABSENT = -1             # values are 0 or more
    SMALLEST = 64

cdef struct Entry:
    int64_t a
    int64_t b
    int32_t value
    bint used

cdef struct Live:
    Entry* entries
    size_t room             # a power of two, or 0
    size_t n


cdef inline void live_free(Live* m) noexcept nogil:
    free(m.entries)
    memset(m, 0, sizeof(Live))


cdef inline size_t live_home(const Live* m, int64_t a, int64_t b) noexcept nogil:
    cdef uint64_t h = (<uint64_t>a * <uint64_t>0x9E3779B97F4A7C15) ^ <uint64_t>b
    h = (h ^ (h >> 29)) * <uint64_t>0xBF58476D1CE4E5B9
    return <size_t>(h >> 20) & (m.room - 1)


cdef inline size_t live_place(const Live* m, int64_t a, int64_t b) noexcept nogil:
    """Where a and b are, or belong."""
    cdef size_t i = live_home(m, a, b)
    while m.entries[i].used and (m.entries[i].a != a or m.entries[i].b != b):
        i = (i + 1) & (m.room - 1)
    return i


cdef inline int32_t live_get(const Live* m, int64_t a, int64_t b) noexcept nogil:
    cdef size_t i
    if m.n == 0:
        return ABSENT
    i = live_place(m, a, b)
    return m.entries[i].value if m.entries[i].used else ABSENT


cdef inline bint live_resize(Live* m, size_t room) noexcept nogil:
    cdef Live other
    cdef size_t i
    other.room, other.n = room, m.n
    other.entries = <Entry*>calloc(room, sizeof(Entry))
    if other.entries is NULL:
        return False
    for i in range(m.room):
        if m.entries[i].used:
            other.entries[live_place(&other, m.entries[i].a, m.entries[i].b)] = m.entries[i]
    free(m.entries)
    m[0] = other
    return True


cdef inline bint live_put(Live* m, int64_t a, int64_t b, int32_t value) noexcept nogil:
    """Add or replace; False when there is no memory."""
    cdef Entry* entry
    if 2 * (m.n + 1) > m.room and not live_resize(m, 2 * m.room if m.room else SMALLEST):
        return False
    entry = &m.entries[live_place(m, a, b)]
    m.n += not entry.used
    entry.a, entry.b, entry.value, entry.used = a, b, value, True
    return True


cdef inline void live_drop(Live* m, int64_t a, int64_t b) noexcept nogil:
    """Drop an entry; those behind it move up where they may."""
    cdef size_t i, j, home, mask = m.room - 1
    if m.n == 0:
        return
    i = live_place(m, a, b)
    if not m.entries[i].used:
        return
    j = i
    while True:
        j = (j + 1) & mask
        if not m.entries[j].used:
            break
        home = live_home(m, m.entries[j].a, m.entries[j].b)
        if ((j - home) & mask) >= ((j - i) & mask):
            m.entries[i] = m.entries[j]
            i = j
    m.entries[i].used = False
    m.n -= 1
    if m.room > SMALLEST and m.n * 16 < m.room:
        live_resize(m, m.room // 4)                 # without memory it stays as large
