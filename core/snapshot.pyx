# distutils: language = c++
"""The state as a stream of bytes: written while entries go on being applied, read back whole.

The stream is canonical: the same state at the same index gives the same bytes on every member, so
that any of them can continue a transfer that another began. Sessions come in the order of their
use, locks and keys in the order of their names. Writing works in slices, each as large as its
caller wants; what changes meanwhile keeps its old value until the cursor has passed
(frozen_map.h). Layout: docs/formats.md.

A stream is refused if one byte of it is not what was written: every chunk comes with the CRC32C of
all bytes up to its end, and the stream ends with the state's hash, which the reader's own state
must give. It becomes anybody's state only then, at once.
"""
from libc.string cimport memcpy

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_size,
)
from seatrial.core.codec cimport MAX_FRAME_BYTES
from seatrial.core.crc cimport crc32c
from seatrial.core.invariant cimport must
from seatrial.core.keys cimport Item
from seatrial.core.locks cimport Lock
from seatrial.core.mutant cimport MUTANT, SNAPSHOT_WITHOUT_SESSIONS, seatrial_arm
from seatrial.core.sessions cimport Session
from seatrial.core.state_hash cimport STATE_SEED, absorb

from seatrial.core.errors import CorruptSnapshot

cdef enum:
    MAGIC = 0x4E535453          # "STSN"
    VERSION = 1
    MAX_FIELDS = 7

cdef enum:                      # Piece.tag, in this order
    A_SESSION = 1
    A_LOCK = 2
    A_KEY = 3
    AN_END = 4


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef uint64_t hash_of(Keys keys, Locks locks, Sessions sessions, uint64_t index,
                      uint64_t now_ns) noexcept nogil:
    """Hash a state."""
    return absorb(absorb(absorb(STATE_SEED, keys.sum + locks.sum + sessions.sum), index), now_ns)


