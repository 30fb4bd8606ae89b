"""Reading a write-ahead log back: what is in it, where it ends, and how much of it to trust.

A group write begins only after the sync of the one before it returned. So a crash can leave
at most one broken frame, and nothing valid after it: that is *torn*, was never promised to
anybody, and is cut. A broken frame with a valid one after it, in this segment or a later
one, can't come from a crash: that is *damage*, and what it held may have been promised. It is
never cut (Alagappan and others, Protocol-aware recovery for consensus-based storage, FAST 2018).
The log is read on behind it, and what can't be known any more is told: ``damaged_until`` is how
far the log went when it was whole. A node that starts with less must not be one of a majority
before a leader has written it anew up to there.

A frame says after which entry its own go. If the log holds that entry, it is the same up to it
(Log Matching), and goes on, whatever was lost in between; if not, the frame's entries are of no
use. So no log comes out that never was, only one that is older than what was promised. The first
frame behind damage says where the log ended then: what was read above that had been taken back,
by what is lost or by this very frame, and does not come back.

A record with index i voids all records with an index >= i that came before it: that is how
a follower's log loses its unconfirmed tail, without an operation of its own. A complete
snapshot of entry i voids the whole log, unless that holds entry i: then it is the snapshot of
this very log. Where the first segments are gone, there must be a complete snapshot in those
that are left, and entries that go on after it.

The newest frame may be in the kernel's cache only: its process was killed between write and
sync, or the sync failed. Once a node has read it, it counts as durable, so it must be made so
first, and by writing it again: after a failed sync its pages are marked as written.

A segment whose header is broken, one that is missing among others, frames that no node writes:
there nothing can be trusted, and the log is refused by file and offset.

This module only reads, and the reading itself is over bytes (``recover_images``), wherever
they come from. What must be written before the log goes on is in ``Recovered.repairs``.
"""
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from seatrial.core.codec cimport KIND_SNAPSHOT, Record
from seatrial.core.mutant cimport (
    CORRUPTION_CUT,
    INCOMPLETE_SNAPSHOT_TAKEN,
    MUTANT,
    RECOVERED_NOT_SYNCED,
    TORN_FRAME_ACCEPTED,
    TRUNCATION_FORGOTTEN,
    seatrial_arm,
)
from seatrial.core.retention cimport CHUNK_LAST, CHUNK_STRAY, LAST_CHUNK, Fate, Retention
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

from seatrial.core.errors import CorruptSegment, MissingSegment, NodeError, UnknownFormat
from seatrial.core.segment import WrongVersion, decode_segment_header

SEGMENT_NAME = re.compile(r"^([0-9a-f]{16})\.wal$")


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


class Frame(NamedTuple):
    """One group write, as ``dump-wal`` shows it."""

    path: Path
    offset: int
    term: int
    vote: int
    base: tuple         # index and term of the entry after which its entries go
    entries: int        # how many records: a chunk of a snapshot is one
    records: bytes
    seal: bool


class Repair(NamedTuple):
    """Bytes of a segment that must be written, and synced, before anything is added."""

    sequence: int
    offset: int
    size: int
    zeros: bool         # else they are written as they were read


class Damage(NamedTuple):
    """Where something is lost that a sync had made durable."""

    path: Path
    offset: int
    what: str


class Snapshot(NamedTuple):
    """Chunks of a snapshot in order: all of them, or those that were written so far."""

    last_index: int     # the last entry included
    last_term: int
    records: bytes      # the chunks' records, concatenated


