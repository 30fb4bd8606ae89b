"""Invocations and their completions, found in one pass over the events."""
from libc.stdint cimport int8_t, int32_t, int64_t
from libc.stdlib cimport calloc, free

cimport cython

import numpy as np

cdef enum:
    INVOKE = 0
    NONE = -1                   # no such row


@cython.boundscheck(False)
@cython.wraparound(False)
cdef void pair(const int32_t* process, const int8_t* kind, Py_ssize_t n, int64_t* flying,
               int64_t* invocation, int64_t* completion, int64_t* bad) noexcept nogil:
    """``flying``: by process, 1 + the operation that it waits for; all 0."""
    cdef Py_ssize_t i, operations = 0
    for i in range(n):
        if process[i] < 0:
            continue
        if kind[i] == INVOKE:
            if flying[process[i]] and bad[0] == NONE:
                bad[0] = i
            invocation[operations], completion[operations] = i, NONE
            operations += 1
            flying[process[i]] = operations
        elif flying[process[i]]:
            completion[flying[process[i]] - 1] = i
            flying[process[i]] = 0
        elif bad[1] == NONE:
            bad[1] = i


def pairs(const int32_t[::1] process not None, const int8_t[::1] kind not None):
    """Rows of invocations, of their completions (NONE: never), and the first rows at which a
    process invokes again before its operation ended, and completes what it never invoked (or NONE).

    Processes below 0 are passed over; memory grows with the largest.
    """
    cdef Py_ssize_t i, n = process.shape[0], operations = 0
    cdef int32_t largest = 0
    cdef int64_t* flying
    cdef int64_t[2] bad
    cdef int64_t[::1] from_, to
    if kind.shape[0] != n:
        raise ValueError("columns of different lengths")
    for i in range(n):
        operations += process[i] >= 0 and kind[i] == INVOKE
        largest = max(largest, process[i])
    invocation, completion = np.empty(operations, np.int64), np.empty(operations, np.int64)
    from_, to = invocation, completion
    flying = <int64_t*>calloc(<size_t>largest + 1, sizeof(int64_t))
    if flying is NULL:
        raise MemoryError(f"no memory for {largest} processes")
    bad[0] = bad[1] = NONE
    with nogil:
        if n:
            pair(&process[0], &kind[0], n, flying, &from_[0] if operations else NULL,
                 &to[0] if operations else NULL, bad)
    free(flying)
    return invocation, completion, bad[0], bad[1]
