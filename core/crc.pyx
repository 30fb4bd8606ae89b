"""CRC32C (Castagnoli), the one checksum of the wire, the log and memory.

The standard convention: start and final value are all-ones and handled inside, so the
checksum of nothing is 0 and sums chain: ``crc32c(crc32c(0, a), b) == crc32c(0, a + b)``.

x86-64 processors with SSE4.2 have an instruction for it (8 bytes in 3 cycles, about 8 ns
for a record of 100 bytes); it is looked for once, at import, so that one wheel runs on all
of them. Everything else takes eight tables of 256 words, eight bytes a step.
"""
from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #if defined(__x86_64__) && defined(__GNUC__)
    static int seatrial_has_sse42(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("sse4.2") != 0;
    }

    __attribute__((target("sse4.2")))
    static uint32_t seatrial_crc32c_sse42(uint32_t crc, const void *data, size_t n) {
        const unsigned char *p = (const unsigned char *)data;
        uint64_t c = (uint32_t)~crc;
        for (; n >= 8; n -= 8, p += 8) {
            uint64_t word;
            memcpy(&word, p, 8);
            c = __builtin_ia32_crc32di(c, word);
        }
        for (; n; n--, p++)
            c = __builtin_ia32_crc32qi((uint32_t)c, *p);
        return ~(uint32_t)c;
    }
    #else
    static int seatrial_has_sse42(void) { return 0; }
    static uint32_t seatrial_crc32c_sse42(uint32_t crc, const void *data, size_t n) {
        (void)data; (void)n;
        return crc;  /* never called: seatrial_has_sse42() is 0 */
    }
    #endif
    """
    bint has_sse42 "seatrial_has_sse42"() noexcept nogil
    uint32_t crc32c_sse42 "seatrial_crc32c_sse42"(
        uint32_t crc, const void* data, size_t n) noexcept nogil

cdef uint32_t POLYNOMIAL = 0x82F63B78  # Castagnoli's 0x1EDC6F41 with its bits reversed
cdef uint32_t[8][256] tables
cdef bint use_sse42 = has_sse42()


cdef void fill_tables() noexcept nogil:
    """tables[k][b]: what byte b contributes when k more bytes follow it in the step."""
    cdef uint32_t byte, crc, k
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        tables[0][byte] = crc
    for byte in range(256):
        for k in range(1, 8):
            crc = tables[k - 1][byte]
            tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xFF]


cdef uint32_t crc32c_table(uint32_t crc, const void* data, size_t n) noexcept nogil:
    """The same sum without the instruction; also the twin that tests hold it against."""
    cdef const uint8_t* p = <const uint8_t*>data
    cdef uint32_t c = ~crc
    while n >= 8:
        c ^= (<uint32_t>p[0] | <uint32_t>p[1] << 8
              | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24)
        c = (tables[7][c & 0xFF] ^ tables[6][(c >> 8) & 0xFF]
             ^ tables[5][(c >> 16) & 0xFF] ^ tables[4][c >> 24]
             ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^ tables[0][p[7]])
        p += 8
        n -= 8
    while n:
        c = (c >> 8) ^ tables[0][(c ^ p[0]) & 0xFF]
        p += 1
        n -= 1
    return ~c


cdef uint32_t crc32c(uint32_t crc, const void* data, size_t n) noexcept nogil:
    """Continue the checksum ``crc`` (0 to start) over n bytes."""
    if use_sse42:
        return crc32c_sse42(crc, data, n)
    return crc32c_table(crc, data, n)


fill_tables()
HARDWARE = bool(use_sse42)


def crc32c_of(const uint8_t[::1] data not None, uint32_t crc=0) -> int:
    """Return the CRC32C of ``data``, continuing ``crc``."""
    return crc32c(crc, &data[0], data.shape[0]) if data.shape[0] else crc


def crc32c_by_table(const uint8_t[::1] data not None, uint32_t crc=0) -> int:
    """Return the same, computed without the processor's instruction."""
    return crc32c_table(crc, &data[0], data.shape[0]) if data.shape[0] else crc


# Python knows it by the name that C callers cimport; a def of that name would clash here.
globals()["crc32c"] = crc32c_of