class Recovered(NamedTuple):
    """What a log holds, and where its next frame goes."""

    term: int
    vote: int
    records: bytes      # the living entries, concatenated in log order
    first_index: int    # of the first of them; without any: of the one that would come next
    base_term: int      # the term of the entry before that
    last_index: int     # first_index - 1: there are none
    snapshot: object    # the newest complete Snapshot, or None
    partial: object     # the Snapshot after it that is not complete, or None
    damaged_until: int  # what was promised went up to this index, and is not all there; or 0
    damaged_term: int   # the largest term seen, if so
    damage: tuple       # of Damage; what it took may have been written again since
    frames: int
    segments: int
    voided: int         # records that a later one with the same index, or a snapshot, replaced
    end_sequence: int   # 0: there is no segment yet
    end_offset: int
    torn: int           # bytes after the end that an unfinished write left
    torn_frame: bool    # whether they begin with a broken frame of this segment
    prepared: int       # sequence of the empty segment made ahead, or 0
    repairs: tuple      # of Repair


def segment_path(directory: Path, sequence: int) -> Path:
    """Return the file that holds the segment with this sequence number."""
    return directory / f"{sequence:016x}.wal"


def list_segments(directory: Path) -> list:
    """Return (sequence, path) of all segments in order; refuse a gap among them."""
    try:
        found = sorted(
            (int(match[1], 16), entry)
            for entry in directory.iterdir()
            if (match := SEGMENT_NAME.match(entry.name))
        )
    except OSError as error:
        raise NodeError(f"can't read the log's directory {directory}: {error.strerror}") from None
    for expected, (sequence, _) in enumerate(found, found[0][0] if found else 1):
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


def header_of(sequence: int, path: Path, data: bytes) -> tuple:
    """Return (salt, recycled) of a segment whose header and size are as they must be."""
    try:
        number, salt, size, recycled = decode_segment_header(data)
    except WrongVersion as error:
        raise UnknownFormat(f"segment {path}: {error}") from None
    except ValueError as error:
        raise CorruptSegment(path, 0, str(error)) from None
    if number != sequence:
        raise CorruptSegment(path, 0, f"its header says it is segment {number}")
    if size != len(data):
        raise CorruptSegment(
            path, min(size, len(data)), f"the file has {len(data)} bytes, its header says {size}")
    return salt, recycled


