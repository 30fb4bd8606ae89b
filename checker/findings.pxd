"""What a monitor says of a key, and the operations that show it."""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cdef enum Finding:
    LINEARIZABLE = 0
    CONTRADICTION = 1
    UNDECIDED = 2           # not a key for this monitor
    NO_MEMORY = 3

cdef enum:
    RADIX = 11

cdef struct Guilty:
    int32_t* ops
    int32_t n
    int32_t room


cdef inline void guilty_free(Guilty* g) noexcept nogil:
    free(g.ops)
    memset(g, 0, sizeof(Guilty))


cdef inline void blame(Guilty* g, int32_t op) noexcept nogil:
    """Remember an operation (nobody: below 0). Without memory it is forgotten."""
    cdef void* moved
    if op < 0:
        return
    if g.n >= g.room:
        moved = realloc(g.ops, (2 * <size_t>g.room + 64) * sizeof(int32_t))
        if moved is NULL:
            return
        g.ops = <int32_t*>moved
        g.room = 2 * g.room + 64
    g.ops[g.n] = op
    g.n += 1


cdef inline void sort_cells(uint64_t** cells, uint64_t** scratch, int32_t n) noexcept nogil:
    """Sort by the high half of each cell: by insertion where few, else by digits from the lowest.

    Both blocks have room for n; they may change places.
    """
    cdef int32_t i, j
    cdef int shift = 32
    cdef uint64_t cell, most = 0
    cdef uint64_t* swap
    cdef uint64_t* from_ = cells[0]
    cdef uint64_t* to = scratch[0]
    cdef uint32_t[1 << RADIX] at
    cdef uint32_t total, count
    if n <= 64:
        for i in range(1, n):
            cell = from_[i]
            j = i
            while j > 0 and from_[j - 1] > cell:
                from_[j] = from_[j - 1]
                j -= 1
            from_[j] = cell
        return
    for i in range(n):
        most = max(most, from_[i])
    while shift < 64 and most >> shift:
        memset(at, 0, sizeof(at))
        for i in range(n):
            at[(from_[i] >> shift) & ((1 << RADIX) - 1)] += 1
        total = 0
        for i in range(1 << RADIX):
            count = at[i]
            at[i] = total
            total += count
        for i in range(n):
            cell = from_[i]
            to[at[(cell >> shift) & ((1 << RADIX) - 1)]] = cell
            at[(cell >> shift) & ((1 << RADIX) - 1)] += 1
        swap = from_
        from_ = to
        to = swap
        shift += RADIX
    cells[0] = from_
    scratch[0] = to
