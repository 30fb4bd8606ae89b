"""Interned vectors: a state that is a row of numbers, such as what a queue holds, by its number.

Equal vectors have equal numbers. All numbers lie in one block, so a vector moves when that
grows: copy what must outlive the next ``vectors_intern``.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

cdef struct Vector:
    size_t start
    int32_t length
    uint32_t link           # 1 + the next vector of the hash chain

cdef struct Vectors:
    Vector* vectors
    uint32_t n
    uint32_t capacity
    int64_t* numbers
    size_t used
    size_t room
    uint32_t* heads
    uint32_t buckets
    size_t limit            # bytes


cdef inline void vectors_free(Vectors* s) noexcept nogil:
    free(s.vectors)
    free(s.numbers)
    free(s.heads)
    memset(s, 0, sizeof(Vectors))


cdef inline size_t vectors_bytes(const Vectors* s) noexcept nogil:
    return s.used * 8 + <size_t>s.n * (sizeof(Vector) + 8)


cdef inline void vectors_clear(Vectors* s) noexcept nogil:
    if s.n:
        memset(s.heads, 0, s.buckets * sizeof(uint32_t))
    s.n = 0
    s.used = 0


cdef inline uint32_t vector_bucket(const Vectors* s, const int64_t* v,
                                   int32_t n) noexcept nogil:
    cdef uint64_t h = <uint64_t>n
    cdef int32_t i
    for i in range(n):
        h = (h ^ (h >> 29) ^ <uint64_t>v[i]) * <uint64_t>0xBF58476D1CE4E5B9
    return <uint32_t>(h >> 32) & (s.buckets - 1)


cdef inline bint vectors_grow(Vectors* s, int32_t length) noexcept nogil:
    """Make room for one more vector; False when the limit or the machine says no."""
    cdef void* moved
    cdef size_t room
    cdef uint32_t i, b
    cdef Vector* v
    if s.n >= 0x7FFFFFF0 or vectors_bytes(s) + <size_t>length * 8 > s.limit:
        return False
    if s.n >= s.capacity:
        s.capacity = max(2 * s.capacity, <uint32_t>256)
        moved = realloc(s.vectors, s.capacity * sizeof(Vector))
        if moved is NULL:
            return False
        s.vectors = <Vector*>moved
    if s.used + <size_t>length >= s.room:           # never NULL, not even for empty ones
        room = max(2 * s.room, s.used + <size_t>length + 1024)
        moved = realloc(s.numbers, room * 8)
        if moved is NULL:
            return False
        s.numbers = <int64_t*>moved
        s.room = room
    if s.n >= s.buckets:
        moved = calloc(max(2 * s.buckets, <uint32_t>256), sizeof(uint32_t))
        if moved is NULL:
            return False
        free(s.heads)
        s.heads = <uint32_t*>moved
        s.buckets = max(2 * s.buckets, <uint32_t>256)
        for i in range(s.n):
            v = &s.vectors[i]
            b = vector_bucket(s, s.numbers + v.start, v.length)
            v.link = s.heads[b]
            s.heads[b] = i + 1
    return True


cdef inline int32_t vectors_intern(Vectors* s, const int64_t* numbers,
                                   int32_t length) noexcept nogil:
    """Return the number of a vector; -1 when there is no memory. ``numbers`` is not ours."""
    cdef uint32_t b, i
    cdef Vector* v
    if s.buckets:
        i = s.heads[vector_bucket(s, numbers, length)]
        while i:
            v = &s.vectors[i - 1]
            if v.length == length and (length == 0 or memcmp(
                    s.numbers + v.start, numbers, <size_t>length * 8) == 0):
                return <int32_t>(i - 1)
            i = v.link
    if not vectors_grow(s, length):
        return -1
    b = vector_bucket(s, numbers, length)
    v = &s.vectors[s.n]
    v.start, v.length, v.link = s.used, length, s.heads[b]
    if length:
        memcpy(s.numbers + s.used, numbers, <size_t>length * 8)
    s.used += <size_t>length
    s.n += 1
    s.heads[b] = s.n
    return <int32_t>(s.n - 1)
