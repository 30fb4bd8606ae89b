# distutils: language = c++
"""Keys and values, in the order of their bytes, and the commands on one key.

The order makes scans and the snapshot's stream the same on every member. Every change goes through
``_set`` and ``_delete``: they keep the state's hash (state_hash.pxd) and what a transaction needs
to undo, while the map itself keeps what a snapshot needs (frozen_map.h).

A counter is a value of 8 bytes, a signed little-endian number; an absent key counts as 0. A key
that was written with a token (``write-if-token``) has a guard: the newest token. Older ones are
refused from then on, even after the key was deleted; commands without a token pass the guard by.
"""
from cython.operator cimport dereference, preincrement
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

from seatrial.core.codec cimport (
    HAS_EXPECTED,
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_IS_ABSENT,
    OP_IS_VALUE,
    OP_READ,
    OP_WRITE,
    OP_WRITE_IF_TOKEN,
    STATUS_BAD_REQUEST,
    STATUS_CAS_MISMATCH,
    STATUS_NOT_A_COUNTER,
    STATUS_OK,
    STATUS_OVERFLOW,
    STATUS_STALE_TOKEN,
    STATUS_TOO_LARGE,
)
from seatrial.core.invariant cimport must
from seatrial.core.mutant cimport MUTANT, SNAPSHOT_READS_NEW_VALUE, seatrial_arm
from seatrial.core.outcome cimport answer, answer_with
from seatrial.core.state_hash cimport (
    KEY_SEED,
    VALUE_SEED,
    absorb,
    absorb_tail,
    absorb_words,
    hash_bytes,
)

cdef extern from *:
    bint __builtin_add_overflow(int64_t a, int64_t b, int64_t* sum) noexcept nogil