cdef class LiveLog:
    """The entries that nothing later has voided, packed in log order."""

    cdef bytearray records
    cdef size_t* starts         # of the record with index first + i
    cdef size_t count, capacity
    cdef readonly uint64_t first, base_term, voided

    def __cinit__(self):
        self.records = bytearray()
        self.starts = NULL
        self.count = self.capacity = 0
        self.first = 1
        self.base_term = self.voided = 0

    def __dealloc__(self):
        free(self.starts)

    cdef uint64_t last(self) noexcept:
        return self.first + self.count - 1

    cdef uint64_t term_at(self, uint64_t index) noexcept:
        """The term of an entry held, or of the one before the first."""
        cdef RecordPrefix record
        if index + 1 == self.first:
            return self.base_term
        memcpy(&record, PyByteArray_AS_STRING(self.records) + self.starts[index - self.first],
               RECORD_PREFIX)
        return record.term

    cdef bint holds(self, uint64_t index, uint64_t term) noexcept:
        """Whether this is an entry of the log, or the one before its first."""
        return self.first <= index + 1 <= self.last() + 1 and self.term_at(index) == term

    cdef int restart(self, uint64_t index, uint64_t term) except -1:
        """Hold nothing, and go on after this entry."""
        self.voided += self.count
        self.count = 0
        self.first = index + 1
        self.base_term = term
        return PyByteArray_Resize(self.records, 0)

    cdef int cut(self, uint64_t last) except -1:
        """Drop the entries after ``last``."""
        cdef size_t kept = last + 1 - self.first if last + 1 > self.first else 0
        if kept < self.count:
            self.voided += self.count - kept
            self.count = kept
            PyByteArray_Resize(self.records, self.starts[kept])
        return 0

    cdef int append(self, const uint8_t* data, RecordPrefix* record) except -1:
        """Add an entry, which voids those from its index on."""
        cdef size_t start
        if record.index <= self.last() and MUTANT(TRUNCATION_FORGOTTEN):
            return 0
        self.cut(record.index - 1)
        if self.count == self.capacity:
            self.capacity = 2 * self.capacity if self.capacity else 1024
            self.starts = <size_t*>realloc(self.starts, self.capacity * sizeof(size_t))
            if self.starts == NULL:
                raise MemoryError
        start = len(self.records)
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
    cdef Retention retention
    cdef list chunks            # records of the snapshot that is not complete
    cdef object snapshot        # the newest that is
    cdef object ended           # (path, sequence, offset, why) of where the log ends, or None
    cdef list damage
    cdef bint begun             # the log's beginning is known
    cdef bint anchored          # and nothing before it is needed: it is a snapshot's, or entry 1
    cdef bint headless          # chunks may come whose snapshot began in what is gone
    cdef bint unsure            # something was lost, and no frame since said where the log ends
    cdef uint64_t lost          # how far the log went, once a frame told that it is not whole
    cdef uint64_t newest_snapshot   # its last entry, where an earlier walk found one
    cdef bint sealed
    cdef uint64_t term, vote, frames
    cdef size_t torn
    cdef bint torn_frame
    cdef uint64_t prepared, segments, first_sequence
    cdef object first_path
    cdef object newest          # the Repair that makes the newest frame durable, or None
    cdef object visit           # called with each Frame, or None

    def __cinit__(self, visit, retention, uint64_t newest_snapshot):
        self.log = LiveLog()
        self.retention = retention
        self.chunks = []
        self.damage = []
        self.snapshot = self.ended = self.newest = self.first_path = None
        self.begun = self.anchored = self.headless = False
        self.unsure = self.sealed = self.torn_frame = False
        self.term = self.vote = self.frames = self.prepared = self.segments = 0
        self.lost = self.first_sequence = self.torn = 0
        self.newest_snapshot = newest_snapshot
        self.visit = visit

    def segment(self, sequence: int, path: Path, data: bytes) -> None:
        """Take in the next segment."""
        cdef const uint8_t* base = <const uint8_t*>data
        salt, recycled = header_of(sequence, path, data)
        self.segments += 1
        if self.first_path is None:
            self.first_path = path
            self.first_sequence = sequence
            self.begun = self.anchored = sequence == 1
            self.headless = not self.begun
        if self.ended is not None:
            before, _, offset, why = self.ended
            what = f"{why}, but the log goes on in segment {sequence}"
            if not find_frame(base, SEGMENT_HEADER, len(data), salt):
                if self.prepared:
                    raise CorruptSegment(before, offset, what)
                self.prepared = sequence
                return
            self.hurt(before, offset, what)
            self.ended = None
            self.prepared = self.torn = 0
            self.torn_frame = False
        self.sealed = False
        self.retention.begin(sequence)
        self.frames_of(sequence, path, data, salt, recycled)

    cdef int hurt(self, path, offset, what) except -1:
        """Something that was durable is lost here."""
        self.damage.append(Damage(path, offset, what))
        self.unsure = self.headless = True
        return 0

    cdef int frames_of(
        self, uint64_t sequence, object path, bytes data, uint64_t salt, bint recycled
    ) except -1:
        cdef const uint8_t* base = <const uint8_t*>data
        cdef size_t at = SEGMENT_HEADER, end = len(data), bad = 0, newest = 0, size = 0, later
        cdef FrameHeader header
        cdef Verdict verdict = FRAME_ABSENT
        why = ""
        while not self.sealed:
            verdict = check_frame(base, at, end, salt, &bad)
            if MUTANT(TORN_FRAME_ACCEPTED) and plausible(base, at, end, verdict):
                verdict = FRAME_VALID
            if verdict != FRAME_VALID:
                why = "no frame" if verdict == FRAME_ABSENT else "a broken frame"
                later = find_frame(base, at, end, salt)
                if not later or MUTANT(CORRUPTION_CUT):
                    break
                self.hurt(path, bad, f"{why}, but a valid one follows at {later}")
                at = later
                continue
            memcpy(&header, base + at, FRAME_HEADER)
            self.take(path, base, at, &header)
            self.sealed = header.magic == SEAL_MAGIC
            newest = at
            at += padded(FRAME_HEADER + header.size)
            size = at - newest
        if newest:
            self.newest = Repair(sequence, newest, size, False)
        if self.sealed:
            later = find_frame(base, at, end, salt)
            if later:
                raise CorruptSegment(path, later, "a frame after the one that seals the segment")
            return 0
        self.ended = (path, sequence, at, why)
        self.torn_frame = verdict != FRAME_ABSENT
        if not recycled:
            self.torn = last_nonzero(base, at, end) - at
        elif self.torn_frame:           # what follows it there may be of an earlier life
            memcpy(&header, base + at, FRAME_HEADER)
            self.torn = min(end - at, padded(FRAME_HEADER + header.size))
        return 0

    cdef int take(
        self, object path, const uint8_t* base, size_t at, FrameHeader* header
    ) except -1:
        """Add one valid frame's hard state and records."""
        cdef size_t offset = at + FRAME_HEADER
        cdef size_t end = offset + header.size
        cdef const Record* chunk = <const Record*>(base + offset)
        cdef uint32_t entries = header.count
        cdef bint held
        if header.term < self.term:
            raise CorruptSegment(path, at, f"term goes back from {self.term} to {header.term}")
        self.term, self.vote = header.term, header.vote
        self.frames += 1
        if self.visit is not None:
            self.visit(Frame(path, at, header.term, header.vote,
                             (header.base, header.base_term), header.count,
                             (<const char*>base + offset)[:header.size],
                             header.magic == SEAL_MAGIC))
        if header.magic == SEAL_MAGIC:          # its base is that of the frame which did not fit
            if self.unsure:                     # so it knows of entries that damage took before it
                self.joins(path, at, header, 0)
            return 0
        if not self.begun:                      # the segments before are gone
            self.log.restart(header.base, header.base_term)
            self.begun = True
        held = self.log.holds(header.base, header.base_term)
        if entries and chunk.kind == KIND_SNAPSHOT:
            if chunk.term > header.term:
                raise CorruptSegment(
                    path, offset, f"chunk of term {chunk.term} in a frame of term {header.term}")
            self.take_chunk(path, offset, base + offset)
            offset += chunk.length
            entries -= 1
        self.check_entries(path, offset, base, end, header)
        if held and not self.log.holds(header.base, header.base_term):
            return 0                            # the chunk's snapshot has replaced that log
        if not self.joins(path, at, header, entries):
            return 0
        self.retention.take_entries(header.base + 1, header.base + entries)
        return self.take_entries(path, base, offset, end)

    cdef int take_chunk(self, object path, size_t offset, const uint8_t* record) except -1:
        """Add a chunk to the snapshot that it goes on with."""
        cdef const Record* chunk = <const Record*>record
        cdef Fate fate = self.retention.take_chunk(record)
        if fate == CHUNK_STRAY:
            if not self.headless:
                raise CorruptSegment(
                    path, offset, f"a chunk at byte {chunk.sequence} of the snapshot at entry"
                    f" {chunk.index} goes on with nothing that was written before it")
            self.chunks = []
            if (self.damage and chunk.flags & LAST_CHUNK
                    and not self.log.holds(chunk.index, chunk.term)):
                self.lacks(chunk.index, chunk.index)    # a snapshot stood for it
            return 0
        if chunk.sequence == 0:
            self.chunks = []
            self.headless = False
        self.chunks.append((<const char*>record)[:chunk.length])
        if fate == CHUNK_LAST:
            self.snapshot = Snapshot(chunk.index, chunk.term, b"".join(self.chunks))
            self.chunks = []
            if self.log.holds(chunk.index, chunk.term):
                self.anchored = True
            elif self.anchored or chunk.index + 1 >= self.log.first:
                self.log.restart(chunk.index, chunk.term)
                self.anchored = True
            self.recount()
        return 0

    cdef int check_entries(
        self, object path, size_t offset, const uint8_t* base, size_t end, FrameHeader* header
    ) except -1:
        """Refuse entries that don't follow the frame's base one by one."""
        cdef uint64_t index = header.base
        cdef uint64_t term = header.base_term
        cdef RecordPrefix record
        while offset < end:
            memcpy(&record, base + offset, RECORD_PREFIX)
            index += 1
            if record.index != index:
                raise CorruptSegment(
                    path, offset, f"index {record.index} comes after index {index - 1}")
            if not term <= record.term <= header.term:
                raise CorruptSegment(
                    path, offset, f"record of term {record.term} after one of term {term}, in a"
                    f" frame of term {header.term}")
            term = record.term
            offset += record.length
        return 0

    cdef bint joins(
        self, object path, size_t at, FrameHeader* header, uint32_t entries
    ) except -1:
        """Return whether a frame's entries go on with the log that is known.

        After damage the frame's base is where the log ended: what was read above it had been
        taken back by what is lost, or is by this frame.
        """
        cdef uint64_t base = header.base
        cdef bint held = self.log.holds(base, header.base_term)
        if held and self.unsure:
            self.log.cut(base)
        self.unsure = False
        if held:
            return True
        if not self.anchored and not (
                self.damage and base > self.newest_snapshot and base + 1 >= self.log.first):
            if entries or self.damage:          # a snapshot is to come that holds the base
                last = self.log.last()
                self.log.restart(base, header.base_term)
                self.anchored = base == 0 or (
                    self.snapshot is not None and base <= self.snapshot.last_index)
                if self.damage and (self.anchored or base > self.newest_snapshot):
                    self.lost = max(self.lost, last)    # unless that is what was lost
        elif base + 1 >= self.log.first and not (
                MUTANT(TRUNCATION_FORGOTTEN) and base <= self.log.last()):
            if self.damage:
                return self.lacks(base, base + entries)
            if self.first_sequence == 1:
                last = self.log.last()
                raise CorruptSegment(
                    path, at, f"the frame goes on after entry {base} of term"
                    f" {header.base_term}, but the log ends with entry {last} of term"
                    f" {self.log.term_at(last)}")
            if entries:                         # that snapshot was not the newest
                self.log.restart(base, header.base_term)
                self.anchored = False
        return True

    cdef bint lacks(self, uint64_t index, uint64_t last) except -1:
        """Damage took this entry, after which the log went on to ``last``."""
        self.lost = max(self.lost, last)
        if self.log.first <= index:
            self.log.cut(index - 1)
        return False

    cdef int recount(self) noexcept:
        """See whether all that was lost has been written again."""
        if self.log.last() >= self.lost and (
                self.anchored or self.log.first <= self.newest_snapshot + 1):
            self.lost = 0
        return 0

    cdef int take_entries(
        self, object path, const uint8_t* base, size_t offset, size_t end
    ) except -1:
        """Add the entries of a frame that joins; what a snapshot holds is not needed again."""
        cdef RecordPrefix record
        while offset < end:
            memcpy(&record, base + offset, RECORD_PREFIX)
            if record.index >= self.log.first:
                self.log.append(base + offset, &record)
            elif record.index + 1 == self.log.first and record.term != self.log.base_term:
                raise CorruptSegment(
                    path, offset, f"entry {record.index} is of term {record.term} here, of term"
                    f" {self.log.base_term} in the snapshot that holds it")
            offset += record.length
        self.recount()
        return 0

    cdef int settle(self) except -1:
        """After the last segment: see whether what is left is a whole log."""
        cdef uint64_t index = self.snapshot.last_index if self.snapshot is not None else 0
        if self.log.first > index + 1:
            if not self.damage:
                missing = segment_path(self.first_path.parent, self.first_sequence - 1)
                raise MissingSegment(
                    f"segment {missing} is missing, and no later one holds a snapshot in its place")
            self.lost = max(self.lost, self.log.last(), <uint64_t>1)
            self.log.restart(index, self.snapshot.last_term if index else 0)
        if self.lost and self.lost <= index:
            self.lost = 0
            self.log.cut(index)
        return 0

    cdef object partial(self):
        """Return what there is of a snapshot that is not complete."""
        if not self.chunks or self.retention.partial.index == 0:
            return None
        return Snapshot(self.retention.partial.index, self.retention.partial.term,
                        b"".join(self.chunks))

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
        snapshot, partial = self.snapshot, self.partial()
        if MUTANT(INCOMPLETE_SNAPSHOT_TAKEN) and partial is not None:
            snapshot, partial = partial, None
        self.settle()
        self.retention.recovered(self.log.last(), self.lost)
        return Recovered(
            term=self.term, vote=self.vote, records=bytes(self.log.records),
            first_index=self.log.first, base_term=self.log.base_term,
            last_index=self.log.last(), snapshot=snapshot, partial=partial,
            damaged_until=self.lost, damaged_term=self.term if self.lost else 0,
            damage=tuple(self.damage), frames=self.frames, segments=self.segments,
            voided=self.log.voided, end_sequence=sequence, end_offset=offset, torn=self.torn,
            torn_frame=self.torn_frame, prepared=self.prepared, repairs=self.repairs())


