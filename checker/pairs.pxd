"""A map from two numbers to a small one: open addressing, linear probing, grows by doubling."""
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum:
    ABSENT = -1             # values are 0 or more, or below ABSENT

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


cdef inline Cell* pairs_cell(const Pairs* m, int64_t a, int64_t b) noexcept nogil:
    """The cell that holds a and b, or the free one where they belong."""
    cdef uint64_t h = (<uint64_t>a * <uint64_t>0x9E3779B97F4A7C15) ^ <uint64_t>b
    cdef size_t i
    h = (h ^ (h >> 29)) * <uint64_t>0xBF58476D1CE4E5B9
    i = <size_t>(h >> 20) & (m.room - 1)
    while m.cells[i].used and (m.cells[i].a != a or m.cells[i].b != b):
        i = (i + 1) & (m.room - 1)
    return &m.cells[i]


cdef inline int32_t pairs_get(const Pairs* m, int64_t a, int64_t b) noexcept nogil:
    cdef Cell* cell
    if m.n == 0:
        return ABSENT
    cell = pairs_cell(m, a, b)
    return cell.value if cell.used else ABSENT


cdef inline int pairs_put(Pairs* m, int64_t a, int64_t b, int32_t value) noexcept nogil:
    """Add or replace; -1 when there is no memory."""
    cdef Pairs larger
    cdef Cell* cell
    cdef size_t i
    if 2 * (m.n + 1) > m.room:
        larger.room = 2 * m.room if m.room else 256
        larger.cells = <Cell*>malloc(larger.room * sizeof(Cell))
        if larger.cells is NULL:
            return -1
        memset(larger.cells, 0, larger.room * sizeof(Cell))
        for i in range(m.room):
            if m.cells[i].used:
                pairs_cell(&larger, m.cells[i].a, m.cells[i].b)[0] = m.cells[i]
        free(m.cells)
        m.cells = larger.cells
        m.room = larger.room
    cell = pairs_cell(m, a, b)
    m.n += not cell.used
    cell.a, cell.b, cell.value, cell.used = a, b, value, True
    return 0