cdef enum:
    WORD = sizeof(uint64_t)


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Keys:
    cdef void execute(self, const Command* c, Outcome* out) noexcept nogil:
        """Execute a command on one key, whose parts add up; it changes nothing unless all is ok."""
        cdef const char* p = <const char*>(c + 1)
        self.name.assign(p, c.key_length)
        p += c.key_length
        answer(out, STATUS_OK)
        if c.op == OP_WRITE:
            self._set(p, c.value_length, 0, 0)
        elif c.op == OP_READ:
            self._saw(self._present(), STATUS_OK, out)
        elif c.op == OP_CAS:
            self._cas(c, p, out)
        elif c.op == OP_APPEND:
            self._append(p, c.value_length, out)
        elif c.op == OP_DELETE:
            self._delete()
        elif c.op == OP_ADD:
            self._add(c, p, out)
        elif c.op == OP_WRITE_IF_TOKEN:
            self._write_if_token(c, p, out)
        else:
            answer(out, STATUS_BAD_REQUEST)

    cdef void _append(self, const char* p, size_t size, Outcome* out) noexcept nogil:
        cdef Item* item = self._present()
        cdef size_t before = item.value.size() if item is not NULL else 0
        if before + size > MAX_VALUE_BYTES:
            answer(out, STATUS_TOO_LARGE)
        else:
            self._set(p, size, before, 0)

    cdef void _cas(self, const Command* c, const char* p, Outcome* out) noexcept nogil:
        cdef Item* item = self._present()
        cdef bint equal
        if c.flags & HAS_EXPECTED:
            equal = (item is not NULL and item.value.size() == c.expected_length
                     and memcmp(item.value.data(), p + c.value_length, c.expected_length) == 0)
        else:
            equal = item is NULL
        if equal:
            self._set(p, c.value_length, 0, 0)
        else:
            self._saw(item, STATUS_CAS_MISMATCH, out)

    cdef void _add(self, const Command* c, const char* p, Outcome* out) noexcept nogil:
        """Add a signed number to a counter; answer what it is now."""
        cdef Item* item = self._present()
        cdef int64_t delta, value = 0
        if c.value_length != WORD:
            answer(out, STATUS_BAD_REQUEST)
            return
        if item is not NULL:
            if item.value.size() != WORD:
                self._saw(item, STATUS_NOT_A_COUNTER, out)
                return
            memcpy(&value, item.value.data(), WORD)
        memcpy(&delta, p, WORD)
        if __builtin_add_overflow(value, delta, &self.counted):
            self._saw(item, STATUS_OVERFLOW, out)
            return
        self._set(<const char*>&self.counted, WORD, 0, 0)
        answer_with(out, STATUS_OK, <const char*>&self.counted, WORD)

    cdef void _write_if_token(self, const Command* c, const char* p, Outcome* out) noexcept nogil:
        """Write unless a newer token (``expected``) has written; answer that one then."""
        cdef Item* item = self.items.find(self.name)
        cdef uint64_t token = 0
        if c.expected_length == WORD:
            memcpy(&token, p + c.value_length, WORD)
        if token == 0:
            answer(out, STATUS_BAD_REQUEST)
        elif item is not NULL and token < item.guard:
            self.said.assign(<const char*>&item.guard, WORD)
            answer_with(out, STATUS_STALE_TOKEN, self.said.data(), WORD)
        else:
            self._set(p, c.value_length, 0, token)

    cdef void _saw(self, Item* item, uint8_t status, Outcome* out) noexcept nogil:
        answer(out, status)
        if item is not NULL:
            self.said = item.value
            answer_with(out, status, self.said.data(), self.said.size())

    # ---- changes -----------------------------------------------------------------------

    cdef Item* _present(self) noexcept nogil:
        cdef Item* item = self.items.find(self.name)
        return item if item is not NULL and item.present else NULL

    cdef void _note(self) noexcept nogil:
        """Remember what a key was, should the transaction come to nothing."""
        cdef Undo undo
        cdef Item* item = self.items.find(self.name)
        undo.key = self.name
        undo.existed = item is not NULL
        if undo.existed:
            undo.item = item[0]
        self.undo.push_back(undo)

    cdef void _set(self, const char* p, size_t size, size_t kept, uint64_t guard) noexcept nogil:
        """Let a value be its first ``kept`` bytes and these; ``guard``: a newer one, or 0."""
        cdef Item* item
        if self.undoable:
            self._note()
        item = self.items.find(self.name) if MUTANT(SNAPSHOT_READS_NEW_VALUE) else NULL
        if item is NULL:
            item = self.items.change(self.name)
        self.sum -= item.hash
        item.present = True
        if guard:
            item.guard = guard
        if kept:
            item.value.append(p, size)
        else:
            item.value.assign(p, size)
        self._settle(self.name, item, kept)

    cdef void _delete(self) noexcept nogil:
        cdef Item* item = self.items.find(self.name)
        if item is NULL or not item.present:
            return
        if self.undoable:
            self._note()
        self.sum -= item.hash
        if item.guard == 0:
            self.items.erase(self.name)
            return
        item = self.items.change(self.name)
        item.present = False
        item.value.clear()
        self._settle(self.name, item, 0)

    cdef void _settle(self, const string& key, Item* item, size_t kept) noexcept nogil:
        """Hash an item anew, of whose value the first ``kept`` bytes are as they were."""
        cdef const char* p = item.value.data()
        cdef size_t size = item.value.size()
        cdef uint64_t h = hash_bytes(KEY_SEED, key.data(), key.size())
        kept &= ~<size_t>(WORD - 1)
        item.words = absorb_words(item.words if kept else <uint64_t>VALUE_SEED, p, kept, size)
        h = absorb(h, absorb_tail(item.words, p, size))
        item.hash = absorb(h, item.guard << 1 | item.present)
        self.sum += item.hash

    cdef void roll_back(self) noexcept nogil:
        """Put back what the transaction changed."""
        cdef Undo* undo
        cdef Item* item
        self.undoable = False
        while self.undo.size():
            undo = &self.undo.back()
            item = self.items.find(undo.key)
            if item is not NULL:
                self.sum -= item.hash
            if undo.existed:
                item = self.items.change(undo.key)
                item[0] = undo.item
                self.sum += item.hash
            else:
                self.items.erase(undo.key)
            self.undo.pop_back()

    cdef int restore(self, const string& key, const char* value, size_t size, uint64_t guard,
                     bint present) except -1 nogil:
        """Add a key that a snapshot holds."""
        cdef Item* item
        must(self.items.find(key) is NULL, b"snapshot: a key twice", key.size())
        item = self.items.change(key)
        item.value.assign(value, size)
        item.guard = guard
        item.present = present
        self._settle(key, item, 0)
        return 0

    # ---- questions ---------------------------------------------------------------------

    cdef void read(self, const char* key, size_t size, Outcome* out) noexcept nogil:
        """Look a key up; the answer points into the map until the next change."""
        cdef Item* item
        self.name.assign(key, size)
        item = self._present()
        answer(out, STATUS_OK)
        if item is not NULL:
            answer_with(out, STATUS_OK, item.value.data(), item.value.size())

    cdef bint holds(self, const Command* compare) noexcept nogil:
        """Whether a transaction's compare holds."""
        cdef const char* p = <const char*>(compare + 1)
        cdef Item* item
        self.name.assign(p, compare.key_length)
        item = self._present()
        if compare.op != OP_IS_VALUE or item is NULL:
            return (item is NULL) == (compare.op == OP_IS_ABSENT)
        return (item.value.size() == compare.value_length
                and memcmp(item.value.data(), p + compare.key_length, compare.value_length) == 0)

    cdef void scan(self, const char* begin, size_t begin_size, const char* argument,
                   size_t size, Outcome* out) noexcept nogil:
        """Answer the keys of [begin, end) with their values; ``argument``: u32 limit, end.

        No end: all from ``begin`` on. No more than the limit, nor than fits: then the answer
        says so and names the key to go on from. Layout: docs/formats.md.
        """
        cdef FrozenMap[string, Item].iterator at
        cdef const string* key
        cdef const Item* item
        cdef uint32_t limit, length
        cdef uint32_t head[2]           # how many; 1: there are more
        cdef uint16_t key_length
        cdef string end
        if size < sizeof(limit):
            answer(out, STATUS_BAD_REQUEST)
            return
        memcpy(&limit, argument, sizeof(limit))
        if limit == 0 or limit > MAX_SCANNED_KEYS:
            limit = MAX_SCANNED_KEYS
        end.assign(argument + sizeof(limit), size - sizeof(limit))
        self.name.assign(begin, begin_size)
        head[0] = head[1] = 0
        self.said.assign(<const char*>head, sizeof(head))
        at = self.items.locate(self.name)
        while at != self.items.end():
            key, item = self.items.key(at), self.items.value(at)
            preincrement(at)
            if end.size() and not dereference(key) < end:
                break
            if not item.present:
                continue
            key_length, length = <uint16_t>key.size(), <uint32_t>item.value.size()
            if head[0] == limit or (head[0] and self.said.size() + key_length + length
                                    > MAX_ANSWER_BYTES):
                head[1] = 1
                length = 0
            self.said.append(<const char*>&key_length, sizeof(key_length))
            self.said.append(<const char*>&length, sizeof(length))
            self.said.append(dereference(key))
            if head[1]:
                break
            head[0] += 1
            self.said.append(item.value)
        self.said.replace(0, sizeof(head), <const char*>head, sizeof(head))
        answer_with(out, STATUS_OK, self.said.data(), self.said.size())
