"""Operations sorted by key, so that monitors take one key after the other."""
from libc.stdint cimport int32_t, int64_t


cdef inline bint group_by_key(const int32_t* key, int64_t n, int64_t keys, int64_t* starts,
                              int32_t* order) noexcept nogil:
    """Counting sort: operations of key k are ``order[starts[k]:starts[k + 1]]``, in their order.

    ``starts`` has keys + 2 cells, all zero. False when a key is out of range.
    """
    cdef int64_t i
    for i in range(n):
        if not 0 <= key[i] < keys:
            return False
        starts[key[i] + 2] += 1
    for i in range(2, keys + 2):
        starts[i] += starts[i - 1]
    for i in range(n):
        order[starts[key[i] + 1]] = <int32_t>i
        starts[key[i] + 1] += 1
    return True
