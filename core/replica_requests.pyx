# distutils: language = c++
"""A replica's chapter on what clients ask for: refused, proposed, or queued; applied; answered."""
from libc.stdint cimport uint64_t, uint8_t

from seatrial.core.buffer cimport Buffer, buffer_append, buffer_consume, buffer_size
from seatrial.core.codec cimport (
    ANY_NODE,
    Command,
    COMMAND_SIZE,
    command_size,
    KIND_COMMAND,
    KIND_CONFIG,
    KIND_OPEN_SESSION,
    MAX_FRAME_BYTES,
    MESSAGE_SIZE,
    OP_CAS,
    OP_CHANGE,
    OP_OPEN_SESSION,
    OP_PING,
    op_reads,
    OP_SNAPSHOT,
    OP_STATUS,
    OP_TRANSACT,
    OP_TRANSFER,
    op_writes,
    plain_crc,
    Record,
    RECORD_SIZE,
    REQUEST,
    REQUEST_SIZE,
    SessionTerms,
    STATUS_BAD_REQUEST,
    STATUS_BUSY,
    STATUS_NOT_LEADER,
    STATUS_OK,
    STATUS_TOO_LARGE,
    STATUS_UNKNOWN,
)
from seatrial.core.invariant cimport must
from seatrial.core.log cimport Slot
from seatrial.core.marks cimport BUSY_WITH_UNCOMMITTED, mark, TRANSFER_BLOCKED_WRITE
from seatrial.core.mutant cimport (
    ANSWER_BEFORE_COMMIT,
    CONFIGURATION_WHEN_APPLIED,
    MUTANT,
    READ_FROM_FOLLOWER,
    seatrial_arm,
    STEP_DOWN_SAYS_NO,
    TRANSFER_DOES_NOT_BLOCK,
)
from seatrial.core.outcome cimport Outcome
from seatrial.core.raft_state cimport LEADER, Orphan
from seatrial.core.transaction cimport largest_key, sound

from seatrial.core.errors import ProtocolError


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class ReplicaRequests(ReplicaReads):
    cdef int _request(self, Connection* c, const Request* r) except -1 nogil:
        """Take one whole frame of a client: propose it, queue it, or answer at once."""
        cdef const Command* command = <const Command*>(<const char*>r + REQUEST_SIZE)
        cdef const char* body = <const char*>command + COMMAND_SIZE
        cdef size_t size = r.header.length
        cdef uint8_t op
        if (size < REQUEST_SIZE + COMMAND_SIZE or r.header.type != REQUEST
                or REQUEST_SIZE + command_size(command) != size
                or plain_crc(<const char*>r) != r.header.crc):
            with gil:
                raise ProtocolError(f"client's frame of {size} bytes, type {r.header.type}: "
                                    "not a sound request")
        op = command.op
        if op == OP_PING:
            return self._respond(c, r.request, STATUS_OK, False, NULL, 0, 0)
        if op == OP_STATUS or op == OP_CHANGE or op == OP_TRANSFER or op == OP_SNAPSHOT:
            with gil:
                self.admin.append((c.id, r.request, op, body[:command.key_length]))
            return 0
        if self.raft.role != LEADER and not (
                op_reads(op) and (r.header.flags & ANY_NODE or MUTANT(READ_FROM_FOLLOWER))):
            return self._not_leader(c, r.request)
        if op == OP_TRANSACT and not sound(command):
            self.refused += 1
            return self._respond(c, r.request, STATUS_BAD_REQUEST, False, NULL, 0, 0)
        if (command.key_length > self.max_key_bytes
                or (op == OP_TRANSACT and largest_key(command) > self.max_key_bytes)
                or command.value_length > self.max_value_bytes
                or command.expected_length > self.max_value_bytes
                or MESSAGE_SIZE + RECORD_SIZE + size - REQUEST_SIZE > MAX_FRAME_BYTES):
            self.refused += 1
            return self._respond(c, r.request, STATUS_TOO_LARGE, False, NULL, 0, 0)
        if op_reads(op):
            return self._read(c, r, command)
        # (whoever leads next has all that we took, and no more)
        if self.raft.transfer_to and not MUTANT(TRANSFER_DOES_NOT_BLOCK):
            mark(TRANSFER_BLOCKED_WRITE)
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
        if self.raft.log.offset_of(self.raft.log.last() + 1) - self.raft.log.offset_of(
                self.raft.commit + 1) > self.max_uncommitted_bytes:
            mark(BUSY_WITH_UNCOMMITTED)
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
        if op == OP_OPEN_SESSION:
            return self.raft.propose(KIND_OPEN_SESSION, r.client, 0,
                                     <const char*>&self.session_terms, sizeof(SessionTerms), c.id,
                                     r.request)
        if r.sequence and op_writes(op):
            if MUTANT(ANSWER_BEFORE_COMMIT) and op != OP_CAS:
                self.raft.propose(KIND_COMMAND, r.client, r.sequence, <const char*>command,
                                  size - REQUEST_SIZE, 0, 0)
                return self._respond(c, r.request, STATUS_OK, False, NULL, 0,
                                     self.raft.log.last())
            return self.raft.propose(KIND_COMMAND, r.client, r.sequence, <const char*>command,
                                     size - REQUEST_SIZE, c.id, r.request)
        self.refused += 1
        return self._respond(c, r.request, STATUS_BAD_REQUEST, False, NULL, 0, 0)

    cdef int _tell_orphans(self) except -1 nogil:
        """Entries of ours whose fate another leader decides: their clients must ask again."""
        cdef Buffer* b = &self.raft.orphans
        cdef Orphan* orphan
        cdef Connection* c
        while buffer_size(b):
            orphan = <Orphan*>(b.data + b.start)
            c = self._connection(orphan.connection)
            if c is not NULL:
                self._respond(c, orphan.request, STATUS_NOT_LEADER if MUTANT(STEP_DOWN_SAYS_NO)
                              else STATUS_UNKNOWN, False, NULL, 0, 0)
            buffer_consume(b, sizeof(Orphan))
        return 0

    cdef int _apply(self) except -1 nogil:
        cdef uint64_t i
        cdef Slot* slot
        cdef Record* record
        cdef Connection* c
        cdef Outcome out
        must(self.raft.commit <= self.raft.log.last(), b"commits beyond the log",
             self.raft.commit, self.raft.log.last())
        for i in range(self.kv.applied + 1, self.raft.commit + 1):
            record = self.raft.log.record(i)
            self.kv.apply(record, &out)
            if MUTANT(CONFIGURATION_WHEN_APPLIED) and record.kind == KIND_CONFIG:
                buffer_append(&self.raft.configs, &record.index, sizeof(uint64_t))
                self.raft._adopt(<const char*>record + RECORD_SIZE, record.length - RECORD_SIZE, i)
            slot = self.raft.log.slot(i)
            if slot.connection:
                self.served_writes += 1
                c = self._connection(slot.connection)
                slot.connection = 0
                if c is not NULL:
                    self._respond(c, slot.request, out.status, out.has_value, out.value,
                                  out.value_length, record.rindex)
        return 0
