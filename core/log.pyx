"""The in-memory log: record bytes back to back, and one small slot an entry beside them.

Entries [first, last] are contiguous both as indexes and as bytes, so that a batch for the
disk or for a follower is one run of bytes. A slot also remembers which connection waits for
the entry's answer: commit walks the range once and needs no future per request.

Invariants: slot k is entry first + k; terms never decrease; the arena holds exactly the
records of the slots; base_term is that of entry first - 1. Appending, truncation, and
compaction into a snapshot keep them; there is no other change.
"""
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset

cimport cython

from seatrial.core.buffer cimport (
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_reserve,
    buffer_shrink,
    SLICE_BYTES,
)
from seatrial.core.invariant cimport must
from seatrial.core.mutant cimport MUTANT, STEP_DOWN_KEEPS_WAITERS, seatrial_arm

cdef enum:
    FEW_SLOTS = 64              # a log is not made smaller than that
    FEW_BYTES = 1 << 16


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


@cython.final
cdef class Log:
    def __cinit__(self):
        buffer_init(&self.arena)
        self.slots = NULL
        self.head = self.count = self.capacity = 0
        self.arena_offset = 0
        self.first = 1
        self.base_term = 0
        self.observed = 0

    def __dealloc__(self):
        buffer_free(&self.arena)
        free(self.slots)

    cdef uint64_t last(self) noexcept nogil:
        return self.first + self.count - 1

    cdef uint64_t last_term(self) noexcept nogil:
        return self.term_at(self.last())

    cdef bint holds(self, uint64_t index) noexcept nogil:
        return index >= self.first and index - self.first < self.count

    cdef Slot* slot(self, uint64_t index) noexcept nogil:
        return self.slots + self.head + (index - self.first)

    cdef uint64_t term_at(self, uint64_t index) noexcept nogil:
        """The term of an entry, of the base before the first, or 0 where nothing is known."""
        if self.holds(index):
            return self.slot(index).term
        return self.base_term if index == self.first - 1 else 0

    cdef Record* record(self, uint64_t index) noexcept nogil:
        return <Record*>(self.arena.data + self.arena.start
                         + (self.slot(index).offset - self.arena_offset))

    cdef uint64_t offset_of(self, uint64_t index) noexcept nogil:
        """The byte position of an entry's start; of last() + 1: of the log's end."""
        if self.holds(index):
            return self.slot(index).offset
        if index < self.first:
            return self.arena_offset
        return self.arena_offset + (self.arena.end - self.arena.start)

    cdef Record* reserve(self, size_t length) except NULL nogil:
        """Add an entry of ``length`` bytes and return its record, which the caller fills in.

        Only ``length``, the next ``index`` and the slot are set; ``term`` must be written to
        the record and to the slot by the caller before anything else happens.
        """
        cdef Slot* moved
        cdef size_t want
        cdef Slot* s
        cdef Record* r
        cdef uint64_t offset = self.arena_offset + (self.arena.end - self.arena.start)
        if self.head + self.count == self.capacity:
            if self.head > self.capacity // 2:
                memmove(self.slots, self.slots + self.head, self.count * sizeof(Slot))
                self.head = 0
            else:
                want = self.capacity * 2 if self.capacity else FEW_SLOTS
                moved = <Slot*>realloc(self.slots, want * sizeof(Slot))
                if moved is NULL:
                    with gil:
                        raise MemoryError(f"no memory for {want} log entries")
                if MUTANT(STEP_DOWN_KEEPS_WAITERS):
                    memset(moved + self.capacity, 0, (want - self.capacity) * sizeof(Slot))
                self.slots = moved
                self.capacity = want
        r = <Record*>buffer_reserve(&self.arena, length)
        self.arena.end += length
        s = self.slots + self.head + self.count
        s.offset = offset
        s.length = <uint32_t>length
        if not MUTANT(STEP_DOWN_KEEPS_WAITERS):
            s.connection = 0
            s.request = 0
        s.term = 0
        self.count += 1
        r.length = <uint32_t>length
        r.index = self.last()
        return r

    cdef Record* append(self, const Record* record) except NULL nogil:
        """Add a copy of a record, whose index must be the next and whose term not go back."""
        cdef Record* r
        must(record.index == self.last() + 1, b"log: appended index is not the next",
             record.index, self.last())
        must(record.term >= self.last_term(), b"log: term goes back", record.index,
             record.term, self.last_term())
        r = self.reserve(record.length)
        memcpy(r, record, record.length)
        self.slot(r.index).term = r.term
        return r

    cdef int truncate(self, uint64_t index) except -1 nogil:
        """Drop the entries from ``index`` on."""
        must(self.holds(index), b"log: truncation outside of the log", index, self.first,
             self.last())
        self.arena.end = self.arena.start + (self.slot(index).offset - self.arena_offset)
        self.count = index - self.first
        if self.observed >= index:
            self.observed = index - 1
        return 0

    cpdef int compact(self, uint64_t index) except -1 nogil:
        """Drop the entries up to and including ``index``: a durable snapshot holds their effect
        (thesis, 5.1). Memory that has become needless is given back, by and by.

        The entries must be applied, durable, and nobody may still wait for their answers.
        """
        cdef uint64_t term = self.term_at(index)
        cdef uint64_t offset = self.offset_of(index + 1)
        cdef uint64_t dropped = index + 1 - self.first
        if index + 1 == self.first:
            return 0
        must(self.holds(index), b"log: compaction outside of the log", index, self.first,
             self.last())
        buffer_consume(&self.arena, offset - self.arena_offset)
        self.arena_offset = offset
        self.head += dropped
        self.count -= dropped
        self.first = index + 1
        self.base_term = term
        return self.give_back()

    cpdef int restart(self, uint64_t index, uint64_t term) except -1 nogil:
        """Drop everything: the log goes on after a snapshot whose last entry is (index, term)."""
        must(index + 1 >= self.first, b"log: restart before its beginning", index, self.first)
        self.arena_offset = self.offset_of(self.last() + 1)
        buffer_consume(&self.arena, self.arena.end - self.arena.start)
        self.head = self.count = 0
        self.first = index + 1
        self.base_term = term
        if self.observed > index:
            self.observed = index
        return self.give_back()

    cdef int give_back(self) except -1 nogil:
        """Return a slice of what is held in vain, once that is more than is used."""
        cdef size_t want = max(2 * self.count, <size_t>FEW_SLOTS)
        cdef Slot* moved
        buffer_shrink(&self.arena, FEW_BYTES)
        if self.capacity // 2 < want:
            return 0
        if self.head:
            memmove(self.slots, self.slots + self.head, self.count * sizeof(Slot))
            self.head = 0
        if self.capacity > SLICE_BYTES // sizeof(Slot):
            want = max(want, self.capacity - SLICE_BYTES // sizeof(Slot))
        moved = <Slot*>realloc(self.slots, want * sizeof(Slot))
        if moved is not NULL:               # else all of it is kept
            self.slots = moved
            self.capacity = want
        return 0

    cdef uint64_t range_end(self, uint64_t begin, size_t max_bytes) noexcept nogil:
        """Return the largest end such that entries [begin, end) fit max_bytes, at least one."""
        cdef uint64_t low = begin + 1, high = self.last() + 1, middle
        cdef uint64_t limit = self.slot(begin).offset + max_bytes
        while low < high:
            middle = low + (high - low + 1) // 2
            if self.offset_of(middle) <= limit:
                low = middle
            else:
                high = middle - 1
        return low

    cdef const char* range_bytes(self, uint64_t begin, uint64_t end, size_t* n) noexcept nogil:
        """Return the bytes of entries [begin, end), which must be held and not empty."""
        cdef uint64_t offset = self.slot(begin).offset
        n[0] = self.offset_of(end) - offset
        return self.arena.data + self.arena.start + (offset - self.arena_offset)

    def __len__(self) -> int:
        return self.count

    @property
    def first_index(self) -> int:
        """Index of the first entry held."""
        return self.first

    @property
    def capacities(self) -> tuple:
        """For how many bytes of records, and for how many entries, memory is held."""
        return self.arena.capacity, self.capacity

    @property
    def last_index(self) -> int:
        """Index of the last entry, first_index - 1 when empty."""
        return self.last()

    def term(self, index: int) -> int:
        """Return the term of an entry (0 where nothing is known)."""
        return self.term_at(index)

    def bytes_of(self, index: int) -> bytes:
        """Return an entry's record. Raises IndexError outside of the log."""
        if not self.holds(index):
            raise IndexError(f"entry {index}: the log holds {self.first} to {self.last()}")
        return (<char*>self.record(index))[:self.slot(index).length]
