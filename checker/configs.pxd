"""A set of configurations: what the world may look like at one moment of the search.

A configuration says which value is in place and which operations in flight were already
placed in the order. One is a run of 64-bit cells:

====== ======================================================================
cell   meaning
====== ======================================================================
0      state (low 32 bits), last: event of the last blind write (high 32)
1      link to the next of its hash chain (low 32), 1 when dead (high 32)
2...   mask of slots placed: first the operations that will return, in
       ``words`` cells, then the crashed ones, in ``crashed`` cells
====== ======================================================================

Two configurations with the same state and the same returning operations placed differ only
in how much they leave possible. The one with the later blind write and fewer crashed
operations spent can do whatever the other can, so the other is dropped (dominance).
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

cdef enum:
    FEW_BUCKETS = 256

cdef struct Configs:
    uint64_t* cells
    uint32_t* heads         # per bucket: 1 + position of the chain's first configuration
    uint32_t* stamps        # per bucket: the generation that wrote its head
    uint32_t stamp
    uint32_t buckets
    uint32_t n
    uint32_t capacity
    uint32_t most           # capacity that the memory limit allows
    int words
    int crashed
    int stride


cdef inline int32_t state_of(const uint64_t* c) noexcept nogil:
    return <int32_t>(c[0] & 0xFFFFFFFFu)


cdef inline int32_t last_of(const uint64_t* c) noexcept nogil:
    return <int32_t>(c[0] >> 32)


cdef inline void set_head(uint64_t* c, int32_t state, int32_t last) noexcept nogil:
    c[0] = (<uint64_t><uint32_t>last << 32) | <uint32_t>state
    c[1] = 0


cdef inline bint is_dead(const uint64_t* c) noexcept nogil:
    return (c[1] >> 32) != 0


cdef inline bint has(const uint64_t* c, int slot) noexcept nogil:
    return (c[2 + (slot >> 6)] >> (slot & 63)) & 1


cdef inline void add(uint64_t* c, int slot) noexcept nogil:
    c[2 + (slot >> 6)] |= <uint64_t>1 << (slot & 63)


cdef inline void remove(uint64_t* c, int slot) noexcept nogil:
    c[2 + (slot >> 6)] &= ~(<uint64_t>1 << (slot & 63))


cdef inline void configs_init(Configs* s) noexcept nogil:
    memset(s, 0, sizeof(Configs))


cdef inline void configs_free(Configs* s) noexcept nogil:
    free(s.cells)
    free(s.heads)
    free(s.stamps)
    configs_init(s)


cdef inline uint64_t* config_at(const Configs* s, uint32_t i) noexcept nogil:
    return s.cells + <size_t>i * <size_t>s.stride


cdef inline void configs_clear(Configs* s) noexcept nogil:
    s.n = 0
    s.stamp += 1
    if s.stamp == 0:
        memset(s.stamps, 0, s.buckets * sizeof(uint32_t))
        s.stamp = 1


cdef inline int configs_shape(Configs* s, int words, int crashed, size_t bytes) noexcept nogil:
    """Empty the set and give it the mask widths of a key; -1 when there is no memory."""
    cdef size_t cells = <size_t>s.capacity * <size_t>s.stride
    s.words = words
    s.crashed = crashed
    s.stride = 2 + words + crashed
    s.capacity = <uint32_t>(cells // <size_t>s.stride)
    # 16: a head and a stamp for each of up to two buckets per configuration
    s.most = <uint32_t>min(bytes // (<size_t>s.stride * 8 + 16), <size_t>0x7FFFFFFF)
    if s.buckets == 0:
        s.heads = <uint32_t*>malloc(FEW_BUCKETS * sizeof(uint32_t))
        s.stamps = <uint32_t*>calloc(FEW_BUCKETS, sizeof(uint32_t))
        if s.heads is NULL or s.stamps is NULL:
            return -1
        s.buckets = FEW_BUCKETS
    configs_clear(s)
    return 0


cdef inline uint32_t config_bucket(const Configs* s, const uint64_t* c) noexcept nogil:
    cdef uint64_t h = (c[0] & 0xFFFFFFFFu) * <uint64_t>0x9E3779B97F4A7C15
    cdef int i
    for i in range(s.words):
        h = (h ^ (h >> 29) ^ c[2 + i]) * <uint64_t>0xBF58476D1CE4E5B9
    return <uint32_t>(h >> 32) & (s.buckets - 1)


cdef inline void config_link(Configs* s, uint32_t i) noexcept nogil:
    cdef uint64_t* c = config_at(s, i)
    cdef uint32_t b = config_bucket(s, c)
    cdef uint32_t head = s.heads[b] if s.stamps[b] == s.stamp else 0
    c[1] = (c[1] & <uint64_t>0xFFFFFFFF00000000) | head
    s.heads[b] = i + 1
    s.stamps[b] = s.stamp


cdef inline int configs_grow(Configs* s) noexcept nogil:
    """Make room for one more; -1 when the memory limit or the machine says no."""
    cdef uint32_t capacity, i
    cdef void* cells
    cdef void* heads
    cdef void* stamps
    if s.n >= s.capacity:
        if s.n >= s.most:
            return -1
        capacity = min(max(s.capacity * 2, <uint32_t>128), s.most)
        cells = realloc(s.cells, <size_t>capacity * <size_t>s.stride * 8)
        if cells is NULL:
            return -1
        s.cells = <uint64_t*>cells
        s.capacity = capacity
    if s.n >= s.buckets:
        heads = realloc(s.heads, <size_t>s.buckets * 2 * sizeof(uint32_t))
        if heads is NULL:
            return -1
        s.heads = <uint32_t*>heads
        stamps = realloc(s.stamps, <size_t>s.buckets * 2 * sizeof(uint32_t))
        if stamps is NULL:
            return -1
        s.stamps = <uint32_t*>stamps
        s.buckets *= 2
        memset(s.stamps, 0, s.buckets * sizeof(uint32_t))
        s.stamp = 1
        for i in range(s.n):
            config_link(s, i)
    return 0


cdef inline bint crashed_within(const Configs* s, const uint64_t* a,
                                const uint64_t* b) noexcept nogil:
    """Whether a spent no crashed operation that b did not spend."""
    cdef int i
    for i in range(2 + s.words, s.stride):
        if a[i] & ~b[i]:
            return False
    return True


cdef inline bint same_place(const Configs* s, const uint64_t* a, const uint64_t* b) noexcept nogil:
    cdef int i
    if state_of(a) != state_of(b):
        return False
    for i in range(2, 2 + s.words):
        if a[i] != b[i]:
            return False
    return True


cdef inline int configs_insert(Configs* s, const uint64_t* c) noexcept nogil:
    """Add a copy of c: 1 when added, 0 when it is dominated, -1 out of memory.

    What c dominates is marked dead and stays where it is, so positions don't move.
    """
    cdef uint32_t b, link
    cdef uint64_t* old
    if configs_grow(s) < 0:
        return -1
    b = config_bucket(s, c)
    link = s.heads[b] if s.stamps[b] == s.stamp else 0
    while link:
        old = config_at(s, link - 1)
        if not is_dead(old) and same_place(s, old, c):
            if last_of(old) >= last_of(c) and crashed_within(s, old, c):
                return 0
            if last_of(c) >= last_of(old) and crashed_within(s, c, old):
                old[1] |= <uint64_t>1 << 32
        link = <uint32_t>(old[1] & 0xFFFFFFFFu)
    old = config_at(s, s.n)
    memcpy(old, c, <size_t>s.stride * 8)
    old[1] = 0
    config_link(s, s.n)
    s.n += 1
    return 1
