"""Values as a reader has them, split into the columns of a history: integers, and all others."""
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from libc.stdint cimport int64_t, uint8_t

cimport cython

import numpy as np

INTEGER, OTHER = 1, 2           # what a cell holds; 0: nil


@cython.boundscheck(False)
@cython.wraparound(False)
def split(list values not None, encode):
    """Return the integers, what each cell holds, and the others, encoded, one after the other."""
    cdef Py_ssize_t i, n = len(values)
    cdef int overflow = 0
    cdef object value
    cdef list others = []
    integers = np.zeros(n, dtype=np.int64)
    kinds = np.zeros(n, dtype=np.uint8)
    cdef int64_t[::1] number = integers
    cdef uint8_t[::1] kind = kinds
    for i in range(n):
        value = values[i]
        if value is None:
            continue
        if PyLong_CheckExact(value):
            number[i] = PyLong_AsLongLongAndOverflow(value, &overflow)
            if not overflow:
                kind[i] = 1
                continue
            number[i] = 0
        kind[i] = 2
        others.append(encode(value))
    return integers, kinds, others
