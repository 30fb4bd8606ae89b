"""Raft's chapter on snapshots (paper, section 7): sent in chunks, resumed, installed; compaction.

The stream of one state is the same on every member, so a transfer goes on where it broke off,
whoever leads by then. A chunk is acknowledged when it is on the follower's disk.
"""
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport buffer_append, buffer_consume, buffer_reserve, buffer_size
from seatrial.core.chunks cimport CHUNK_BYTES, Chunks
from seatrial.core.codec cimport (
    append_crc,
    APPEND_REPLY,
    KIND_SNAPSHOT,
    MESSAGE_SIZE,
    Record,
    RECORD_SIZE,
    set_length,
    SNAPSHOT,
    SNAPSHOT_REPLY,
)
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport (
    CHANGE_FROM_SNAPSHOT,
    COMPACT_CONFIGURATION,
    COMPACT_ENTRIES,
    COMPACT_NOTHING,
    mark,
    SNAPSHOT_INSTALLED_AT_END,
    SNAPSHOT_INSTALLED_KEEPING_SUFFIX,
    SNAPSHOT_INSTALLED_OVER_CONFLICT,
    SNAPSHOT_INSTALLED_OVER_SHORT_LOG,
    SNAPSHOT_NEEDLESS,
    SNAPSHOT_RESTORED,
    SNAPSHOT_RESUMED_AFTER_BREAK,
    SNAPSHOT_RESUMED_AFTER_RESTART,
    SNAPSHOT_RESUMED_BY_LATER_LEADER,
    SNAPSHOT_SENT_AGAIN,
    SNAPSHOT_SENT_NEWER,
    SNAPSHOT_STARTED_OVER,
    SNAPSHOT_SUPERSEDED,
)
from seatrial.core.mutant cimport (
    MUTANT,
    seatrial_arm,
    SNAPSHOT_ACKED_WHEN_RECEIVED,
    SNAPSHOT_CHUNKS_MIXED,
    SNAPSHOT_CUTS_SUFFIX,
    SNAPSHOT_KEEPS_CONFLICT,
    SNAPSHOT_NEWER_KEEPS_PLACE,
    SNAPSHOT_WITHOUT_CONFIGURATION,
)
from seatrial.core.mirror cimport Coordinates
from seatrial.core.progress cimport SNAPSHOTTED
from seatrial.core.raft_state cimport LEADER

from seatrial.core.errors import ProtocolError

