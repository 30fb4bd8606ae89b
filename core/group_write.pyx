"""What a group write does to the segments: every decision of the log's writer, and no I/O.

A group write is one frame in the segment in use: the hard state, at most one chunk of a snapshot,
then entries. Where that frame and the seal after it
would not both fit, the segment is sealed first and the frame goes into the next one:

    while not plan_frame(&group, &place, &frame):
        ...                     the next segment must be durable before the seal is written
        write and sync frame    (the seal)
        place = that of the next segment
    write and sync frame

The same code decides for files (wal.pyx) and for the simulated disk, so that what is found
in simulation is true of the log itself.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from seatrial.core.crc cimport crc32c
from seatrial.core.mutant cimport MUTANT, WRITE_NOT_SYNCED, seatrial_arm
from seatrial.core.segment cimport (
    FRAME_HEADER,
    FRAME_MAGIC,
    SEAL_MAGIC,
    SEGMENT_HEADER,
    RecordPrefix,
    padded,
    prefixes_crc,
)


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef size_t largest_group(size_t segment_bytes) noexcept nogil:
    """Return how many bytes of records fit a segment beside its header, a frame's and the seal."""
    return segment_bytes - (SEGMENT_HEADER + 2 * FRAME_HEADER + 8)


cdef bint fits(const Place* place, size_t size) noexcept nogil:
    """Return whether a frame with so many bytes of records fits, with room for the seal."""
    return place.offset + padded(FRAME_HEADER + size) + FRAME_HEADER <= place.size


cdef bint set_group(
    GroupWrite* group, uint64_t seq, uint64_t term, uint64_t vote, uint32_t count,
    const uint8_t* records, size_t size, uint64_t base, uint64_t base_term,
    const uint8_t* chunk, size_t chunk_size, uint64_t first
) noexcept nogil:
    """Fill in a group write; return whether ``records`` are ``count`` whole ones, beginning just
    after ``base``, and ``chunk`` is one or none."""
    cdef uint32_t crc
    cdef RecordPrefix record
    group.seq = seq
    group.header = FrameHeader(
        FRAME_MAGIC, <uint32_t>(size + chunk_size), 0, term, vote, base, base_term,
        count + (1 if chunk_size else 0), 0)
    group.chunk, group.chunk_size = chunk, chunk_size
    group.records = records
    group.first = first
    if not records_crc(&group.header, chunk, chunk_size, records, size, &crc):
        return False
    if count:
        memcpy(&record, records, sizeof(record))
    return count == 0 or record.index == base + 1


cdef bint records_crc(
    const FrameHeader* header, const uint8_t* chunk, size_t chunk_size, const uint8_t* records,
    size_t size, uint32_t* crc
) noexcept nogil:
    """Compute a frame's checksum (segment.frame_crc) where its chunk lies apart."""
    cdef uint32_t entries = header.count - (1 if chunk_size else 0)
    crc[0] = crc32c(0, header, FRAME_HEADER - 4)
    return ((chunk_size == 0 or prefixes_crc(chunk, chunk_size, 1, crc))
            and prefixes_crc(records, size, entries, crc))


cdef bint plan_frame(const GroupWrite* group, Place* place, FrameWrite* frame) noexcept nogil:
    """Fill in the next frame and move ``place`` behind it.

    Return whether that ends the group write; if not, it is a seal.
    """
    cdef bint last = fits(place, group.header.size)
    cdef uint32_t crc
    cdef size_t n
    frame.header = group.header
    frame.chunk, frame.chunk_size = group.chunk, group.chunk_size
    frame.records = group.records
    frame.records_size = group.header.size - group.chunk_size
    if not last:
        frame.header.magic, frame.header.size, frame.header.count = SEAL_MAGIC, 0, 0
        frame.chunk_size = frame.records_size = 0
    frame.header.salt = place.salt
    records_crc(&frame.header, frame.chunk, frame.chunk_size, frame.records,
                frame.records_size, &crc)               # set_group has checked the form
    frame.header.crc = crc
    n = FRAME_HEADER + frame.header.size
    frame.offset = place.offset
    frame.size = padded(n)
    frame.padding = frame.size - n
    frame.sync = not MUTANT(WRITE_NOT_SYNCED)
    place.offset += frame.size
    return last
