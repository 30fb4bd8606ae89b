# distutils: language = c++
"""What a replica holds; clients' connections, and what they are answered.

The pure machine of a node is one class in chapters, a file each, each building on the one before:

    replica_state      the fields; clients' connections; answers
    replica_snapshots  when the state is written into the log, chunk by chunk, or read from there
    replica_reads      linearizable reads, until they may be answered
    replica_requests   what clients ask for: proposed, applied, answered
    replica_writes     what goes to the disk and came from it
    replica            the doors: bytes, time, one iteration, status
"""
from cython.operator cimport dereference, preincrement
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport buffer_free, buffer_reserve
from seatrial.core.codec cimport (
    HAS_VALUE,
    plain_crc,
    Response,
    RESPONSE,
    RESPONSE_SIZE,
    set_length,
    STATUS_NOT_LEADER,
    STATUS_NOT_ROOT,
)
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport ANSWER_OK, mark
from seatrial.core.mirror cimport Coordinates
from seatrial.core.raft_state cimport LEADER


cdef class ReplicaState:
    def __dealloc__(self):
        cdef unordered_map[uint32_t, Connection*].iterator at = self.connections.begin()
        while at != self.connections.end():
            buffer_free(&dereference(at).second.input)
            buffer_free(&dereference(at).second.output)
            free(dereference(at).second)
            preincrement(at)

    def client_up(self, uint32_t connection) -> None:
        """A client connected; the shell never uses a connection's number again."""
        cdef Connection* c
        must(connection != 0 and self._connection(connection) is NULL,
             b"connection number used twice", connection)
        c = <Connection*>calloc(1, sizeof(Connection))
        if c is NULL:
            raise MemoryError("no memory for a connection")
        c.id = connection
        self.connections[connection] = c

    def client_down(self, uint32_t connection) -> None:
        """A client's connection went away: its answers have nowhere to go."""
        cdef Connection* c = self._connection(connection)
        must(c is not NULL, b"unknown connection", connection)
        self.connections.erase(connection)
        buffer_free(&c.input)
        buffer_free(&c.output)
        free(c)

    cdef Connection* _connection(self, uint32_t id) noexcept nogil:
        cdef unordered_map[uint32_t, Connection*].iterator at = self.connections.find(id)
        if at == self.connections.end():
            return NULL
        return dereference(at).second

    cdef int _not_leader(self, Connection* c, uint64_t request) except -1 nogil:
        cdef uint64_t leader = self.raft.leader if self.raft.role != LEADER else 0
        self.refused += 1
        return self._respond(c, request, STATUS_NOT_LEADER, True, <const char*>&leader,
                             sizeof(leader), 0)

    cdef int _respond(self, Connection* c, uint64_t request, uint8_t status, bint has_value,
                      const char* value, size_t size, uint64_t rindex) except -1 nogil:
        cdef Response* r
        mark(ANSWER_OK + status)
        if not c.dirty:
            c.dirty = True
            self.dirty.push_back(c.id)
        r = <Response*>buffer_reserve(&c.output, RESPONSE_SIZE + size)
        memset(r, 0, RESPONSE_SIZE)
        set_length(&r.header, RESPONSE_SIZE + size)
        r.header.type = RESPONSE
        r.request = request
        self._coordinates(r, rindex)
        r.header.reserved32 = self.raft.domain
        r.status = status
        r.flags = HAS_VALUE if has_value else 0
        r.node = self.raft.node
        r.value_length = <uint32_t>size
        if size:
            memcpy(<char*>r + RESPONSE_SIZE, value, size)
        r.header.crc = plain_crc(<const char*>r)
        c.output.end += r.header.length
        self.answer_size = r.header.length
        return 0

    cdef int _not_root(self, Connection* c, uint64_t request) except -1 nogil:
        """Writes go elsewhere: say where, as far as our tree tells."""
        self.refused += 1
        with gil:
            where = self.domain.root_nodes()
            return self._respond(c, request, STATUS_NOT_ROOT, True, where, len(where), 0)

    cdef void _coordinates(self, Response* r, uint64_t rindex) noexcept nogil:
        """Which root entry an answer reflects."""
        cdef Coordinates at
        r.rindex = rindex
        r.epoch = self.raft.epoch()
        r.term = self.raft.term
        if self.raft.domain == 0 or rindex == 0:
            return
        if rindex == self.domain.applied_at.rindex:
            at = self.domain.applied_at
        elif not self.raft.mirror.coordinates(rindex, &at):
            memset(&at, 0, sizeof(at))      # rather none than wrong ones
        r.rindex, r.epoch, r.term = at.rindex, at.rterm.epoch, at.rterm.term

    def reply(self, uint32_t connection, uint64_t request, uint8_t status, bytes value) -> None:
        """Answer an administrative request; nothing happens if the connection is gone."""
        cdef Connection* c = self._connection(connection)
        if c is not NULL:
            self._respond(c, request, status, True, value, len(value), self.kv.applied)
