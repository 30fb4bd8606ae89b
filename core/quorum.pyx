"""Quorum arithmetic: the largest value that a majority has reached.

Used for log indexes (match_index), for rounds of leadership confirmation and for contact
times alike. Pure; n is a handful, so insertion into a sorted copy beats anything clever.
"""


cdef uint64_t majority(const uint64_t* values, int n) noexcept nogil:
    """Return the largest v such that more than half of ``values`` are >= v; 0 for none.

    ``n`` is at most 64, which the configuration guarantees.
    """
    cdef uint64_t[64] ranked  # descending
    cdef uint64_t v
    cdef int i, j
    if n == 0 or n > 64:
        return 0
    for i in range(n):
        v = values[i]
        j = i
        while j > 0 and ranked[j - 1] < v:
            ranked[j] = ranked[j - 1]
            j -= 1
        ranked[j] = v
    return ranked[n // 2]


def majority_of(values: list) -> int:
    """Return the largest value that a majority of ``values`` (at most 64) has reached."""
    cdef uint64_t[64] copy
    cdef int i
    if len(values) > 64:
        raise ValueError(f"{len(values)} members: at most 64")
    for i in range(len(values)):
        copy[i] = values[i]
    return majority(copy, len(values))
