# distutils: language = c++
"""A replica's chapter on snapshots (paper, section 7): begun, written, kept; loaded.

One of our own is written while entries go on being applied: each group write carries its next
chunk. One that the leader sends goes to our disk first, then chunk by chunk to the state machine.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint32_t
from libc.string cimport memcpy
from libcpp.vector cimport vector

from seatrial.core.buffer cimport (
    Buffer,
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_size,
)
from seatrial.core.chunks cimport Chunks, LAST_CHUNK
from seatrial.core.codec cimport KIND_PIECE, record_crc, RECORD_SIZE, STATUS_OK
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport (
    mark,
    SNAPSHOT_ASKED_FOR,
    SNAPSHOT_BEGUN,
    SNAPSHOT_GIVEN_UP,
    SNAPSHOT_OVERTAKEN,
    SNAPSHOT_TAKEN,
)
from seatrial.core.mutant cimport (
    MUTANT,
    seatrial_arm,
    SNAPSHOT_AHEAD_OF_LOG,
    SNAPSHOT_LOSES_OUTGOING,
)
from seatrial.core.mirror cimport Base, PieceHead
from seatrial.core.raft cimport Raft
from seatrial.core.replica_state cimport INCOMING_CHUNK, NO_CHUNK, OWN_CHUNK, SnapshotWaiter

import msgspec

from seatrial.core.membership import Configuration

cdef enum:
    MAX_SNAPSHOT_WAITERS = 64


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class ReplicaSnapshots(ReplicaState):
    cdef int _consider_snapshot(self, uint64_t now_ns) except -1 nogil:
        """Begin a snapshot of what is applied once enough was logged since the one before: as
        much as that one's size at least, so that writing them is no more work than the log.

        One that is being sent is not replaced by a newer one, which would have to be sent from
        its beginning; but no member may be so slow that our log grows without bound.
        """
        cdef uint64_t since = self.raft.snapshot.index + 1
        cdef uint64_t logged, enough = max(self.snapshot_bytes, self.raft.snapshot.size)
        if (self.making.index or self.raft.incoming.count() or self.applied < since
                or since < self.raft.log.first or self.pieces_end > self.kv.applied
                or self.raft.mirror._floor_after(self.applied)):    # (of what may yet be cut)
            return 0
        logged = self.raft.log.offset_of(self.applied + 1) - self.raft.log.offset_of(since)
        if logged < enough and not self._snapshot_wanted():
            return 0
        if logged < 2 * enough and (self.raft.sending(now_ns) or self.domain.sending_snapshot()):
            return 0
        return self._begin_snapshot()

    cdef bint _snapshot_wanted(self) noexcept nogil:
        """Whether somebody asked for one that holds more than the newest, or has use for it."""
        cdef size_t i
        if self.domain.linked and self.domain.lacks_snapshot():
            return True
        for i in range(self.snapshot_waiters.size()):
            if self.snapshot_waiters[i].index > self.raft.snapshot.index:
                return True
        return False

    def request_snapshot(self, uint32_t connection, uint64_t request) -> bool:
        """Take a snapshot of what is applied now; its being durable answers this request, with
        ``snapshot()`` in JSON. False: too many wait already."""
        cdef SnapshotWaiter waiter
        if self.snapshot_waiters.size() >= MAX_SNAPSHOT_WAITERS:
            return False
        mark(SNAPSHOT_ASKED_FOR)
        waiter.connection, waiter.request, waiter.index = connection, request, self.applied
        self.snapshot_waiters.push_back(waiter)
        return True

    cdef int _answer_snapshots(self) except -1:
        """Tell those whose snapshot is durable."""
        cdef vector[SnapshotWaiter] waiting = self.snapshot_waiters
        cdef size_t i
        self.snapshot_waiters.clear()
        for i in range(waiting.size()):
            if self.raft.snapshot.complete and self.raft.snapshot.index >= waiting[i].index:
                self.reply(waiting[i].connection, waiting[i].request, STATUS_OK,
                           msgspec.json.encode(self.snapshot()))
            elif self._connection(waiting[i].connection) is not NULL:
                self.snapshot_waiters.push_back(waiting[i])
        return 0

    def snapshot(self) -> dict:
        """Return what is to be said of this node's newest snapshot, which is durable."""
        cdef Chunks newest = self.raft.snapshot
        return {"node": self.raft.node, "index": newest.index, "term": newest.term,
                "bytes": newest.size, "first_index": self.raft.log.first,
                "hash": f"{newest.state_hash() if newest.complete else 0:016x}"}

    cdef int _begin_snapshot(self) except -1 nogil:
        cdef Buffer block
        buffer_init(&block)
        try:
            if not self.raft.block_at(self.applied, &block):
                return 0
            if MUTANT(SNAPSHOT_LOSES_OUTGOING):
                with gil:
                    lost = without_outgoing(block.data[block.start:block.end])
                    buffer_consume(&block, buffer_size(&block))
                    buffer_append(&block, PyBytes_AS_STRING(lost), len(lost))
            must(self.raft.mirror.coordinates(self.raft.mirror.end_at(self.applied),
                                              &self.making_end)
                 and self.making_end.rindex == self.kv.applied,
                 b"a snapshot of what the log does not hold", self.applied, self.kv.applied)
            self.making.clear(self.applied, self.raft.log.term_at(self.applied))
            self.made_durable = 0
            mark(SNAPSHOT_BEGUN)
            return self.kv.snapshot_begin(block.data + block.start, buffer_size(&block))
        finally:
            buffer_free(&block)

    cdef const Record* _next_chunk(self) except? NULL nogil:
        """The chunk that goes with the next group write, if there is one."""
        cdef Record* r
        cdef int last
        self.chunk_written = NO_CHUNK
        if self.holds_chunks:
            return NULL
        if self.raft.incoming_durable < self.raft.incoming.count():
            self.chunk_written = INCOMING_CHUNK
            self.chunk_version = self.raft.incoming.version
            if self.making.index:       # on the disk the chunks of two snapshots must not mix
                mark(SNAPSHOT_GIVEN_UP)
                self.kv.snapshot_end()
                self.making.clear(0, 0)
            return self.raft.incoming.chunk(self.raft.incoming_durable)
        if self.making.index == 0 or (self.making.index > self.raft.durable_index
                                      and not MUTANT(SNAPSHOT_AHEAD_OF_LOG)):
            return NULL                 # a snapshot never goes ahead of our own log
        r = self.making.open_chunk()
        r.rindex = self.making_end.rindex
        r.epoch, r.rterm = self.making_end.rterm.epoch, self.making_end.rterm.term
        last = self.kv.snapshot_chunk(&self.making.records, self.chunk_bytes)
        self.making.close_chunk(last)
        self.chunk_written = OWN_CHUNK
        self.chunk_version = self.making.version
        return self.making.chunk(self.making.count() - 1)

    cdef int _chunk_durable(self) except -1:
        """The chunk that went with the newest group write is on the disk."""
        cdef int whose = self.chunk_written
        cdef Raft raft = self.raft
        self.chunk_written = NO_CHUNK
        if whose == OWN_CHUNK and self.chunk_version == self.making.version:
            self.made_durable += 1
            if self.making.complete:
                self._compact()
        elif whose == INCOMING_CHUNK and self.chunk_version == raft.incoming.version:
            if raft.incoming.index <= raft.commit:
                return self._drop_incoming()
            raft.incoming_durable += 1
            raft.incoming_ack_owed = True
            self._load(raft.incoming.chunk(raft.incoming_durable - 1))
            if raft.incoming.complete and raft.incoming_durable == raft.incoming.count():
                self.applied = self.answered = raft.incoming.index
                raft.install(self.kv.block.data(), self.kv.block.size())
                self.snapshots_installed += 1
                self.snapshot_ns = raft.now_ns
        return 0

    cdef int _drop_incoming(self) except -1 nogil:
        """A snapshot that we were being sent, or had begun to write before a restart, is needless:
        what came entry by entry was quicker."""
        mark(SNAPSHOT_OVERTAKEN)
        self.raft.incoming.clear(0, 0)
        self.raft.incoming_durable = 0
        self.pieces_loaded = 0
        with gil:
            self.kv.load_end()
        return 0

    cdef int _load(self, const Record* r) except -1:
        """Have the state machine read a chunk; with the last one it is in that state."""
        if r.sequence == 0:
            self.kv.load_begin()
            self.pieces_loaded = 0
        self.kv.load_chunk(<const char*>r + RECORD_SIZE, r.length - RECORD_SIZE, <uint32_t>r.client,
                           r.flags & LAST_CHUNK)
        return 0

    cdef int _compact(self) except -1:
        """Our own snapshot is on the disk: forget the log before it, but for a little."""
        cdef Raft raft = self.raft
        cdef Chunks before = raft.snapshot
        cdef uint64_t low, high, middle, end
        raft.snapshot = self.making
        self.making = before
        self.making.clear(0, 0)
        self.snapshots_made += 1
        mark(SNAPSHOT_TAKEN)
        self.snapshot_ns = raft.now_ns
        end = raft.log.offset_of(raft.snapshot.index + 1)
        low, high = raft.log.first, raft.snapshot.index + 1
        while low < high:                   # the first entry that is kept
            middle = (low + high) // 2
            if end - raft.log.offset_of(middle) > self.keep_bytes:
                low = middle + 1
            else:
                high = middle
        return raft.compact(low - 1)

    cdef int _give_back(self) except -1 nogil:
        """Once an iteration, a slice of the memory that compaction and snapshots left behind."""
        self.making.give_back()
        self.raft.incoming.give_back()
        return self.raft.log.give_back()

    # ---- a parent's snapshot, from our own log -----------------------------------------------

    cdef int _take_piece(self, const Record* r) except -1:
        """Have the state machine read a piece, but the last: that is KIND_BASE's."""
        cdef PieceHead head
        cdef size_t size = r.length - RECORD_SIZE - sizeof(head)
        memcpy(&head, <const char*>r + RECORD_SIZE, sizeof(head))
        self.pieces_end = head.end.rindex
        if head.last or self.raft.incoming.count():
            return 0                    # (our own leader's snapshot is being read)
        if head.offset == 0:
            self.kv.load_begin()
        elif head.offset != self.pieces_loaded:
            return 0
        self.kv.load_chunk(<const char*>r + RECORD_SIZE + sizeof(head), size, head.crc,
                           False)
        self.pieces_loaded = head.offset + size
        return 0

    cdef int _take_base(self, const Record* r) except -1:
        """The pieces before this entry are the state: become it."""
        cdef vector[uint64_t] pieces
        cdef PieceHead head
        cdef Base base
        cdef const Record* piece
        cdef uint64_t i = r.index
        cdef size_t n
        memcpy(&base, <const char*>r + RECORD_SIZE, sizeof(base))
        if self.raft.incoming.count():
            self._drop_incoming()
        while True:
            i -= 1
            must(self.raft.log.holds(i), b"a base whose pieces are gone", r.index, i)
            piece = self.raft.log.record(i)
            if piece.kind != KIND_PIECE:
                continue
            memcpy(&head, <const char*>piece + RECORD_SIZE, sizeof(head))
            pieces.push_back(i)
            if head.offset <= self.pieces_loaded and (head.offset == self.pieces_loaded
                                                      or head.offset == 0):
                break
        if head.offset == 0:
            self.kv.load_begin()
        for n in range(pieces.size()):
            piece = self.raft.log.record(pieces[pieces.size() - 1 - n])
            memcpy(&head, <const char*>piece + RECORD_SIZE, sizeof(head))
            self.kv.load_chunk(
                <const char*>piece + RECORD_SIZE + sizeof(head),
                piece.length - RECORD_SIZE - sizeof(head), head.crc,
                head.last)
        must(self.kv.applied == base.end.rindex, b"a base of another state", self.kv.applied,
             base.end.rindex)
        self.domain.applied_at = base.end       # (another base may follow, and hide it)
        self.pieces_loaded = self.pieces_end = 0
        self.making.clear(0, 0)         # (what was being written was of the state before)
        return 0

    def _restore_chunks(self, found) -> None:
        cdef Raft raft = self.raft
        cdef const Record* r
        cdef const char* p
        cdef size_t at = 0
        cdef uint64_t index, term
        cdef bytes records
        index, term, records = found
        p = PyBytes_AS_STRING(records)
        raft.incoming.clear(index, term)
        while at < <size_t>len(records):
            r = <const Record*>(p + at)
            must(record_crc(r) == r.crc and raft.incoming.continues(r),
                 b"restore: a snapshot's chunk does not fit", index, r.sequence)
            raft.incoming.add(r)
            self._load(raft.incoming.chunk(raft.incoming.count() - 1))
            at += r.length
        raft.incoming_durable = raft.incoming.count()


cdef bytes without_outgoing(bytes payload):
    """What a planted bug makes of a configuration."""
    found = Configuration.decode(payload)
    return found.leave_joint().encode() if found.joint else payload
