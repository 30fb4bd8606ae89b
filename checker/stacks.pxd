"""Stacks whose elements are all different: is there a choice of moments so that they nest?

An element v that is pushed in [a, b] and popped in [c, d] is certainly in during (b, c); where
c <= b it may come and go in an instant, and is in nobody's way. From when it goes in to when it
comes out is its interval; a stack explains the history when intervals can be chosen such that
any two are disjoint or one holds the other.

- At a moment at which no element is certainly in, none needs to be: cut there what reaches over
  it, and what is nested stays nested. So both sides are judged by themselves, and "empty" may be
  answered at these moments and no others.
- Where there is no such moment, one element must hold all others: one with a < every b and
  d > every c. If several could, any will do (cut the others to its interval). Without it the
  rest is judged by itself; if there is none, no stack explains the history.

After Lee and Mathur, "Efficient decrease-and-conquer linearizability monitoring", OOPSLA 2025.
Each pass is linear and takes away the bottom of every pile: n times the depth in all.
"""
from libc.stdint cimport int32_t, int64_t

cdef struct Stay:
    int64_t a
    int64_t b
    int64_t c
    int64_t d
    int32_t element


cdef inline int32_t nest(Stay* stays, int32_t n, int32_t* pile) noexcept nogil:
    """Judge stays that are sorted by b: 0 when they nest; else the size of a pile that has no
    element at its bottom: it is at ``stays[pile[0]:]``. What was judged is overwritten."""
    cdef int32_t i, start, kept, size
    cdef int64_t far, soonest
    while n:
        kept = start = 0
        while start < n:
            far = stays[start].c
            soonest = stays[start].b
            i = start + 1
            while i < n and stays[i].b < far:       # one pile: no moment without any of them
                far = max(far, stays[i].c)
                i += 1
            size = i - start
            pile[0] = kept
            while start < i:
                if stays[start].a >= soonest or stays[start].d <= far:
                    stays[kept] = stays[start]
                    kept += 1
                start += 1
            if kept - pile[0] == size:
                return size
        n = kept
    return 0
