"""A history's operations by key, and the loop in which a monitor judges one key after the other."""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t

from seatrial.checker.findings cimport Guilty

cdef struct Watch:
    # What every monitor has first: the columns of operations.py, and the key that it judges.
    const int8_t* kind
    const int64_t* a
    const int64_t* b
    const int64_t* inv
    const int64_t* ret
    const int8_t* shape                 # by object
    const int64_t* path_start
    const int64_t* symbols
    int64_t initial
    int family
    const int32_t* ops                  # of this key
    int64_t n
    uint8_t mode                        # how it is appended to
    Guilty guilty                       # operations of the contradiction

ctypedef int (*Judge)(void* monitor) noexcept nogil
ctypedef void (*Free)(void* monitor) noexcept nogil

cdef object judge_keys(object operations, object keys, int64_t initial, int jobs,
                       size_t monitor_size, Judge judge, Free free_)
