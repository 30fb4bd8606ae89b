from libc.stdint cimport uint8_t, uint32_t, uint64_t

from seatrial.core.segment cimport FrameHeader

cdef enum:
    MIN_SEGMENT = 4096

cdef struct Place:               # where the next frame goes
    uint64_t sequence            # of the segment,
    uint64_t salt                # which its frames repeat
    uint64_t size
    uint64_t offset

cdef struct GroupWrite:
    uint64_t seq
    FrameHeader header           # without salt and checksum, which depend on the place
    const uint8_t* chunk         # a snapshot's, or NULL
    size_t chunk_size
    const uint8_t* records       # the entries
    uint64_t first               # entries below it are needless once a snapshot holds them

cdef struct FrameWrite:          # one write, and the sync that follows it
    uint64_t offset
    FrameHeader header
    const uint8_t* chunk         # chunk_size bytes,
    size_t chunk_size
    const uint8_t* records       # records_size bytes; then ``padding`` zeros
    size_t records_size
    size_t padding
    size_t size                  # of it all
    bint sync

cdef size_t largest_group(size_t segment_bytes) noexcept nogil
cdef bint fits(const Place* place, size_t size) noexcept nogil
cdef bint set_group(
    GroupWrite* group, uint64_t seq, uint64_t term, uint64_t vote, uint32_t count,
    const uint8_t* records, size_t size, uint64_t base, uint64_t base_term,
    const uint8_t* chunk, size_t chunk_size, uint64_t first) noexcept nogil
cdef bint plan_frame(const GroupWrite* group, Place* place, FrameWrite* frame) noexcept nogil