cdef class SnapshotWriter:
    def __cinit__(self):
        buffer_init(&self.ready)

    def __dealloc__(self):
        buffer_free(&self.ready)

    cdef int begin(self, Keys keys, Locks locks, Sessions sessions, uint64_t index,
                   uint64_t now_ns, uint64_t hash, const char* block, size_t size) except -1 nogil:
        """Fix the state as it is now."""
        cdef SnapshotHead head
        must(not self.active, b"a snapshot is being written", self.index, index)
        must(size <= MAX_FRAME_BYTES, b"snapshot: block too large", size)
        head.magic, head.version, head.index = MAGIC, VERSION, index
        head.block_length, head.reserved = <uint32_t>size, 0
        buffer_append(&self.ready, &head, sizeof(head))
        buffer_append(&self.ready, block, size)
        buffer_append(&self.ready, &now_ns, sizeof(now_ns))
        sessions.by_use.freeze()
        locks.held.freeze()
        keys.items.freeze()
        self.active = True
        self.index, self.hash = index, hash
        self.offset = self.crc = 0
        self.counts[0] = self.counts[1] = self.counts[2] = 0
        self.tag = A_LOCK if MUTANT(SNAPSHOT_WITHOUT_SESSIONS) else A_SESSION
        return 0

    cdef void end(self, Keys keys, Locks locks, Sessions sessions) noexcept nogil:
        """Give up, or clean up: nothing is kept any more for a snapshot."""
        self.active = False
        sessions.by_use.thaw()
        locks.held.thaw()
        keys.items.thaw()
        buffer_free(&self.ready)

    cdef int chunk(self, Keys keys, Locks locks, Sessions sessions, Buffer* out,
                   size_t max_bytes) except -1 nogil:
        """Add the next bytes to ``out``, at most so many; return 1 if they were the last."""
        cdef size_t size
        must(self.active, b"no snapshot is being written")
        sessions.by_use.resume()
        locks.held.resume()
        keys.items.resume()
        while buffer_size(&self.ready) < max_bytes and self.tag <= AN_END:
            if self.tag == A_SESSION:
                self._session(sessions)
            elif self.tag == A_LOCK:
                self._lock(locks)
            elif self.tag == A_KEY:
                self._key(keys)
            else:
                self._piece(AN_END, 0, [self.hash, self.counts[0], self.counts[1],
                                        self.counts[2]], 4, NULL, NULL)
                self.tag += 1
        size = min(buffer_size(&self.ready), max_bytes)
        buffer_append(out, self.ready.data + self.ready.start, size)
        self.crc = crc32c(self.crc, self.ready.data + self.ready.start, size)
        self.offset += size
        buffer_consume(&self.ready, size)
        if self.tag <= AN_END or buffer_size(&self.ready):
            return 0
        self.end(keys, locks, sessions)
        return 1

    cdef int _session(self, Sessions sessions) except -1 nogil:
        cdef const uint64_t* used
        cdef const Session* s
        if not sessions.by_use.next(&used, &s):
            self.tag = A_LOCK
            return 0
        self.counts[0] += 1
        return self._piece(A_SESSION, s.has_value, [s.used, s.id, s.nonce, s.sequence, s.used_ns,
                                                    s.ttl_ns, s.status], 7, NULL, &s.value)

    cdef int _lock(self, Locks locks) except -1 nogil:
        cdef const string* name
        cdef const Lock* lock
        if not locks.held.next(&name, &lock):
            self.tag = A_KEY
            return 0
        self.counts[1] += 1
        return self._piece(A_LOCK, 0, [lock.token, lock.ttl_ns, lock.until_ns], 3, name,
                           &lock.holder)

    cdef int _key(self, Keys keys) except -1 nogil:
        cdef const string* key
        cdef const Item* item
        if not keys.items.next(&key, &item):
            self.tag = AN_END
            return 0
        self.counts[2] += 1
        return self._piece(A_KEY, item.present, &item.guard, 1, key, &item.value)

    cdef int _piece(self, uint8_t tag, uint8_t flags, const uint64_t* fields, size_t count,
                    const string* key, const string* value) except -1 nogil:
        cdef Piece piece
        piece.tag, piece.flags = tag, flags
        piece.key_length = <uint16_t>key.size() if key is not NULL else 0
        piece.value_length = <uint32_t>value.size() if value is not NULL else 0
        buffer_append(&self.ready, &piece, sizeof(piece))
        buffer_append(&self.ready, fields, count * sizeof(uint64_t))
        if key is not NULL:
            buffer_append(&self.ready, key.data(), key.size())
        if value is not NULL:
            buffer_append(&self.ready, value.data(), value.size())
        return 0


