"""Reading a write-ahead log back: what is in it, where it ends, and whether to trust it.

A group write begins only after the sync of the one before it returned. So a crash can leave
at most one broken frame, and nothing valid after it: that is *torn*, was never promised to
anybody, and is cut. A broken frame with a valid one after it, in this segment or a later
one, can't come from a crash: that is *corruption*, what it held may have been promised, and
the log is refused by file and offset. Nothing is ever repaired by guessing.

A record with index i voids all records with an index >= i that came before it: that is how
a follower's log loses its unconfirmed tail, without an operation of its own.

The newest frame may be in the kernel's cache only: its process was killed between write and
sync, or the sync failed. Once a node has read it, it counts as durable, so it must be made so
first, and by writing it again: after a failed sync its pages are marked as written.

This module only reads, and the reading itself is over bytes (``recover_images``), wherever
they come from. What must be written before the log goes on is in ``Recovered.repairs``.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from seatrial.core.mutant cimport (
    CORRUPTION_CUT,
    MUTANT,
    RECOVERED_NOT_SYNCED,
    TORN_FRAME_ACCEPTED,
    TRUNCATION_FORGOTTEN,
    seatrial_arm,
)
from seatrial.core.segment cimport (
    FRAME_ABSENT,
    FRAME_BROKEN,
    FRAME_HEADER,
    FRAME_VALID,
    RECORD_PREFIX,
    SEAL_MAGIC,
    SEGMENT_HEADER,
    FrameHeader,
    RecordPrefix,
    Verdict,
    check_frame,
    find_frame,
    frame_crc,
    padded,
)

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from seatrial.core.errors import CorruptSegment, MissingSegment, NodeError
from seatrial.core.segment import decode_segment_header

SEGMENT_NAME = re.compile(r"^([0-9a-f]{16})\.wal$")


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


class Frame(NamedTuple):
    """One group write, as ``dump-wal`` shows it."""

    path: Path
    offset: int
    term: int
    vote: int
    entries: int
    records: bytes
    seal: bool


class Repair(NamedTuple):
    """Bytes of a segment that must be written, and synced, before anything is added."""

    sequence: int
    offset: int
    size: int
    zeros: bool         # else they are written as they were read


class Recovered(NamedTuple):
    """What a log holds, and where its next frame goes."""

    term: int
    vote: int
    records: bytes      # the living ones, concatenated in log order
    first_index: int    # 0: there are none
    last_index: int
    frames: int
    segments: int
    voided: int         # records that a later one with the same index replaced
    end_sequence: int   # 0: there is no segment yet
    end_offset: int
    torn: int           # bytes after the end, up to the last that is not zero
    torn_frame: bool    # whether they begin with a broken frame of this segment
    prepared: int       # sequence of the empty segment made ahead, or 0
    repairs: tuple      # of Repair


def segment_path(directory: Path, sequence: int) -> Path:
    """Return the file that holds the segment with this sequence number."""
    return directory / f"{sequence:016x}.wal"


def list_segments(directory: Path) -> list:
    """Return (sequence, path) of all segments in order; refuse a gap."""
    try:
        found = sorted(
            (int(match[1], 16), entry)
            for entry in directory.iterdir()
            if (match := SEGMENT_NAME.match(entry.name))
        )
    except OSError as error:
        raise NodeError(f"can't read the log's directory {directory}: {error.strerror}") from None
    for expected, (sequence, _) in enumerate(found, 1):
        if sequence != expected:
            raise MissingSegment(
                f"segment {segment_path(directory, expected)} is missing,"
                f" but {found[-1][1].name} exists"
            )
    return found


def read_segment(path: Path) -> bytes:
    """Return all bytes of a segment's file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NodeError(f"can't read segment {path}: {error.strerror}") from None


def salt_of(sequence: int, path: Path, data: bytes) -> int:
    """Return the salt of a segment whose header and size are as they must be."""
    try:
        number, salt, size = decode_segment_header(data)
    except ValueError as error:
        raise CorruptSegment(path, 0, str(error)) from None
    if number != sequence:
        raise CorruptSegment(path, 0, f"its header says it is segment {number}")
    if size != len(data):
        raise CorruptSegment(
            path, min(size, len(data)), f"the file has {len(data)} bytes, its header says {size}")
    return salt


