"""Interned states: every value a key may hold is a node of a trie, and a state is its number.

A plain value is one symbol below the root; a list is the path of its elements; a string that
is appended to is the path of its bytes. So appending is a walk of a few steps, equal states
have equal numbers, and nothing is ever copied. The root (0) is nil, which is also the empty
list and the empty string.

Nodes made before ``states_number`` (those that the history itself shows) know their place in
a depth-first walk, so "is this state a beginning of that one" is two comparisons. States the
search makes later are on no path that anybody ever read.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

cdef struct Node:
    int64_t symbol
    int32_t parent
    int32_t heir        # the first node made below it; 0 none
    int32_t link        # 1 + the next node of the hash chain; of heirs unused
    int32_t first       # place in the depth-first walk, and one past its last descendant
    int32_t after

cdef struct States:
    Node* nodes
    int32_t n
    int32_t capacity
    int32_t most
    int32_t numbered    # nodes below this have their places
    uint32_t linked     # nodes in the hash table: all but heirs and the root
    uint32_t* heads
    uint32_t* stamps
    uint32_t stamp
    uint32_t buckets


cdef inline void states_init(States* s) noexcept nogil:
    memset(s, 0, sizeof(States))


cdef inline void states_free(States* s) noexcept nogil:
    free(s.nodes)
    free(s.heads)
    free(s.stamps)
    states_init(s)


cdef inline uint32_t state_bucket(const States* s, int32_t parent, int64_t symbol) noexcept nogil:
    cdef uint64_t h = (<uint64_t>symbol * <uint64_t>0x9E3779B97F4A7C15) ^ <uint32_t>parent
    h = (h ^ (h >> 29)) * <uint64_t>0xBF58476D1CE4E5B9
    return <uint32_t>(h >> 32) & (s.buckets - 1)


cdef inline void state_link(States* s, int32_t i) noexcept nogil:
    cdef uint32_t b = state_bucket(s, s.nodes[i].parent, s.nodes[i].symbol)
    s.nodes[i].link = <int32_t>s.heads[b] if s.stamps[b] == s.stamp else 0
    s.heads[b] = <uint32_t>i + 1
    s.stamps[b] = s.stamp


cdef inline int states_grow(States* s) noexcept nogil:
    cdef void* moved
    cdef int32_t capacity, i
    if s.n >= s.capacity:
        if s.n >= s.most:
            return -1
        capacity = min(max(s.capacity * 2, 256), s.most)
        moved = realloc(s.nodes, <size_t>capacity * sizeof(Node))
        if moved is NULL:
            return -1
        s.nodes = <Node*>moved
        s.capacity = capacity
    if s.linked >= s.buckets:
        moved = realloc(s.heads, <size_t>s.buckets * 2 * sizeof(uint32_t))
        if moved is NULL:
            return -1
        s.heads = <uint32_t*>moved
        moved = realloc(s.stamps, <size_t>s.buckets * 2 * sizeof(uint32_t))
        if moved is NULL:
            return -1
        s.stamps = <uint32_t*>moved
        s.buckets *= 2
        memset(s.stamps, 0, s.buckets * sizeof(uint32_t))
        s.stamp = 1
        for i in range(1, s.n):
            if s.nodes[s.nodes[i].parent].heir != i:
                state_link(s, i)
    return 0


cdef inline int states_reset(States* s, size_t bytes) noexcept nogil:
    """Forget all states but the root; -1 when there is no memory."""
    # 16: a head and a stamp for each of up to two buckets per node
    s.most = <int32_t>min(bytes // (sizeof(Node) + 16), <size_t>0x7FFFFFFE)
    if s.buckets == 0:
        s.heads = <uint32_t*>malloc(256 * sizeof(uint32_t))
        s.stamps = <uint32_t*>calloc(256, sizeof(uint32_t))
        if s.heads is NULL or s.stamps is NULL:
            return -1
        s.buckets = 256
    s.stamp += 1
    if s.stamp == 0:
        memset(s.stamps, 0, s.buckets * sizeof(uint32_t))
        s.stamp = 1
    s.n = 0
    s.numbered = 0
    s.linked = 0
    if states_grow(s) < 0:
        return -1
    s.nodes[0].symbol = 0
    s.nodes[0].parent = -1
    s.nodes[0].heir = 0
    s.n = 1
    return 0


cdef inline int32_t state_find(const States* s, int32_t parent, int64_t symbol) noexcept nogil:
    """Return the state that follows ``parent`` by one symbol; -1 when nothing made it."""
    cdef int32_t i = s.nodes[parent].heir
    cdef uint32_t b
    if i == 0:
        return -1
    if s.nodes[i].symbol == symbol:
        return i
    b = state_bucket(s, parent, symbol)
    i = <int32_t>s.heads[b] if s.stamps[b] == s.stamp else 0
    while i:
        if s.nodes[i - 1].parent == parent and s.nodes[i - 1].symbol == symbol:
            return i - 1
        i = s.nodes[i - 1].link
    return -1


cdef inline int32_t state_child(States* s, int32_t parent, int64_t symbol) noexcept nogil:
    """Return the state that follows ``parent`` by one symbol; -1 out of memory."""
    cdef int32_t i = state_find(s, parent, symbol)
    if i >= 0:
        return i
    if states_grow(s) < 0:
        return -1
    i = s.n
    s.nodes[i].symbol = symbol
    s.nodes[i].parent = parent
    s.nodes[i].heir = 0
    if s.nodes[parent].heir == 0:
        s.nodes[parent].heir = i
    else:
        state_link(s, i)
        s.linked += 1
    s.n += 1
    return i


cdef inline int32_t state_walk(States* s, int32_t state, const int64_t* path,
                               int64_t length) noexcept nogil:
    """Return the state after appending a path of symbols; -1 out of memory."""
    cdef int64_t i
    for i in range(length):
        state = state_child(s, state, path[i])
        if state < 0:
            return -1
    return state


cdef inline void states_number(States* s) noexcept nogil:
    """Give each node its place in a depth-first walk (parents come before children)."""
    cdef int32_t i, size
    for i in range(s.n):
        s.nodes[i].after = 1                        # for now: nodes in its subtree
    for i in range(s.n - 1, 0, -1):
        s.nodes[s.nodes[i].parent].after += s.nodes[i].after
    s.nodes[0].first = 0
    for i in range(s.n):
        size = s.nodes[i].after
        if i:
            # ``after`` of a parent is by now the first place that is still free below it
            s.nodes[i].first = s.nodes[s.nodes[i].parent].after
            s.nodes[s.nodes[i].parent].after += size
        s.nodes[i].after = s.nodes[i].first + 1
    s.numbered = s.n


cdef inline bint state_begins(const States* s, int32_t state, int32_t whole) noexcept nogil:
    """Whether ``state`` is a beginning of ``whole`` (a numbered state)."""
    return (state < s.numbered and s.nodes[state].first <= s.nodes[whole].first
            and s.nodes[whole].first < s.nodes[state].after)
