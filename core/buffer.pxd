"""A growable byte buffer: bytes [start, end) are valid; consumed from the front."""
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

cdef enum:
    SLICE_BYTES = 4 << 20       # of memory, given back at once


cdef struct Buffer:
    char* data
    size_t start
    size_t end
    size_t capacity


cdef inline void buffer_init(Buffer* b) noexcept nogil:
    b.data = NULL
    b.start = b.end = b.capacity = 0


cdef inline void buffer_free(Buffer* b) noexcept nogil:
    free(b.data)
    buffer_init(b)


cdef inline size_t buffer_size(const Buffer* b) noexcept nogil:
    return b.end - b.start


cdef inline char* buffer_reserve(Buffer* b, size_t n) except NULL nogil:
    """Return room for n more bytes at the end; the caller then moves ``end``."""
    cdef size_t held = b.end - b.start
    cdef size_t want
    cdef char* moved
    if b.end + n <= b.capacity:
        return b.data + b.end
    if b.start and held + n <= b.capacity and held <= b.capacity // 2:
        memmove(b.data, b.data + b.start, held)
        b.start = 0
        b.end = held
        return b.data + b.end
    want = b.capacity * 2 if b.capacity else 256
    while want < b.end + n:
        want *= 2
    moved = <char*>realloc(b.data, want)
    if moved is NULL:
        with gil:
            raise MemoryError(f"no memory for a buffer of {want} bytes")
    b.data = moved
    b.capacity = want
    return b.data + b.end


cdef inline int buffer_append(Buffer* b, const void* data, size_t n) except -1 nogil:
    if n:
        memcpy(buffer_reserve(b, n), data, n)
        b.end += n
    return 0


cdef inline void buffer_consume(Buffer* b, size_t n) noexcept nogil:
    b.start += n
    if b.start == b.end:
        b.start = b.end = 0


cdef inline void buffer_shrink(Buffer* b, size_t least) noexcept nogil:
    """Give a slice of memory back where the buffer holds more than twice what it may soon need
    again. The kernel takes 30 ms for 256 MiB in one piece, and nothing else happens meanwhile."""
    cdef size_t held = b.end - b.start
    cdef size_t want = max(2 * held, least)
    cdef char* moved
    if b.capacity == 0 or b.capacity // 2 < want:
        return
    if b.start:
        memmove(b.data, b.data + b.start, held)
        b.start = 0
        b.end = held
    if b.capacity > SLICE_BYTES:
        want = max(want, b.capacity - SLICE_BYTES)
    if want == 0:
        buffer_free(b)
        return
    moved = <char*>realloc(b.data, want)
    if moved is not NULL:               # else all of it is kept
        b.data = moved
        b.capacity = want