cdef class SnapshotReader:
    def __cinit__(self):
        buffer_init(&self.rest)
        self.keys = Keys()
        self.locks = Locks()
        self.sessions = Sessions()

    def __dealloc__(self):
        buffer_free(&self.rest)

    cdef int feed(self, const char* p, size_t size, uint32_t crc, bint last) except -1 nogil:
        """Take the next chunk; ``crc``: of all bytes up to its end. Raises CorruptSnapshot."""
        cdef size_t taken
        self.crc = crc32c(self.crc, p, size)
        if self.crc != crc:
            return corrupt(b"its check failed")
        buffer_append(&self.rest, p, size)
        while True:
            p = self.rest.data + self.rest.start
            size = buffer_size(&self.rest)
            if self.complete and size:
                return corrupt(b"bytes after its end")
            taken = self._take(p, size) if self.begun else self._head(p, size)
            if taken == 0:
                break
            buffer_consume(&self.rest, taken)
        if last != self.complete:
            return corrupt(b"its end is not where it should be")
        return 0

    cdef size_t _head(self, const char* p, size_t size) except? 0 nogil:
        cdef SnapshotHead head
        if size < sizeof(head):
            return 0
        memcpy(&head, p, sizeof(head))
        if (head.magic != MAGIC or head.version != VERSION or head.reserved != 0
                or head.block_length > MAX_FRAME_BYTES):
            corrupt(b"not a snapshot of a format that is known here")
        if size < sizeof(head) + head.block_length + sizeof(self.now_ns):
            return 0
        self.block.assign(p + sizeof(head), head.block_length)
        memcpy(&self.now_ns, p + sizeof(head) + head.block_length, sizeof(self.now_ns))
        self.index = head.index
        self.begun = True
        return sizeof(head) + head.block_length + sizeof(self.now_ns)

    cdef size_t _take(self, const char* p, size_t size) except? 0 nogil:
        """Take the first piece, if it is whole; return its size."""
        cdef Piece piece
        cdef uint64_t[MAX_FIELDS] fields
        cdef size_t fixed, whole
        if size < sizeof(piece):
            return 0
        memcpy(&piece, p, sizeof(piece))
        if piece.tag == A_SESSION:
            fixed = 7
        elif piece.tag == A_LOCK:
            fixed = 3
        elif piece.tag == A_KEY:
            fixed = 1
        elif piece.tag == AN_END:
            fixed = 4
        else:
            fixed = 0
        if fixed == 0 or piece.tag < self.tag or piece.value_length > MAX_FRAME_BYTES:
            corrupt(b"a piece that can't be there")
        fixed *= sizeof(uint64_t)
        whole = sizeof(piece) + fixed + piece.key_length + piece.value_length
        if size < whole:
            return 0
        memcpy(fields, p + sizeof(piece), fixed)
        self._put(&piece, fields, p + sizeof(piece) + fixed)
        self.tag = piece.tag
        return whole

    cdef int _put(self, const Piece* piece, const uint64_t* fields,
                  const char* key) except -1 nogil:
        cdef Session s
        cdef Lock lock
        cdef string name
        cdef const char* value = key + piece.key_length
        if (piece.flags > (1 if piece.tag == A_SESSION or piece.tag == A_KEY else 0)
                or (piece.key_length and (piece.tag == A_SESSION or piece.tag == AN_END))
                or (piece.value_length and piece.tag == AN_END)):
            return corrupt(b"a piece that is more than it should be")
        if piece.tag == AN_END:
            return self._close(fields)
        name.assign(key, piece.key_length)
        self.counts[piece.tag - 1] += 1
        if piece.tag == A_SESSION:
            s.used, s.id, s.nonce, s.sequence = fields[0], fields[1], fields[2], fields[3]
            s.used_ns, s.ttl_ns, s.status = fields[4], fields[5], <uint8_t>fields[6]
            s.has_value = piece.flags
            s.value.assign(value, piece.value_length)
            if (s.used <= self.used or s.used > self.index or s.used_ns > self.now_ns
                    or fields[6] > 0xFF):
                return corrupt(b"a session out of order")
            self.used = s.used
            return self.sessions.restore(&s)
        if self.tag == piece.tag and not self.name < name:
            return corrupt(b"a name out of order")
        self.name = name
        if piece.tag == A_KEY:
            return self.keys.restore(name, value, piece.value_length, fields[0], piece.flags)
        lock.token, lock.ttl_ns, lock.until_ns = fields[0], fields[1], fields[2]
        lock.holder.assign(value, piece.value_length)
        return self.locks.restore(name, &lock)

    cdef int _close(self, const uint64_t* fields) except -1 nogil:
        cdef int i
        for i in range(3):
            if self.counts[i] != fields[1 + i]:
                return corrupt(b"it lacks a part")
        if hash_of(self.keys, self.locks, self.sessions, self.index, self.now_ns) != fields[0]:
            return corrupt(b"what it holds is not what was hashed")
        self.complete = True
        return 0


cdef int corrupt(const char* why) except -1 nogil:
    with gil:
        raise CorruptSnapshot(f"snapshot: {why.decode()}")
