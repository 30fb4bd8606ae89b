from libc.stdint cimport uint64_t

cdef uint64_t majority(const uint64_t* values, int n) noexcept nogil
