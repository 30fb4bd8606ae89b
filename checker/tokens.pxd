"""Values and positions as numbers: what operations.py calls tokens, and INF."""
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #define SEATRIAL_NIL INT64_MIN
    #define SEATRIAL_ANY (INT64_MIN + 2)
    #define SEATRIAL_OBJECTS ((int64_t)1 << 62)
    #define SEATRIAL_INF INT64_MAX
    """
    const int64_t NIL "SEATRIAL_NIL"            # no value
    const int64_t ANY "SEATRIAL_ANY"            # a value that nobody knows
    const int64_t OBJECTS "SEATRIAL_OBJECTS"    # the first value that is no integer
    const int64_t INF "SEATRIAL_INF"            # the position of what does not come
