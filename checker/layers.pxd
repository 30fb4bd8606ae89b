"""Stacks at whose top somebody looked: is there a moment for each operation?

An element is certainly in between two gaps (of those between neighbouring events): that is its
layer. An operation has a place in a gap that no layer covers, or its own element's layer alone:
there the stack holds nothing else that matters. When all operations of an element have a place, its
layer is gone, and others may find one. If all do, a stack explains the history, else none does.

After Lee and Mathur, "Efficient decrease-and-conquer linearizability monitoring", OOPSLA 2025. Each
pass is near-linear and takes away the bottom of every pile: n times the depth in all.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef struct Part:
    # An operation, and the gaps that it covers: the first one, and the one behind the last.
    int32_t element
    int32_t first
    int32_t end

cdef struct Layer:
    # An element, the gaps in which it is certainly in, and how many operations have no place.
    int32_t first
    int32_t end
    int32_t parts

cdef struct Gaps:
    int32_t n
    int32_t* layers         # over each gap
    int64_t* whose          # the sum of their numbers
    int32_t* free           # the first gap at or behind this one that none covers
    int32_t* alone          # gaps with one layer, by its element,
    int32_t* start          # those of each element from here
    int32_t* fill


cdef inline bint gaps_init(Gaps* g, int32_t n, int32_t elements) noexcept nogil:
    g.n = n
    g.layers = <int32_t*>malloc((<size_t>n + 1) * sizeof(int32_t))
    g.whose = <int64_t*>malloc((<size_t>n + 1) * sizeof(int64_t))
    g.free = <int32_t*>malloc((<size_t>n + 1) * sizeof(int32_t))
    g.alone = <int32_t*>malloc((<size_t>n + 1) * sizeof(int32_t))
    g.start = <int32_t*>malloc((<size_t>elements + 1) * sizeof(int32_t))
    g.fill = <int32_t*>malloc((<size_t>elements + 1) * sizeof(int32_t))
    return (g.layers is not NULL and g.whose is not NULL and g.free is not NULL
            and g.alone is not NULL and g.start is not NULL and g.fill is not NULL)


cdef inline void gaps_free(Gaps* g) noexcept nogil:
    free(g.layers)
    free(g.whose)
    free(g.free)
    free(g.alone)
    free(g.start)
    free(g.fill)


cdef inline void gaps_cover(Gaps* g, const Layer* layers, int32_t n) noexcept nogil:
    """Count the layers over each gap, and note whose the only one is."""
    cdef int32_t i, element
    memset(g.layers, 0, (<size_t>g.n + 1) * sizeof(int32_t))
    memset(g.whose, 0, (<size_t>g.n + 1) * sizeof(int64_t))
    memset(g.start, 0, (<size_t>n + 1) * sizeof(int32_t))
    for i in range(n):
        if layers[i].parts and layers[i].first < layers[i].end:
            g.layers[layers[i].first] += 1
            g.layers[layers[i].end] -= 1
            g.whose[layers[i].first] += i
            g.whose[layers[i].end] -= i
    for i in range(g.n):
        if i:
            g.layers[i] += g.layers[i - 1]
            g.whose[i] += g.whose[i - 1]
        if g.layers[i] == 1:
            g.start[g.whose[i] + 1] += 1
    for i in range(n):
        g.start[i + 1] += g.start[i]
        g.fill[i] = g.start[i]
    g.free[g.n] = g.n
    for i in range(g.n - 1, -1, -1):
        g.free[i] = g.free[i + 1] if g.layers[i] else i
    for i in range(g.n):
        if g.layers[i] == 1:
            element = <int32_t>g.whose[i]
            g.alone[g.fill[element]] = i
            g.fill[element] += 1


cdef inline bint has_place(const Gaps* g, const Part* part) noexcept nogil:
    cdef int32_t low = g.start[part.element], end = g.start[part.element + 1], high, middle
    if g.free[part.first] < part.end:
        return True
    high = end
    while low < high:                               # the first of its own that is not before it
        middle = (low + high) >> 1
        if g.alone[middle] < part.first:
            low = middle + 1
        else:
            high = middle
    return low < end and g.alone[low] < part.end


cdef inline int64_t peel(Part* parts, int64_t n, Layer* layers, int32_t n_layers,
                         int32_t gaps) noexcept nogil:
    """How many operations have no place, which are then the first ones; below 0: no memory."""
    cdef Gaps g
    cdef int64_t i, kept = 0
    if not gaps_init(&g, gaps, n_layers):
        gaps_free(&g)
        return -1
    while n:
        gaps_cover(&g, layers, n_layers)
        kept = 0
        for i in range(n):
            if has_place(&g, &parts[i]):
                layers[parts[i].element].parts -= 1
            else:
                parts[kept] = parts[i]
                kept += 1
        if kept == n:
            break
        n = kept
    gaps_free(&g)
    return n
