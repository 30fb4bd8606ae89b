"""A map from two numbers to a small one; where entries come and go it shrinks again.

Open addressing, linear probing; what is dropped leaves no mark behind (Knuth, TAOCP 3, 6.4 R).
"""
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    ABSENT = -1             # values are 0 or more, or below ABSENT
    SMALLEST = 64

cdef struct Cell:
    int64_t a
    int64_t b
    int32_t value
    bint used

cdef struct Pairs:
    Cell* cells
    size_t room             # a power of two, or 0
    size_t n


cdef inline void pairs_free(Pairs* m) noexcept nogil:
    free(m.cells)
    memset(m, 0, sizeof(Pairs))


cdef inline void pairs_clear(Pairs* m) noexcept nogil:
    if m.n:
        memset(m.cells, 0, m.room * sizeof(Cell))
        m.n = 0


cdef inline size_t pairs_home(const Pairs* m, int64_t a, int64_t b) noexcept nogil:
    cdef uint64_t h = (<uint64_t>a * <uint64_t>0x9E3779B97F4A7C15) ^ <uint64_t>b
    h = (h ^ (h >> 29)) * <uint64_t>0xBF58476D1CE4E5B9
    return <size_t>(h >> 20) & (m.room - 1)


cdef inline size_t pairs_place(const Pairs* m, int64_t a, int64_t b) noexcept nogil:
    """Where a and b are, or belong."""
    cdef size_t i = pairs_home(m, a, b)
    while m.cells[i].used and (m.cells[i].a != a or m.cells[i].b != b):
        i = (i + 1) & (m.room - 1)
    return i


cdef inline int32_t pairs_get(const Pairs* m, int64_t a, int64_t b) noexcept nogil:
    cdef size_t i
    if m.n == 0:
        return ABSENT
    i = pairs_place(m, a, b)
    return m.cells[i].value if m.cells[i].used else ABSENT


cdef inline bint pairs_resize(Pairs* m, size_t room) noexcept nogil:
    cdef Pairs other
    cdef size_t i
    other.room, other.n = room, m.n
    other.cells = <Cell*>calloc(room, sizeof(Cell))
    if other.cells is NULL:
        return False
    for i in range(m.room):
        if m.cells[i].used:
            other.cells[pairs_place(&other, m.cells[i].a, m.cells[i].b)] = m.cells[i]
    free(m.cells)
    m[0] = other
    return True


cdef inline bint pairs_put(Pairs* m, int64_t a, int64_t b, int32_t value) noexcept nogil:
    """Add or replace; False when there is no memory."""
    cdef Cell* cell
    if 2 * (m.n + 1) > m.room and not pairs_resize(m, 2 * m.room if m.room else SMALLEST):
        return False
    cell = &m.cells[pairs_place(m, a, b)]
    m.n += not cell.used
    cell.a, cell.b, cell.value, cell.used = a, b, value, True
    return True


cdef inline void pairs_drop(Pairs* m, int64_t a, int64_t b) noexcept nogil:
    """Drop an entry; those behind it move up where they may."""
    cdef size_t i, j, home, mask = m.room - 1
    if m.n == 0:
        return
    i = pairs_place(m, a, b)
    if not m.cells[i].used:
        return
    j = i
    while True:
        j = (j + 1) & mask
        if not m.cells[j].used:
            break
        home = pairs_home(m, m.cells[j].a, m.cells[j].b)
        if ((j - home) & mask) >= ((j - i) & mask):
            m.cells[i] = m.cells[j]
            i = j
    m.cells[i].used = False
    m.n -= 1
    if m.room > SMALLEST and m.n * 16 < m.room:
        pairs_resize(m, m.room // 4)                 # without memory it stays as large
