"""A hash of the whole state that costs only what changes.

The state's hash is the sum, modulo 2^64, of a hash of each item: what an item was is taken off and
what it becomes is added, in any order (Bellare and Micciancio, A new paradigm for collision-free
hashing: incrementality at reduced cost, EUROCRYPT 1997: AdHash; against accidents, which this is
for, 64 bits will do). An item is hashed eight bytes at a time by a folded multiplication, as in
wyhash (Wang Yi, 2019): both halves of the 128-bit product, XORed. The words before a value's end
are hashed ahead of its tail and length, so that appending goes on where it was.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    static inline uint64_t seatrial_fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t seatrial_fold(uint64_t a, uint64_t b) noexcept nogil

cdef enum:                      # what an item is: equal bytes of different kinds differ
    KEY_SEED = 0x6B6579
    VALUE_SEED = 0x76616C
    LOCK_SEED = 0x6C6F636B
    SESSION_SEED = 0x73657373
    STATE_SEED = 0x73746174

cdef inline uint64_t absorb(uint64_t h, uint64_t word) noexcept nogil:
    return seatrial_fold(h ^ word ^ <uint64_t>0xA0761D6478BD642FULL,
                         <uint64_t>0xE7037ED1A0B428DBULL)

cdef inline uint64_t absorb_words(uint64_t h, const char* p, size_t begin,
                                  size_t size) noexcept nogil:
    """Take in the whole words of ``size`` bytes from byte ``begin`` on, a multiple of 8."""
    cdef uint64_t word
    while begin + 8 <= size:
        memcpy(&word, p + begin, 8)
        h = absorb(h, word)
        begin += 8
    return h

cdef inline uint64_t absorb_tail(uint64_t h, const char* p, size_t size) noexcept nogil:
    """Take in what is left after the whole words, and the length."""
    cdef uint64_t word = 0
    if size & 7:
        memcpy(&word, p + (size & ~<size_t>7), size & 7)
    return absorb(absorb(h, word), size)

cdef inline uint64_t hash_bytes(uint64_t seed, const char* p, size_t size) noexcept nogil:
    return absorb_tail(absorb_words(seed, p, 0, size), p, size)
