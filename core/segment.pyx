"""The write-ahead log's format: segments, frames, and what makes one valid.

A segment is a file of fixed size, zero-filled before its first use, or one that an earlier
part of the log no longer needs:

====== ============ ==================================================================
offset field        of the 64-byte segment header (little-endian, as everything here)
====== ============ ==================================================================
0      u32 magic    "STWL"
4      u32 version  2
8      u64 sequence the first segment of a log is 1; no number is ever left out. What lies
                    behind a snapshot goes, oldest segments first
16     u64 salt     random; every frame repeats it, so that what a recycled file still
                    holds of its earlier life can never be taken for this one's
24     u64 size     of the file: a file cut short is noticed
32     u32 flags    1: recycled, so that what follows the newest frame need not be zeros
36     24 zeros
60     u32 crc      CRC32C of bytes 0..60
====== ============ ==================================================================

The header is durable before the file gets its final name, so that it can't be torn. The
index of a segment's first record is not in it: that is not known when it is prepared.

Frames follow, one for each group write, each at a multiple of 8:

====== ============ ==================================================================
0      u32 magic    "STWF"; "STWE" seals a segment: the log goes on in the next one,
                    which therefore must exist
4      u32 size     bytes of records
8      u64 salt     the segment's
16     u64 term     the hard state: log and hard state share one sync
24     u64 vote
32     u64 base     index and term of the entry after which this frame's entries go (without
40     u64 term     entries: of the log's last one): what Raft asks of an AppendEntries (5.3)
48     u32 count    records; 0 for a frame that only changes the hard state
52     u32 crc      CRC32C of bytes 0..52, then of the first 24 bytes of every record
56     records, then zeros up to a multiple of 8: at most one chunk of a snapshot, then entries
====== ============ ==================================================================

The base is what makes damage bearable: where a frame is lost, those behind it say after which
entry they go, so that what they hold is never joined to a log that it was not written for.

Of a record this module knows length, crc (of bytes 24 to its end), index and term; the rest
is the codec's. Since the frame's checksum covers the first 24 bytes and the record's own
the others, every byte is covered once, and a record's checksum is never computed again on
its way from the first leader to a disk.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from seatrial.core.crc cimport crc32c
from seatrial.core.mutant cimport MUTANT, STALE_FRAMES_REPLAYED, seatrial_arm


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


class WrongVersion(ValueError):
    """The segment was written by another version of this software."""


cdef size_t padded(size_t n) noexcept nogil:
    """Round up to the multiple of 8 at which the next frame begins."""
    return (n + 7) & ~<size_t>7


cdef bint prefixes_crc(
    const uint8_t* records, size_t size, uint32_t count, uint32_t* crc
) noexcept nogil:
    """Go on with a frame's checksum; False unless these are exactly ``count`` records."""
    cdef size_t at = 0
    cdef RecordPrefix record
    while count:
        if at + RECORD_HEADER > size:
            return False
        memcpy(&record, records + at, RECORD_PREFIX)
        if record.length < RECORD_HEADER or record.length > size - at:
            return False
        crc[0] = crc32c(crc[0], &record, RECORD_PREFIX)
        at += record.length
        count -= 1
    return at == size


cdef bint frame_crc(
    const FrameHeader* header, const uint8_t* records, uint32_t* crc
) noexcept nogil:
    """Compute a frame's checksum; False unless size and count describe the records exactly."""
    crc[0] = crc32c(0, header, FRAME_HEADER - 4)
    return prefixes_crc(records, header.size, header.count, crc)


cdef Verdict check_frame(
    const uint8_t* segment, size_t at, size_t end, uint64_t salt, size_t* bad
) noexcept nogil:
    """Judge the frame at ``at``; when broken, ``bad`` is the offset of what is wrong."""
    cdef FrameHeader header
    cdef RecordPrefix record
    cdef uint32_t crc
    cdef const uint8_t* records = segment + at + FRAME_HEADER
    cdef size_t offset = 0
    bad[0] = at
    if at + FRAME_HEADER > end:
        return FRAME_ABSENT
    memcpy(&header, segment + at, FRAME_HEADER)
    if header.magic != FRAME_MAGIC and header.magic != SEAL_MAGIC:
        return FRAME_ABSENT
    if header.salt != salt and not MUTANT(STALE_FRAMES_REPLAYED):
        return FRAME_ABSENT
    if header.size > end - at - FRAME_HEADER:
        return FRAME_BROKEN
    if not frame_crc(&header, records, &crc) or crc != header.crc:
        return FRAME_BROKEN
    while offset < header.size:
        memcpy(&record, records + offset, RECORD_PREFIX)
        if crc32c(0, records + offset + RECORD_PREFIX,
                  record.length - RECORD_PREFIX) != record.crc:
            bad[0] = at + FRAME_HEADER + offset
            return FRAME_BROKEN
        offset += record.length
    return FRAME_VALID


cdef size_t find_frame(
    const uint8_t* segment, size_t at, size_t end, uint64_t salt
) noexcept nogil:
    """Return the offset of the first valid frame at or after ``at``, or 0."""
    cdef size_t bad
    cdef uint32_t magic
    while at + FRAME_HEADER <= end:
        memcpy(&magic, segment + at, 4)
        # Nearly all of what is looked at is zeros: they are passed over quickly.
        if magic and check_frame(segment, at, end, salt, &bad) == FRAME_VALID:
            return at
        at += 8
    return 0


def encode_segment_header(uint64_t sequence, uint64_t salt, uint64_t size, *,
                          bint recycled=False) -> bytes:
    """Return the 64 bytes that begin a segment."""
    cdef SegmentHeader header
    memset(&header, 0, sizeof(header))
    header.magic = SEGMENT_MAGIC
    header.version = VERSION
    header.sequence = sequence
    header.salt = salt
    header.size = size
    header.flags = RECYCLED if recycled else 0
    header.crc = crc32c(0, &header, SEGMENT_HEADER - 4)
    return (<const char*>&header)[:SEGMENT_HEADER]


def decode_segment_header(bytes data not None) -> tuple:
    """Return (sequence, salt, size, recycled); ValueError says in words what is wrong."""
    cdef SegmentHeader header
    if len(data) < SEGMENT_HEADER:
        raise ValueError(f"a segment header has {SEGMENT_HEADER} bytes, here are {len(data)}")
    memcpy(&header, <const char*>data, SEGMENT_HEADER)
    if header.magic != SEGMENT_MAGIC:
        raise ValueError("not a segment of a write-ahead log (wrong magic number)")
    if header.crc != crc32c(0, &header, SEGMENT_HEADER - 4):
        raise ValueError("the header's checksum does not match")
    if header.version != VERSION:
        raise WrongVersion(f"format version {header.version}, this build reads {VERSION}")
    return header.sequence, header.salt, header.size, bool(header.flags & RECYCLED)