def broken_frames(sequence: int, path: Path, data: bytes) -> list:
    """Return the Damage of one segment, looked at by itself: its header, or frames that are
    broken though there are valid ones behind them."""
    cdef const uint8_t* base = <const uint8_t*>data
    cdef size_t at = SEGMENT_HEADER, end = len(data), bad = 0, later
    cdef FrameHeader header
    try:
        salt, _ = header_of(sequence, path, data)
    except CorruptSegment as error:
        return [Damage(path, error.offset, error.what)]
    found = []
    while True:
        if check_frame(base, at, end, salt, &bad) != FRAME_VALID:
            later = find_frame(base, at, end, salt)
            if not later:
                return found
            found.append(Damage(path, bad, f"no valid frame until {later}"))
            at = later
        memcpy(&header, base + at, FRAME_HEADER)
        at += padded(FRAME_HEADER + header.size)


cdef Walker walk(images, visit, Retention retention, uint64_t newest_snapshot):
    """Go through all segments once."""
    cdef Walker walker = Walker(visit, retention, newest_snapshot)
    path = None
    for sequence, path, data in images:
        walker.segment(sequence, path, data)
    if path is not None and walker.ended is None:
        raise MissingSegment(
            f"segment {segment_path(path.parent, sequence + 1)} is missing:"
            f" {path.name} says that the log goes on in it")
    return walker


def recover_images(images: Iterable, visit=None, retention=None) -> Recovered:
    """Read the log whose segments ``images`` yields in order, as (sequence, path, bytes).

    ``visit`` is called with every valid frame in order; ``retention`` (a Retention) is told what
    the log holds. Where the first segments are gone and others are damaged, ``images`` is gone
    through again: what lies before the newest snapshot is not missed, what lies after it is.
    """
    cdef Retention kept = retention or Retention()
    cdef Walker walker = walk(images, visit, kept, 0)
    if walker.damage and walker.first_sequence > 1:
        kept.clear()
        walker = walk(images, None, kept, walker.snapshot.last_index if walker.snapshot else 0)
    return walker.result()


class Segments:
    """The segments of a directory, read one after the other, each time anew."""

    def __init__(self, directory: Path) -> None:
        self.listed = list_segments(directory)

    def __iter__(self):
        return ((sequence, path, read_segment(path)) for sequence, path in self.listed)


def recover(directory: Path, visit=None, retention=None) -> Recovered:
    """Read the log in ``directory``, as ``recover_images`` does."""
    return recover_images(Segments(directory), visit, retention)
