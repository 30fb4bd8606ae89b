# distutils: language = c++
"""Client sessions: what makes a write that was sent twice happen once.

A write is identified by (session, sequence). A session remembers its newest write and its answer,
so that a retry is answered and not applied again (Raft thesis, 6.3). Its id is the index of the
entry that opened it: an id is never given twice, so that a late copy of a write whose session was
forgotten meets no session, whatever late copies of the opening may have opened meanwhile. A client
names its opening by a nonce, and a repeated one is answered with the same id while the session
lives.

Sessions end in two ways, both decided by the log alone: over a number, which the opening entry
carries, the one unused for the longest goes; and one that was not used for its ttl of log time goes
when log time passes (thesis, 6.3; LogCabin's session timeout). The map is ordered by use, so the
oldest is its first, and in a snapshot sessions come in the order of their use.
"""
from cython.operator cimport dereference, preincrement

from seatrial.core.codec cimport STATUS_OK
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport mark, SESSION_EVICTED, SESSION_EXPIRED
from seatrial.core.mutant cimport MUTANT, SESSION_NAMED_BY_CLIENT, seatrial_arm
from seatrial.core.state_hash cimport SESSION_SEED, absorb, hash_bytes

cdef uint64_t NEVER = <uint64_t>-1


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Sessions:
    def __cinit__(self):
        self.shortest_ns = NEVER

    cdef uint64_t open(self, uint64_t nonce, uint64_t id, uint64_t index, uint64_t now_ns,
                       uint64_t limit, uint64_t ttl_ns) noexcept nogil:
        """Open a session, or find the one that an earlier copy opened; return its id."""
        cdef unordered_map[uint64_t, uint64_t].iterator known = self.ids.find(nonce)
        cdef Session* s
        if known != self.ids.end():
            s = self.use(dereference(known).second, index, now_ns)
            self.settle(s)
            return s.id
        while self.by_use.size() and self.by_use.size() >= limit:
            mark(SESSION_EVICTED)
            self._forget(self.by_use.value(self.by_use.begin()))
        s = self.by_use.change(index)
        s.id = nonce if MUTANT(SESSION_NAMED_BY_CLIENT) else id
        s.nonce = nonce
        s.sequence = 0
        s.used = index
        s.used_ns = now_ns
        s.ttl_ns = ttl_ns
        s.status = STATUS_OK
        s.has_value = False
        self._enter(s)
        return s.id

    cdef void _enter(self, Session* s) noexcept nogil:
        self.used[s.id] = s.used
        self.ids[s.nonce] = s.id
        if s.ttl_ns:
            self.expiring += 1
            self.shortest_ns = min(self.shortest_ns, s.ttl_ns)
        self.settle(s)

    cdef Session* use(self, uint64_t id, uint64_t index, uint64_t now_ns) noexcept nogil:
        """Return a session, used now, or NULL; ``settle`` it when it is as it shall be."""
        cdef unordered_map[uint64_t, uint64_t].iterator found = self.used.find(id)
        cdef Session* s
        if found == self.used.end():
            return NULL
        s = self.by_use.move_to_end(dereference(found).second, index)
        dereference(found).second = index
        self.sum -= s.hash
        s.used = index
        s.used_ns = now_ns
        return s

    cdef void answered(self, Session* s, uint64_t sequence, const Outcome* out) noexcept nogil:
        """Remember a write's answer in the place of the one before."""
        s.sequence = sequence
        s.status = out.status
        s.has_value = out.has_value
        s.value.assign(out.value, out.value_length)

    cdef void settle(self, Session* s) noexcept nogil:
        cdef uint64_t h = absorb(absorb(absorb(SESSION_SEED, s.id), s.nonce), s.sequence)
        h = absorb(absorb(absorb(h, s.used), s.used_ns), s.ttl_ns)
        h = absorb(h, <uint64_t>s.status << 1 | s.has_value)
        s.hash = hash_bytes(h, s.value.data(), s.value.size())
        self.sum += s.hash

    cdef void expire(self, uint64_t now_ns) noexcept nogil:
        """Forget the sessions that were not used for their time."""
        cdef FrozenMap[uint64_t, Session].iterator at = self.by_use.begin()
        cdef Session* s
        if not self.expiring:
            return
        while at != self.by_use.end():
            s = self.by_use.value(at)
            if now_ns - s.used_ns < self.shortest_ns:
                break               # nor has any after it
            preincrement(at)
            if s.ttl_ns and now_ns - s.used_ns >= s.ttl_ns:
                mark(SESSION_EXPIRED)
                self._forget(s)

    cdef void _forget(self, Session* s) noexcept nogil:
        cdef uint64_t used = s.used
        self.sum -= s.hash
        self.used.erase(s.id)
        self.ids.erase(s.nonce)
        if s.ttl_ns:
            self.expiring -= 1
        self.by_use.erase(used)

    cdef int restore(self, const Session* s) except -1 nogil:
        """Add a session that a snapshot holds; they come in order of use."""
        cdef Session* mine
        must(self.used.find(s.id) == self.used.end() and self.ids.find(s.nonce) == self.ids.end()
             and self.by_use.find(s.used) is NULL, b"snapshot: a session twice", s.id, s.used)
        mine = self.by_use.change(s.used)
        mine[0] = s[0]
        self._enter(mine)
        return 0
