from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SEGMENT_MAGIC = 0x4C575453   # "STWL"
    FRAME_MAGIC = 0x46575453     # "STWF"
    SEAL_MAGIC = 0x45575453      # "STWE"
    VERSION = 2
    SEGMENT_HEADER = 64
    FRAME_HEADER = 56
    RECYCLED = 1                 # SegmentHeader.flags: beyond its frames it need not be zeros
    RECORD_PREFIX = 24           # what a frame's checksum covers of each record
    RECORD_HEADER = 72

cdef packed struct SegmentHeader:
    uint32_t magic
    uint32_t version
    uint64_t sequence
    uint64_t salt
    uint64_t size
    uint32_t flags
    uint8_t[24] reserved
    uint32_t crc

cdef packed struct FrameHeader:
    uint32_t magic
    uint32_t size                # bytes of records, the chunk's among them
    uint64_t salt
    uint64_t term
    uint64_t vote
    uint64_t base                # the entry after which those of this frame go,
    uint64_t base_term           # without any: the log's last
    uint32_t count
    uint32_t crc

cdef packed struct RecordPrefix:
    uint32_t length
    uint32_t crc
    uint64_t index
    uint64_t term

cdef enum Verdict:
    FRAME_VALID
    FRAME_ABSENT                 # zeros, or what an earlier life of the segment left
    FRAME_BROKEN

cdef size_t padded(size_t n) noexcept nogil
cdef bint prefixes_crc(
    const uint8_t* records, size_t size, uint32_t count, uint32_t* crc) noexcept nogil
cdef bint frame_crc(
    const FrameHeader* header, const uint8_t* records, uint32_t* crc) noexcept nogil
cdef Verdict check_frame(
    const uint8_t* segment, size_t at, size_t end, uint64_t salt, size_t* bad) noexcept nogil
cdef size_t find_frame(
    const uint8_t* segment, size_t at, size_t end, uint64_t salt) noexcept nogil
