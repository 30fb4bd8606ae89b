"""must(): an assertion that stays on in release builds and carries its numbers.

A failed ``must`` raises InvariantViolation: a bug of ours. The node stops; nothing goes on
after it.
"""
from libc.stdint cimport uint64_t


cdef inline int must(bint holds, const char* what, uint64_t a=0, uint64_t b=0,
                     uint64_t c=0) except -1 nogil:
    if not holds:
        with gil:
            from seatrial.core.errors import InvariantViolation
            raise InvariantViolation(f"{what.decode()} [{a}, {b}, {c}]")
    return 0
