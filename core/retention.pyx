"""Which segments a log still needs: those from its newest complete snapshot on.

A snapshot lies in the log itself, in chunks, among the entries that went on being written
meanwhile. When its last chunk is durable, nothing before its first one is needed, but entries
that followers may still ask for. So a segment is needless when the newest complete snapshot
begins behind it, and when it holds no entry from ``first`` on. The oldest go first; what is
left is always a run of segments without a gap.

A chunk names its snapshot by the last entry included, and carries its own offset and the
checksum of the whole stream up to its end. It is taken only where it continues the stream: a
snapshot is what was written in one run from its first byte on, or it is none.

Where damage took entries that were promised, nothing goes before they are back: what is left of
the damage is all that tells the next start of it.

Nobody is asked what is in the log: this module is told of every frame in order, by the writer
when it is durable, by recovery when it is read.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from seatrial.core.codec cimport KIND_SNAPSHOT, RECORD_SIZE, Record
from seatrial.core.crc cimport crc32c
from seatrial.core.mutant cimport (
    CHUNK_AT_WRONG_OFFSET,
    MUTANT,
    SEGMENT_FREED_EARLY,
    seatrial_arm,
)


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Retention:
    def __cinit__(self):
        self.clear()

    cdef int clear(self) except -1:
        """Know of no frame."""
        memset(&self.partial, 0, sizeof(Stream))
        memset(&self.complete, 0, sizeof(Stream))
        self.last = self.damaged_until = self.sequence = self.low = 0
        self.lows = []
        return 0

    cdef int begin(self, uint64_t sequence) except -1:
        """The next frames are in this segment."""
        if sequence != self.sequence:
            if self.sequence:
                self.lows.append((self.sequence, self.low))
            self.sequence = sequence
            self.low = self.last + 1
        return 0

    cdef bint continues(self, const uint8_t* record) noexcept nogil:
        """Return whether a chunk begins a snapshot or goes on with the one that is incomplete."""
        cdef const Record* r = <const Record*>record
        cdef uint32_t crc = self.partial.crc if r.sequence else 0
        if r.kind != KIND_SNAPSHOT or r.index == 0 or r.index < self.complete.index:
            return False
        if r.sequence and (r.index != self.partial.index or r.term != self.partial.term):
            return False
        if MUTANT(CHUNK_AT_WRONG_OFFSET):
            return True
        if r.sequence and r.sequence != self.partial.size:
            return False
        return crc32c(crc, record + RECORD_SIZE, r.length - RECORD_SIZE) == <uint32_t>r.client

    cdef Fate take_chunk(self, const uint8_t* record) noexcept nogil:
        """Add a chunk to its stream, or forget the stream that it doesn't continue."""
        cdef const Record* r = <const Record*>record
        if not self.continues(record):
            self.partial.index = 0
            return CHUNK_STRAY
        if r.sequence == 0:
            self.partial = Stream(r.index, r.term, 0, 0, self.sequence)
        self.partial.size += r.length - RECORD_SIZE
        self.partial.crc = <uint32_t>r.client
        if not r.flags & LAST_CHUNK:
            return CHUNK_TAKEN
        self.complete = self.partial
        self.partial.index = 0
        if self.last < self.complete.index:
            self.last = self.complete.index
        return CHUNK_LAST

    cdef void take_entries(self, uint64_t first, uint64_t last) noexcept nogil:
        """Entries [first, last] were written; those from ``first`` on that were before are void."""
        if first <= last:
            self.low = min(self.low, first)
            self.last = last

    cdef int take_group(self, uint64_t sequence, const GroupWrite* group) except -1:
        """A group write is durable, its frame in this segment."""
        self.begin(sequence)
        if group.chunk_size:
            self.take_chunk(group.chunk)
        self.take_entries(group.header.base + 1, group.header.base + group.header.count
                          - (1 if group.chunk_size else 0))
        return 0

    cdef int recovered(self, uint64_t last, uint64_t damaged_until) noexcept:
        """The log was read up to its last entry, and had been promised up to ``damaged_until``."""
        self.last = last
        self.damaged_until = damaged_until
        return 0

    cdef uint64_t needless(self, uint64_t first) except? 0:
        """Return the first segment that is needed; ``first``: of the entries that are wanted.

        Of a snapshot's own entries none is needed, whatever is wanted beyond it.
        """
        cdef Stream* snapshot = &self.complete
        cdef uint64_t keep = self.sequence
        if MUTANT(SEGMENT_FREED_EARLY) and self.partial.index:
            snapshot = &self.partial
        if self.damaged_until <= max(self.last, self.complete.index):
            self.damaged_until = 0
        if snapshot.index == 0 or self.damaged_until:
            return 0
        first = min(first, snapshot.index + 1)
        if self.low > first:
            keep = 0
            for sequence, low in reversed(self.lows):
                if low <= first:
                    keep = sequence
                    break
        keep = min(keep, snapshot.sequence)
        while self.lows and self.lows[0][0] < keep:
            del self.lows[0]
        return keep