cdef uint64_t BLOCK = <uint64_t>0xD04E49414D4F4401     # no configuration ends like that


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RaftSnapshots(RaftFollowing):
    cdef int _send_snapshot(self, Progress* p, uint64_t now_ns) except -1 nogil:
        """Send chunks as far as the window allows; those that were not heard of, again."""
        cdef const Record* r
        cdef Message* m
        if p.snapshot_index != self.snapshot.index:     # a newer one than it was being sent
            mark(SNAPSHOT_SENT_NEWER)
            p.snapshot_index = self.snapshot.index
            if not MUTANT(SNAPSHOT_NEWER_KEEPS_PLACE):
                p.snapshot_next = p.snapshot_held = 0
        if (p.snapshot_next > p.snapshot_held
                and now_ns > max(p.snapshot_ns, p.snapshot_again_ns) + self.election_ns):
            p.snapshot_next = p.snapshot_held
            p.snapshot_again_ns = now_ns
            mark(SNAPSHOT_SENT_AGAIN)
        while p.snapshot_next < self.snapshot.count():
            r = self.snapshot.chunk(p.snapshot_next)
            if p.snapshot_next > p.snapshot_held and (
                    r.sequence - self.snapshot.chunk(p.snapshot_held).sequence
                    >= self.max_inflight_bytes):
                break
            m = <Message*>buffer_reserve(&p.out, MESSAGE_SIZE + r.length)
            memset(m, 0, MESSAGE_SIZE)
            memcpy(<char*>m + MESSAGE_SIZE, r, r.length)
            set_length(&m.header, MESSAGE_SIZE + r.length)
            m.header.type = SNAPSHOT
            m.sender = self.node
            m.receiver = p.node
            m.term = self.term
            m.index = self.snapshot.index
            m.log_term = self.snapshot.term
            m.commit = self.commit
            m.count = 1
            m.header.crc = append_crc(<const char*>m, MESSAGE_SIZE)
            p.out.end += m.header.length
            p.snapshot_next += 1
            self.chunks_sent += 1
        return 0

    cdef bint sending(self, uint64_t now_ns) noexcept nogil:
        """Whether somebody is being sent our snapshot, and gets on with it."""
        cdef int i
        for i in range(self.places):
            if (self.role == LEADER and self.replicas >> i & 1
                    and self.peers[i].state == SNAPSHOTTED and self.peers[i].connected
                    and now_ns < self.peers[i].snapshot_ns + 10 * self.election_ns):
                return True
        return False

    cdef int _on_snapshot(self, const Message* m, uint64_t now_ns) except -1 nogil:
        """Keep a chunk; it is acknowledged when it is on our disk."""
        cdef const Record* r = <const Record*>(<const char*>m + MESSAGE_SIZE)
        self._follow(m, now_ns)
        if m.count != 1:
            with gil:
                raise ProtocolError(f"SNAPSHOT of entry {m.index} holds {m.count} records, not one")
        if (r.kind != KIND_SNAPSHOT or r.index != m.index or r.term != m.log_term
                or r.length > RECORD_SIZE + CHUNK_BYTES):
            with gil:
                raise ProtocolError(f"SNAPSHOT of entry {m.index}, term {m.log_term} holds a "
                                    f"record of kind {r.kind}, entry {r.index}, term {r.term}, "
                                    f"{r.length} bytes")
        if (self.log.holds(m.index) and self.log.term_at(m.index) == m.log_term
                and not MUTANT(SNAPSHOT_CUTS_SUFFIX)):
            if m.index > self.commit:   # no more than that was news
                self.commit = m.index
        if m.index <= self.commit:      # we have all that by now
            mark(SNAPSHOT_NEEDLESS)
            self._verified(self.commit)
            self.acked = 0
            self.ack_owed = True
            return 0
        if (self.incoming.index != m.index or self.incoming.term != m.log_term
                or self.incoming.contradicts(r)):
            if self.incoming.count():
                mark(SNAPSHOT_SUPERSEDED)
            if MUTANT(SNAPSHOT_CHUNKS_MIXED) and self.incoming.count():
                self.incoming.index, self.incoming.term = m.index, m.log_term
            else:
                self.incoming.clear(m.index, m.log_term)
                self.incoming_durable = 0
            self.incoming_again = False
            self.incoming_in_term = self.term
        self.incoming_ack_owed = True
        if self.incoming.continues(r):
            self._resumed()
            self.incoming.add(r)
        elif r.sequence == 0:
            self.incoming_again = True
        return 0

    cdef void _resumed(self) noexcept nogil:
        """Mark what a transfer that goes on had broken off for."""
        if self.incoming_in_term == 0:
            mark(SNAPSHOT_RESUMED_AFTER_RESTART)
        elif self.incoming_in_term != self.term:
            mark(SNAPSHOT_RESUMED_BY_LATER_LEADER)
        elif self.incoming_again:
            mark(SNAPSHOT_RESUMED_AFTER_BREAK)
        self.incoming_in_term = self.term
        self.incoming_again = False

    cdef int _flush_snapshot_ack(self) except -1 nogil:
        """Tell the leader how many bytes of its snapshot our disk holds."""
        cdef Message m
        if not self.incoming_ack_owed or self.leader == 0:
            return 0
        self.incoming_ack_owed = False
        memset(&m, 0, sizeof(m))
        m.header.type = SNAPSHOT_REPLY
        m.index = self.incoming.index
        m.log_term = self.incoming.term
        m.round = self.incoming.size
        if MUTANT(SNAPSHOT_ACKED_WHEN_RECEIVED) and self.incoming.complete:
            m.header.type = APPEND_REPLY
            return self._emit(&self.peers[self._peer(self.leader)], &m)
        if self.incoming_durable < self.incoming.count():
            m.round = self.incoming.chunk(self.incoming_durable).sequence
        return self._emit(&self.peers[self._peer(self.leader)], &m)

    cdef int _on_snapshot_reply(self, Progress* p, const Message* m,
                                uint64_t now_ns) except -1 nogil:
        cdef uint64_t held
        if self.role != LEADER:
            return 0
        p.contact_ns = now_ns
        if (p.state != SNAPSHOTTED or m.index != self.snapshot.index
                or m.log_term != self.snapshot.term):
            return 0
        held = self.snapshot.number_at(m.round)
        if held < p.snapshot_held and not MUTANT(SNAPSHOT_NEWER_KEEPS_PLACE):
            # what it had was of another stream: from its beginning
            p.snapshot_held = p.snapshot_next = held
            mark(SNAPSHOT_STARTED_OVER)
        elif held > p.snapshot_held:
            p.snapshot_held = held
            p.snapshot_ns = now_ns
            if p.snapshot_next < held:      # it has more than we sent: from before a break
                p.snapshot_next = held
                self.transfers_resumed += 1
        return 0

    cdef int compact(self, uint64_t index) except -1 nogil:
        """Forget the entries up to ``index``, whose effect a durable snapshot holds."""
        cdef uint64_t newest = 0
        cdef Record* r
        must(index <= self.commit and index <= self.snapshot.index and self.snapshot.complete,
             b"compacts what no snapshot holds", index, self.commit, self.snapshot.index)
        # (where the mirror stood before a base that may yet be cut, only the entries tell)
        if index < self.log.first or self.mirror._floor_after(index):
            mark(COMPACT_NOTHING)
            return 0
        mark(COMPACT_ENTRIES)
        self.mirror.compacted(index)
        while (buffer_size(&self.configs)
               and (<uint64_t*>(self.configs.data + self.configs.start))[0] <= index):
            newest = (<uint64_t*>(self.configs.data + self.configs.start))[0]
            buffer_consume(&self.configs, sizeof(uint64_t))
        if newest:
            mark(COMPACT_CONFIGURATION)
            r = self.log.record(newest)
            buffer_consume(&self.base_config, buffer_size(&self.base_config))
            buffer_append(&self.base_config, <const char*>r + RECORD_SIZE, r.length - RECORD_SIZE)
            self.base_config_index = newest
        return self.log.compact(index)

    cdef int restore_snapshot(self, const char* block, size_t size) except -1:
        """The disk held a snapshot, which is in ``incoming`` and is the state now."""
        cdef Chunks taken = self.incoming
        must(self.term == 0 and self.log.count == 0, b"restore: the machine is not new")
        mark(SNAPSHOT_RESTORED)
        self.incoming = self.snapshot
        self.snapshot = taken
        self._begin_after(taken, block, size, True)
        self.commit = taken.index
        return self._adopt_newest()

    cdef int install(self, const char* block, size_t size) except -1:
        """Go on after the snapshot that came, which is the state now and is on our disk."""
        cdef Chunks taken = self.incoming
        cdef uint64_t index = taken.index
        cdef uint64_t voters = self.voters, outgoing = self.outgoing, learners = self.learners
        must(taken.complete and self.incoming_durable == taken.count() and index > self.commit,
             b"installs what it does not hold", index, self.incoming_durable, self.commit)
        self.incoming = self.snapshot
        self.snapshot = taken
        self.incoming.clear(0, 0)
        self.incoming_durable = 0
        if (self.log.holds(index) and not MUTANT(SNAPSHOT_CUTS_SUFFIX)
                and (self.log.term_at(index) == taken.term or MUTANT(SNAPSHOT_KEEPS_CONFLICT))):
            mark(SNAPSHOT_INSTALLED_AT_END if self.log.last() == index
                 else SNAPSHOT_INSTALLED_KEEPING_SUFFIX)
            self.commit = index
            while (buffer_size(&self.configs)
                   and (<uint64_t*>(self.configs.data + self.configs.start))[0] <= index):
                buffer_consume(&self.configs, sizeof(uint64_t))
            self.log.compact(index)
        else:
            mark(SNAPSHOT_INSTALLED_OVER_CONFLICT if self.log.last() >= index
                 else SNAPSHOT_INSTALLED_OVER_SHORT_LOG)
            self.log.restart(index, taken.term)
            buffer_consume(&self.configs, buffer_size(&self.configs))
            self.durable_index = index
            self.next_persist = index + 1
            if self.writing and self.writing_last > index:
                self.writing_last = index
            self.commit = index
        if self.durable_index < index:
            self.durable_index = index
        if self.next_persist <= index:
            self.next_persist = index + 1
        self._begin_after(taken, block, size, not MUTANT(SNAPSHOT_WITHOUT_CONFIGURATION))
        self._verified(index)
        self.ack_owed = True
        self._adopt_newest()
        if voters != self.voters or outgoing != self.outgoing or learners != self.learners:
            mark(CHANGE_FROM_SNAPSHOT)
        return 0

    cdef int _begin_after(self, Chunks taken, const char* block, size_t size,
                          bint configured) except -1:
        """Go by what a snapshot's block says: members, and where the mirror is."""
        cdef const Record* r = taken.chunk(0)
        cdef BlockEnd end
        cdef Coordinates base
        memset(&end, 0, sizeof(end))
        base.rindex, base.rterm.epoch, base.rterm.term = r.rindex, r.epoch, r.rterm
        end.rterm = base.rterm
        end.members_size = <uint32_t>size
        if size >= sizeof(end) and (<const BlockEnd*>(block + size - sizeof(end))).magic == BLOCK:
            memcpy(&end, block + size - sizeof(end), sizeof(end))
            must(<size_t>end.members_size + end.tree_size + sizeof(end) == size,
                 b"a snapshot's block of another size", size, end.members_size, end.tree_size)
        if configured:
            buffer_consume(&self.base_config, buffer_size(&self.base_config))
            buffer_append(&self.base_config, block, end.members_size)
        self.base_config_index = taken.index
        return self.mirror.rebase(taken.index, base, end.rterm, block + end.members_size,
                                  end.tree_size, end.tree_rindex)

    cdef bint block_at(self, uint64_t index, Buffer* out) except -1 nogil:
        """What goes ahead of the state in a snapshot that ends with this entry: the members; in a
        tree of domains also that, and T. False where the log does not tell the members."""
        cdef BlockEnd end
        cdef uint64_t at
        cdef size_t size
        cdef const char* p = self.config_at(index, &size)
        if p is NULL:
            return False
        memset(&end, 0, sizeof(end))
        buffer_append(out, p, size)
        if self.domain == 0:
            return True
        end.members_size = <uint32_t>size
        end.rterm = self.mirror.adopted_at(index)
        p = self.mirror.tree_bytes(self.mirror.end_at(index), &size, &at)
        end.tree_rindex = at
        end.tree_size = <uint32_t>size
        end.magic = BLOCK
        buffer_append(out, p, size)
        buffer_append(out, &end, sizeof(end))
        return True
