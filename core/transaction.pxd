# distutils: language = c++
from libc.stddef cimport size_t

from seatrial.core.codec cimport Command
from seatrial.core.keys cimport Keys
from seatrial.core.outcome cimport Outcome

cdef enum:
    MAX_PARTS = 128             # compares and commands; part of the format, as etcd's default

cdef bint sound(const Command* c) noexcept nogil
cdef size_t largest_key(const Command* c) noexcept nogil
cdef void transact(Keys keys, const Command* c, Outcome* out) noexcept nogil
