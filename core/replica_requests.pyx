# distutils: language = c++
"""A replica's chapter on what clients ask for: refused, proposed, or queued; applied; answered."""
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from seatrial.core.buffer cimport Buffer, buffer_append, buffer_consume, buffer_size
from seatrial.core.codec cimport (
    ANY_NODE,
    Command,
    COMMAND_SIZE,
    command_size,
    KIND_BASE,
    KIND_COMMAND,
    KIND_CONFIG,
    KIND_OPEN_SESSION,
    KIND_PIECE,
    LINK_SIZE,
    MAX_FRAME_BYTES,
    OP_CAS,
    OP_OPEN_SESSION,
    OP_PING,
    op_reads,
    OP_TREE,
    OP_STATUS,
    OP_TRANSACT,
    op_writes,
    plain_crc,
    PREFIX,
    Record,
    Response,
    RECORD_SIZE,
    REQUEST,
    REQUEST_SIZE,
    SessionTerms,
    set_length,
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
    APPLY_BEFORE_ROOT_COMMIT,
    CONFIGURATION_WHEN_APPLIED,
    MUTANT,
    READ_FROM_FOLLOWER,
    ROOT_READS_UNCONFIRMED_WRITES,
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
        if OP_STATUS <= op <= OP_TREE:
            with gil:
                self.admin.append((c.id, r.request, op, body[:command.key_length]))
            return 0
        if self.raft.role != LEADER and not (
                op_reads(op) and (r.header.flags & (ANY_NODE | PREFIX)
                                  or MUTANT(READ_FROM_FOLLOWER))):
            return self._not_leader(c, r.request)
        if op == OP_TRANSACT and not sound(command):
            self.refused += 1
            return self._respond(c, r.request, STATUS_BAD_REQUEST, False, NULL, 0, 0)
        if (command.key_length > self.max_key_bytes
                or (op == OP_TRANSACT and largest_key(command) > self.max_key_bytes)
                or command.value_length > self.max_value_bytes
                or command.expected_length > self.max_value_bytes
                or LINK_SIZE + RECORD_SIZE + size - REQUEST_SIZE > MAX_FRAME_BYTES):
            self.refused += 1
            return self._respond(c, r.request, STATUS_TOO_LARGE, False, NULL, 0, 0)
        if op_reads(op):
            return self._read(c, r, command)
        if not self.raft.assigning:
            return self._not_root(c, r.request)
        if self.domain.holds_writers_up():
            self.refused += 1
            return self._respond(c, r.request, STATUS_BUSY, False, NULL, 0, 0)
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
        cdef bint plain = self.domain.plain()
        must(self.raft.commit <= self.raft.log.last(), b"commits beyond the log",
             self.raft.commit, self.raft.log.last())
        for i in range(self.applied + 1, self.raft.commit + 1):
            record = self.raft.log.record(i)
            if record.rindex == 0:
                self._apply_local(record)
                continue
            if not plain:
                if self.raft.mirror.index_of(record.rindex) != i:
                    if self.domain.voided_for_now(record.rindex, i):
                        break
                    self.applied = i        # another leader of the root never had it
                    continue
                if record.rindex > self.domain.committed and not (
                        MUTANT(APPLY_BEFORE_ROOT_COMMIT) and not self.domain.is_root()
                        or MUTANT(ROOT_READS_UNCONFIRMED_WRITES) and self.domain.is_root()
                        and self._connection(self.raft.log.slot(i).connection) is NULL):
                    break
            self.kv.apply(record, &out)
            self.applied = i
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
                    if not plain:
                        self._name_confirmers(c, record.rindex)
        if not plain:
            self._answer_local()
        return 0

    cdef int _apply_local(self, const Record* record) except -1 nogil:
        """An entry that means nothing to the state machine, but for a parent's snapshot."""
        if record.kind == KIND_PIECE:
            with gil:
                self._take_piece(record)
        elif record.kind == KIND_BASE:
            with gil:
                self._take_base(record)
            self.domain.committed = max(self.domain.committed, self.kv.applied)
        self.applied = record.index
        return 0

    cdef int _answer_local(self) except -1 nogil:
        """Changes of our own domain's members wait for no other domain."""
        cdef Slot* slot
        cdef Connection* c
        self.answered = max(self.answered, self.raft.log.first - 1)
        while self.answered < self.raft.commit:
            self.answered += 1
            slot = self.raft.log.slot(self.answered)
            if slot.connection and self.raft.log.record(self.answered).rindex == 0:
                c = self._connection(slot.connection)
                slot.connection = 0
                if c is not NULL:
                    self._respond(c, slot.request, STATUS_OK, False, NULL, 0, self.kv.applied)
        return 0

    cdef int _name_confirmers(self, Connection* c, uint64_t rindex) except -1 nogil:
        """Add to the answer that was just given which domains are known to hold the entry: u16
        each, behind the value."""
        cdef uint16_t[64] domains
        cdef int many = self.domain.confirmers(rindex, domains)
        cdef Response* r
        cdef size_t size
        if many == 0:
            return 0
        buffer_append(&c.output, domains, many * sizeof(uint16_t))
        size = many * sizeof(uint16_t)
        r = <Response*>(c.output.data + c.output.end - size - self.answer_size)
        set_length(&r.header, r.header.length + size)
        r.header.crc = plain_crc(<const char*>r)
        self.answer_size += size
        return 0