cdef class LiveLog:
    """The records that no later one has voided, packed in log order."""

    cdef bytearray records
    cdef size_t* starts         # of the record with index first + i
    cdef size_t count, capacity
    cdef readonly uint64_t first, voided

    def __cinit__(self):
        self.records = bytearray()
        self.starts = NULL
        self.count = self.capacity = 0
        self.first = self.voided = 0

    def __dealloc__(self):
        free(self.starts)

    cdef uint64_t last(self) noexcept:
        return self.first + self.count - 1 if self.count else 0

    cdef str refuse(self, RecordPrefix* record, uint64_t frame_term):
        """Return why this record can't come here, or None."""
        if not self.count and record.index != 1:
            return f"the log begins with index {record.index}, expected 1"
        if self.count and not self.first <= record.index <= self.last() + 1:
            return f"index {record.index} comes after index {self.last()}"
        if record.term > frame_term:
            return f"record of term {record.term} in a frame of term {frame_term}"
        return None

    cdef int append(self, const uint8_t* data, RecordPrefix* record) except -1:
        cdef size_t start = len(self.records)
        cdef size_t kept
        if self.count and record.index <= self.last():
            if MUTANT(TRUNCATION_FORGOTTEN):
                return 0
            kept = record.index - self.first
            self.voided += self.count - kept
            start = self.starts[kept]
            self.count = kept
        if self.count == 0:
            self.first = record.index
        if self.count == self.capacity:
            self.capacity = 2 * self.capacity if self.capacity else 1024
            self.starts = <size_t*>realloc(self.starts, self.capacity * sizeof(size_t))
            if self.starts == NULL:
                raise MemoryError
        self.starts[self.count] = start
        self.count += 1
        PyByteArray_Resize(self.records, start + record.length)
        memcpy(PyByteArray_AS_STRING(self.records) + start, data, record.length)
        return 0


cdef size_t last_nonzero(const uint8_t* data, size_t at, size_t end) noexcept nogil:
    """Return the offset just after the last byte in [at, end) that is not zero, or ``at``."""
    while end > at and data[end - 1] == 0:
        end -= 1
    return end


cdef bint plausible(
    const uint8_t* segment, size_t at, size_t end, Verdict verdict
) noexcept nogil:
    """Return whether a broken frame's lengths fit each other (a planted bug asks for that)."""
    cdef FrameHeader header
    cdef uint32_t crc
    if verdict != FRAME_BROKEN:
        return False
    memcpy(&header, segment + at, FRAME_HEADER)
    return header.size <= end - at - FRAME_HEADER and frame_crc(
        &header, segment + at + FRAME_HEADER, &crc)


