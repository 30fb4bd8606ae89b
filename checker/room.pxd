"""Room that a monitor makes for a key, and uses again for the next one."""
from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef inline bint again(void* array, size_t bytes) noexcept nogil:
    """Put a new block into ``array[0]``, in place of the one there; False without memory."""
    cdef void** block = <void**>array
    free(block[0])
    block[0] = malloc(bytes)
    return block[0] is not NULL


cdef inline bint empty_table(int32_t** table, size_t* buckets, size_t n) noexcept nogil:
    """A hash table of zeros for n entries, at most half full; False without memory."""
    cdef size_t wanted = 64
    while wanted < 2 * n:
        wanted *= 2
    if wanted > buckets[0] or wanted * 64 < buckets[0]:
        buckets[0] = 0
        if not again(table, wanted * sizeof(int32_t)):
            return False
        buckets[0] = wanted
    memset(table[0], 0, buckets[0] * sizeof(int32_t))
    return True
