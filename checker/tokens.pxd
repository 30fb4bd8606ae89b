"""Values as numbers: what operations.py calls tokens."""
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #define SEATRIAL_NIL INT64_MIN
    #define SEATRIAL_ANY (INT64_MIN + 2)
    #define SEATRIAL_OBJECTS ((int64_t)1 << 62)
    """
    const int64_t NIL "SEATRIAL_NIL"            # no value
    const int64_t ANY "SEATRIAL_ANY"            # a value that nobody knows
    const int64_t OBJECTS "SEATRIAL_OBJECTS"    # the first value that is no integer
