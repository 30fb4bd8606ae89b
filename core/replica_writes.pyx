# distutils: language = c++
"""A replica's chapter on its disk: what was there, what to write at once, what is durable."""
from seatrial.core.codec cimport Record
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport mark, SNAPSHOT_RESTORED_IN_PART
from seatrial.core.mutant cimport MUTANT, seatrial_arm, TERM_NOT_PERSISTED, VOTE_NOT_PERSISTED
from seatrial.core.raft cimport Raft
from seatrial.core.replica_state cimport INCOMING_CHUNK, NO_CHUNK


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class ReplicaWrites(ReplicaRequests):
    def restore(self, term: int, vote: int, records: bytes, *, first: int = 1,
                base_term: int = 0, snapshot=None, partial=None,
                damaged_until: int = 0, damaged_term: int = 0) -> None:
        """Take what the disk held, once, before any input (recovery.pyx, Recovered)."""
        cdef Raft raft = self.raft
        if snapshot is not None:
            self._restore_chunks(snapshot)
            must(raft.incoming.complete and self.kv.applied == raft.incoming.chunk(0).rindex,
                 b"restore: the snapshot is not whole", self.kv.applied, raft.incoming.index)
            self.applied = self.answered = raft.incoming.index
            raft.restore_snapshot(self.kv.block.data(), self.kv.block.size())
        raft.restore(term, vote, records, first=first, base_term=base_term,
                     damaged_until=damaged_until, damaged_term=damaged_term)
        if partial is not None:
            mark(SNAPSHOT_RESTORED_IN_PART)
            self._restore_chunks(partial)

    def take_persist(self) -> tuple | None:
        """Return the next group write (seq, term, vote, count, records, base, base_term, chunk,
        first), None for nothing.

        At most one is in flight: the next is handed out after ``persisted``.
        """
        cdef GroupWrite w
        if not self.next_write(&w):
            return None
        return (w.seq, w.term, w.vote, w.count, w.records[:w.size], w.base, w.base_term,
                w.chunk[:w.chunk_size] if w.chunk_size else b"", w.first)

    cdef size_t _write_limit(self) noexcept nogil:
        """How many bytes of entries may be written at once. Each write carries one chunk of the
        snapshot that is being made; where the log grows much faster than that gets on, entries
        give way, or the log in memory would become many times as large as the state."""
        if (self.making.index and self.raft.log.offset_of(self.raft.log.last() + 1)
                - self.raft.log.offset_of(self.raft.snapshot.index + 1) > 2 * self.snapshot_bytes):
            return min(self.max_write_bytes, 2 * self.chunk_bytes)
        return self.max_write_bytes

    cdef bint next_write(self, GroupWrite* w) except -1:
        """Fill in the next group write; False for nothing. Its records stay where they are until
        the log changes, or the next iteration."""
        cdef Raft raft = self.raft
        cdef uint64_t begin = raft.next_persist, end = begin
        cdef const Record* chunk
        if raft.writing:
            return False
        chunk = self._next_chunk()
        if chunk is NULL and raft.durable_version == raft.state_version and begin > raft.log.last():
            return False
        must(begin >= raft.log.first, b"writes entries that are gone", begin, raft.log.first)
        w.records = b""
        w.size = 0
        w.base = begin - 1
        w.base_term = raft.log.term_at(w.base)
        w.chunk = <const char*>chunk
        w.chunk_size = chunk.length if chunk is not NULL else 0
        w.first = raft.log.first
        # (what comes from the leader's snapshot goes alone: with its last chunk it voids the log)
        if begin <= raft.log.last() and self.chunk_written != INCOMING_CHUNK:
            end = raft.log.range_end(begin, self._write_limit())
            w.records = raft.log.range_bytes(begin, end, &w.size)
        raft.writing = True
        raft.write_seq += 1
        raft.writing_last = end - 1
        raft.writing_version = raft.state_version
        raft.writing_since_ns = raft.now_ns
        raft.next_persist = end
        w.seq = raft.write_seq
        w.term = raft.log.last_term() if MUTANT(TERM_NOT_PERSISTED) else raft.term
        w.vote = 0 if MUTANT(VOTE_NOT_PERSISTED) else raft.vote
        w.count = <uint32_t>(end - begin)
        return True

    def persisted(self, uint64_t seq, uint64_t now_ns) -> None:
        """The group write ``seq`` is durable."""
        self.synced(seq, now_ns)

    cdef int synced(self, uint64_t seq, uint64_t now_ns) except -1:
        """``persisted`` for C callers."""
        self.raft.persisted(seq, now_ns)
        return self._chunk_durable() if self.chunk_written != NO_CHUNK else 0