cdef class Walker:
    """Goes through the segments of a log in order, once."""

    cdef LiveLog log
    cdef object ended           # (path, sequence, offset, why) of where the log ends, or None
    cdef bint sealed
    cdef uint64_t term, vote, frames
    cdef size_t torn
    cdef bint torn_frame
    cdef uint64_t prepared, segments
    cdef object newest          # the Repair that makes the newest frame durable, or None
    cdef object visit           # called with each Frame, or None

    def __cinit__(self, visit):
        self.log = LiveLog()
        self.ended = None
        self.sealed = False
        self.term = self.vote = self.frames = self.prepared = self.segments = 0
        self.newest = None
        self.torn = 0
        self.torn_frame = False
        self.visit = visit

    def segment(self, sequence: int, path: Path, data: bytes) -> None:
        """Take in the next segment."""
        salt = salt_of(sequence, path, data)
        self.segments += 1
        if self.ended is not None:
            self.after_the_end(sequence, data, salt)
        else:
            self.sealed = False
            self.frames_of(sequence, path, data, salt)

    cdef int after_the_end(self, uint64_t sequence, bytes data, uint64_t salt) except -1:
        """Refuse a valid frame, or a second segment, after the place where the log ended."""
        cdef const uint8_t* base = <const uint8_t*>data
        path, _, offset, why = self.ended
        if self.prepared or find_frame(base, SEGMENT_HEADER, len(data), salt):
            raise CorruptSegment(path, offset, f"{why}, but the log goes on in segment {sequence}")
        self.prepared = sequence
        return 0

    cdef int frames_of(
        self, uint64_t sequence, object path, bytes data, uint64_t salt
    ) except -1:
        cdef const uint8_t* base = <const uint8_t*>data
        cdef size_t at = SEGMENT_HEADER, end = len(data), bad = 0, newest = 0, later
        cdef FrameHeader header
        cdef Verdict verdict = FRAME_ABSENT
        while not self.sealed:
            verdict = check_frame(base, at, end, salt, &bad)
            if MUTANT(TORN_FRAME_ACCEPTED) and plausible(base, at, end, verdict):
                verdict = FRAME_VALID
            if verdict != FRAME_VALID:
                break
            memcpy(&header, base + at, FRAME_HEADER)
            self.take(path, base, at, &header)
            self.sealed = header.magic == SEAL_MAGIC
            newest = at
            at += padded(FRAME_HEADER + header.size)
        if newest:
            self.newest = Repair(sequence, newest, at - newest, False)
        later = find_frame(base, at, end, salt)
        if self.sealed:
            if later:
                raise CorruptSegment(path, later, "a frame after the one that seals the segment")
            return 0
        why = "no frame" if verdict == FRAME_ABSENT else "a broken frame"
        if later and not MUTANT(CORRUPTION_CUT):
            raise CorruptSegment(path, bad, f"{why}, but a valid one follows at {later}")
        self.ended = (path, sequence, at, why)
        self.torn = last_nonzero(base, at, end) - at
        self.torn_frame = verdict != FRAME_ABSENT
        return 0

    cdef int take(
        self, object path, const uint8_t* base, size_t at, FrameHeader* header
    ) except -1:
        """Add one valid frame's hard state and records."""
        cdef size_t offset = at + FRAME_HEADER
        cdef size_t end = offset + header.size
        cdef RecordPrefix record
        if header.term < self.term:
            raise CorruptSegment(path, at, f"term goes back from {self.term} to {header.term}")
        self.term, self.vote = header.term, header.vote
        self.frames += 1
        if self.visit is not None:
            self.visit(Frame(path, at, header.term, header.vote, header.count,
                             (<const char*>base + offset)[:header.size],
                             header.magic == SEAL_MAGIC))
        while offset < end:
            memcpy(&record, base + offset, RECORD_PREFIX)
            why = self.log.refuse(&record, header.term)
            if why is not None:
                raise CorruptSegment(path, offset, why)
            self.log.append(base + offset, &record)
            offset += record.length
        return 0

    cdef tuple repairs(self):
        """Return what must be written before the log goes on."""
        found = []
        if self.newest is not None and not MUTANT(RECOVERED_NOT_SYNCED):
            found.append(self.newest)
        if self.torn:
            _, sequence, offset, _ = self.ended
            found.append(Repair(sequence, offset, self.torn, True))
        return tuple(found)

    def result(self) -> Recovered:
        """Return what was found, after the last segment."""
        _, sequence, offset, _ = self.ended or (None, 0, 0, None)
        return Recovered(
            self.term, self.vote, bytes(self.log.records), self.log.first, self.log.last(),
            self.frames, self.segments, self.log.voided, sequence, offset, self.torn,
            self.torn_frame, self.prepared, self.repairs())


def recover_images(images: Iterable, visit=None) -> Recovered:
    """Read the log whose segments ``images`` yields in order, as (sequence, path, bytes).

    ``visit`` is called with every valid frame in order.
    """
    walker = Walker(visit)
    path = None
    for sequence, path, data in images:
        walker.segment(sequence, path, data)
    if path is not None and walker.ended is None:
        raise MissingSegment(
            f"segment {segment_path(path.parent, sequence + 1)} is missing:"
            f" {path.name} says that the log goes on in it")
    return walker.result()


def recover(directory: Path, visit=None) -> Recovered:
    """Read the log in ``directory``; ``visit`` is called with every valid frame in order."""
    return recover_images(
        ((sequence, path, read_segment(path)) for sequence, path in list_segments(directory)),
        visit)
