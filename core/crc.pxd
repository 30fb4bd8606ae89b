from libc.stdint cimport uint32_t

cdef uint32_t crc32c(uint32_t crc, const void* data, size_t n) noexcept nogil
cdef uint32_t crc32c_table(uint32_t crc, const void* data, size_t n) noexcept nogil
