# Fingerprints of 128 bits, from a multiplication to 128 bits folded in half (wyhash, Wang Yi 2019).
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <stddef.h>
    #include <string.h>
    static inline uint64_t seatrial_folded(uint64_t a, uint64_t b)
    {
        unsigned __int128 r = (unsigned __int128)a * b;
        return (uint64_t)r ^ (uint64_t)(r >> 64);
    }
    static inline uint64_t seatrial_hash(const char *p, size_t n, uint64_t seed)
    {
        uint64_t h = seed ^ (n * 0x9E3779B97F4A7C15ull), word;
        while (n) {
            size_t part = n < 8 ? n : 8;
            word = 0;
            memcpy(&word, p, part);
            h = seatrial_folded(h ^ word, 0xE7037ED1A0B428DBull ^ (word >> 32 | word << 32));
            h += 0x8EBC6AF09C88C6E3ull;
            p += part;
            n -= part;
        }
        return seatrial_folded(h ^ 0x589965CC75374CC3ull, h | 1);
    }
    """
    uint64_t folded "seatrial_folded"(uint64_t a, uint64_t b) noexcept nogil
    uint64_t hash_of "seatrial_hash"(const char* p, size_t n, uint64_t seed) noexcept nogil

cdef struct Print:              # a fingerprint
    uint64_t high
    uint64_t low


cdef inline Print print_of(const char* p, size_t n) noexcept nogil:
    cdef Print f
    f.high = hash_of(p, n, <uint64_t>0x1D8E4E27C47D124F)
    f.low = hash_of(p, n, <uint64_t>0xEB44ACCAB455D165)
    return f


cdef inline Print mixed(Print f, uint64_t with_) noexcept nogil:
    """One that depends on both, and on which came first."""
    f.high = folded(f.high ^ with_ ^ <uint64_t>0xA0761D6478BD642F,
                    with_ + <uint64_t>0xE7037ED1A0B428DB)
    f.low = folded(f.low + with_ + <uint64_t>0x8EBC6AF09C88C6E3,
                   with_ ^ <uint64_t>0x589965CC75374CC3)
    return f
