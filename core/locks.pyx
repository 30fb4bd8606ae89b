# distutils: language = c++
"""Locks that end by themselves, and tokens that tell an old holder from a new one.

A lease (Gray and Cheriton, SOSP 1989) is held for its ttl and longer while it is kept alive. It
ends by log time only, which all members read from the same CLOCK entries: no clock of a member's
own decides anything. Its time begins with the first CLOCK after the entry that acquired or renewed
it. That CLOCK was proposed later than the client sent its request, and log time goes no faster than
the leader's clock: so a client that counts its ttl from the moment of sending gives up no later
than the cluster does, drift of clocks aside.

A holder that was paused may believe too long that it holds; so acquiring answers a token, the index
of the acquiring entry, which only grows, and what the lock protects refuses older tokens (Chubby's
sequencers: Burrows, OSDI 2006, 2.4; fencing: Kleppmann, How to do distributed locking, 2016): here
the command write-if-token (keys.pyx).

Acquiring again what one holds renews it under the same token, because a late copy must do no harm:
so a holder's name should be of one life of one process.
"""
from cython.operator cimport dereference
from libc.string cimport memcmp, memcpy

from seatrial.core.codec cimport (
    OP_ACQUIRE,
    OP_KEEP_ALIVE,
    STATUS_BAD_REQUEST,
    STATUS_LOCK_HELD,
    STATUS_LOCK_LOST,
    STATUS_OK,
)
from seatrial.core.invariant cimport must
from seatrial.core.mutant cimport MUTANT, TOKEN_REPEATS, seatrial_arm
from seatrial.core.outcome cimport answer, answer_with
from seatrial.core.state_hash cimport LOCK_SEED, absorb, hash_bytes

cdef enum:
    WORD = sizeof(uint64_t)

cdef uint64_t MAX_TTL_NS = <uint64_t>1 << 62    # a sum with a time does not overflow


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Locks:
    cdef void execute(self, const Command* c, uint64_t token, uint64_t now_ns,
                      Outcome* out) noexcept nogil:
        """Acquire (value: ttl, holder), keep alive or release (value: token)."""
        cdef const char* p = <const char*>(c + 1)
        cdef Lock* lock
        cdef uint64_t claimed
        self.name.assign(p, c.key_length)
        p += c.key_length
        if c.value_length < WORD:
            answer(out, STATUS_BAD_REQUEST)
            return
        if c.op == OP_ACQUIRE:
            self._acquire(c, p, token, now_ns, out)
            return
        memcpy(&claimed, p, WORD)
        lock = self.held.find(self.name)
        if lock is NULL or lock.token != claimed:
            answer(out, STATUS_LOCK_LOST)
            return
        answer(out, STATUS_OK)
        lock = self.held.change(self.name)
        if c.op == OP_KEEP_ALIVE:
            self._renew(lock, lock.ttl_ns)
        else:
            self._release(lock)

    cdef void _acquire(self, const Command* c, const char* p, uint64_t token, uint64_t now_ns,
                       Outcome* out) noexcept nogil:
        cdef Lock* lock = self.held.find(self.name)
        cdef uint64_t ttl_ns
        cdef size_t size = c.value_length - WORD
        memcpy(&ttl_ns, p, WORD)
        p += WORD
        if ttl_ns == 0 or ttl_ns > MAX_TTL_NS:
            answer(out, STATUS_BAD_REQUEST)
            return
        if lock is not NULL and (lock.holder.size() != size
                                 or memcmp(lock.holder.data(), p, size) != 0):
            self._describe(lock, now_ns, STATUS_LOCK_HELD, out)
            return
        if lock is NULL:
            lock = self.held.change(self.name)
            lock.holder.assign(p, size)
            lock.token = 1 if MUTANT(TOKEN_REPEATS) else token
            lock.until_ns = 0
            lock.hash = 0
            self.fresh.push_back(self.name)
        else:
            lock = self.held.change(self.name)
        self._renew(lock, ttl_ns)
        answer_with(out, STATUS_OK, <const char*>&lock.token, WORD)

    cdef void _renew(self, Lock* lock, uint64_t ttl_ns) noexcept nogil:
        cdef pair[uint64_t, string] end
        self.sum -= lock.hash
        lock.ttl_ns = ttl_ns
        if lock.until_ns:
            end.first, end.second = lock.until_ns, self.name
            self.ends.erase(end)
            self.fresh.push_back(self.name)
            lock.until_ns = 0
        self._settle(self.name, lock)

    cdef void _release(self, Lock* lock) noexcept nogil:
        cdef pair[uint64_t, string] end
        end.first, end.second = lock.until_ns, self.name
        self.ends.erase(end)
        self.sum -= lock.hash
        self.held.erase(self.name)

    cdef void _settle(self, const string& name, Lock* lock) noexcept nogil:
        cdef uint64_t h = hash_bytes(LOCK_SEED, name.data(), name.size())
        h = absorb(absorb(absorb(h, lock.token), lock.ttl_ns), lock.until_ns)
        lock.hash = hash_bytes(h, lock.holder.data(), lock.holder.size())
        self.sum += lock.hash

    cdef void query(self, const string& name, uint64_t now_ns, Outcome* out) noexcept nogil:
        """Tell who holds a lock; no value: nobody."""
        cdef Lock* lock = self.held.find(name)
        if lock is NULL:
            answer(out, STATUS_OK)
        else:
            self._describe(lock, now_ns, STATUS_OK, out)

    cdef void _describe(self, const Lock* lock, uint64_t now_ns, uint8_t status,
                        Outcome* out) noexcept nogil:
        """Answer token, ttl, what is left of it, holder."""
        cdef uint64_t left = lock.until_ns - now_ns if lock.until_ns else lock.ttl_ns
        self.said.assign(<const char*>&lock.token, WORD)
        self.said.append(<const char*>&lock.ttl_ns, WORD)
        self.said.append(<const char*>&left, WORD)
        self.said.append(lock.holder)
        answer_with(out, status, self.said.data(), self.said.size())

    cdef void expire(self, uint64_t now_ns) noexcept nogil:
        """Let the time begin of what was acquired or renewed, and end what is over."""
        cdef pair[uint64_t, string] end
        cdef Lock* lock
        cdef size_t i
        for i in range(self.fresh.size()):
            lock = self.held.find(self.fresh[i])
            if lock is NULL or lock.until_ns:
                continue            # released, or named twice
            lock = self.held.change(self.fresh[i])
            self.sum -= lock.hash
            lock.until_ns = now_ns + lock.ttl_ns
            end.first, end.second = lock.until_ns, self.fresh[i]
            self.ends.insert(end)
            self._settle(self.fresh[i], lock)
        self.fresh.clear()
        while not self.ends.empty() and dereference(self.ends.begin()).first <= now_ns:
            self.name = dereference(self.ends.begin()).second
            self._release(self.held.find(self.name))

    cdef int restore(self, const string& name, const Lock* lock) except -1 nogil:
        """Add a lock that a snapshot holds."""
        cdef pair[uint64_t, string] end
        cdef Lock* mine
        must(self.held.find(name) is NULL, b"snapshot: a lock twice", lock.token)
        mine = self.held.change(name)
        mine[0] = lock[0]
        if mine.until_ns:
            end.first, end.second = mine.until_ns, name
            self.ends.insert(end)
        else:
            self.fresh.push_back(name)
        self._settle(name, mine)
        return 0
