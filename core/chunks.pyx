"""A snapshot in pieces: the SNAPSHOT records that a node makes, writes, sends or receives.

A record holds up to 64 KiB of the state's byte stream (snapshot.pyx), where in the stream they
begin (``sequence``), the CRC32C of all bytes up to their end (``client``) and the coordinates of
the last entry that the snapshot holds. The stream of one state is the same on every member, so
that a transfer goes on where it broke off, whoever sends.
"""
from libc.stdint cimport uint8_t
from libc.string cimport memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_reserve,
    buffer_shrink,
    buffer_size,
)
from seatrial.core.codec cimport KIND_SNAPSHOT, RECORD_SIZE, record_crc
from seatrial.core.crc cimport crc32c
from seatrial.core.invariant cimport must
from seatrial.core.mutant cimport MUTANT, seatrial_arm, SNAPSHOT_CHUNKS_MIXED

cdef enum:
    END_AFTER_HASH = 24         # bytes of the last piece behind the state's hash


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Chunks:
    def __cinit__(self):
        buffer_init(&self.records)
        buffer_init(&self.starts)

    def __dealloc__(self):
        buffer_free(&self.records)
        buffer_free(&self.starts)

    cdef void clear(self, uint64_t index, uint64_t term) noexcept nogil:
        """Begin anew, with the snapshot that ends with this entry; 0, 0: with none."""
        self.version += 1
        buffer_consume(&self.records, buffer_size(&self.records))
        buffer_free(&self.starts)
        self.give_back()
        self.index = index
        self.term = term
        self.size = 0
        self.crc = 0
        self.complete = False

    cdef void give_back(self) noexcept nogil:
        """Return a slice of the memory that is held in vain: to be called often."""
        buffer_shrink(&self.records, 0)

    cdef bint continues(self, const Record* r) noexcept nogil:
        """Whether a record is sound and this snapshot's next."""
        if MUTANT(SNAPSHOT_CHUNKS_MIXED):
            return r.sequence == self.size and not self.complete
        return (r.kind == KIND_SNAPSHOT and r.index == self.index and r.term == self.term
                and r.sequence == self.size and not self.complete and r.length > RECORD_SIZE
                and r.client == crc32c(self.crc, <const char*>r + RECORD_SIZE,
                                       r.length - RECORD_SIZE))

    cdef bint contradicts(self, const Record* r) noexcept nogil:
        """Whether a sound record is of another stream than these: that of a member that cuts it
        into other pieces, or of one of another version."""
        cdef const Record* first
        if r.sequence == self.size:
            return not self.complete and not self.continues(r)
        if r.sequence == 0:
            first = self.chunk(0)
            return r.length != first.length or r.client != first.client
        return False

    cdef int add(self, const Record* r) except -1 nogil:
        """Take the next record, which must continue what there is."""
        cdef size_t start = buffer_size(&self.records)
        must(self.continues(r), b"a chunk that does not continue its snapshot", self.index,
             r.sequence, self.size)
        buffer_append(&self.records, r, r.length)
        buffer_append(&self.starts, &start, sizeof(start))
        self.size += r.length - RECORD_SIZE
        self.crc = <uint32_t>r.client
        self.complete = r.flags & LAST_CHUNK
        return 0

    cdef Record* open_chunk(self) except NULL nogil:
        """Begin a record at the end; its payload is appended to ``records`` by the caller."""
        cdef size_t start = buffer_size(&self.records)
        cdef Record* r = <Record*>buffer_reserve(&self.records, RECORD_SIZE)
        must(not self.complete, b"a chunk after the last one", self.index, self.size)
        memset(r, 0, RECORD_SIZE)
        r.index = self.index
        r.term = self.term
        r.sequence = self.size
        r.kind = KIND_SNAPSHOT
        self.records.end += RECORD_SIZE
        buffer_append(&self.starts, &start, sizeof(start))
        return r

    cdef int close_chunk(self, bint last) except -1 nogil:
        """Complete the record that was begun."""
        cdef Record* r = <Record*>self.chunk(self.count() - 1)
        cdef size_t size
        r.length = <uint32_t>(self.records.data + self.records.end - <char*>r)
        size = r.length - RECORD_SIZE
        self.crc = crc32c(self.crc, <const char*>r + RECORD_SIZE, size)
        self.size += size
        self.complete = last
        r.client = self.crc
        r.flags = LAST_CHUNK if last else 0
        r.crc = record_crc(r)
        return 0

    cdef uint64_t count(self) noexcept nogil:
        """How many records there are."""
        return buffer_size(&self.starts) // sizeof(size_t)

    cdef const Record* chunk(self, uint64_t number) noexcept nogil:
        """A record, counted from 0; it stays where it is until one is added, or
        memory is given back."""
        cdef const size_t* starts = <const size_t*>(self.starts.data + self.starts.start)
        return <const Record*>(self.records.data + self.records.start + starts[number])

    cdef uint64_t number_at(self, uint64_t offset) noexcept nogil:
        """The number of the record that begins there; ``count()`` at the end, 0 where none does."""
        cdef uint64_t low = 0, high = self.count(), middle
        while low < high:
            middle = (low + high) // 2
            if self.chunk(middle).sequence < offset:
                low = middle + 1
            else:
                high = middle
        if (offset != self.size if low == self.count() else self.chunk(low).sequence != offset):
            return 0
        return low

    cdef uint64_t state_hash(self) noexcept nogil:
        """What the state of a whole snapshot hashes to: the first number of the stream's last piece
        (snapshot.pyx), which chunks may cut anywhere."""
        cdef uint64_t hash = 0, at = self.size - END_AFTER_HASH, number = self.count()
        cdef const Record* r = self.chunk(number - 1)
        for _ in range(sizeof(hash)):
            at -= 1
            while r.sequence > at:
                number -= 1
                r = self.chunk(number - 1)
            hash = hash << 8 | <uint8_t>(<const char*>r)[RECORD_SIZE + at - r.sequence]
        return hash

    @property
    def capacity(self) -> int:
        """For how many bytes of records memory is held."""
        return self.records.capacity
