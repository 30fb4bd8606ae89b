# distutils: language = c++
"""What clients of a tree of domains are told, checked at the moment at which it leaves a node.

For simulation: one checker hears every request when it reaches its node, and every answer when it
leaves, in all domains, which no node could do.

*Acknowledged is committed*: a write is acknowledged with an rindex that the root has committed.

*Confirmed is held*: a majority of the disks of each domain that the answer names has that entry.

*Linearizable reads*: an answer reflects no less than the newest write that was acknowledged, and
the newest linearizable read that was answered, anywhere, before the question came (Herlihy and
Wing, 1990: the order of what does not overlap in time is kept). So an excluded domain that still
trusts an old lease is caught as soon as it misses one write.

*Other reads*: none is behind the token that came with it, and one with a bound in time shows
nothing that was replaced longer ago than the bound and the drift of clocks allow.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from cython.operator cimport dereference

from seatrial.core.codec cimport (
    BOUNDED,
    COMMAND_SIZE,
    Command,
    FrameHeader,
    OP_OPEN_SESSION,
    PREFIX,
    REQUEST,
    REQUEST_SIZE,
    RESPONSE,
    RESPONSE_SIZE,
    Request,
    Response,
    STATUS_OK,
    command_size,
    next_frame,
    op_reads,
    op_writes,
    plain_crc,
)
from seatrial.core.domain_invariants cimport DomainInvariants

from seatrial.core.errors import InvariantViolation, ProtocolError

cdef enum:
    TOKEN_SIZE = 24             # rindex, epoch, rterm
    PPM = 1_000_000

ctypedef pair[uint32_t, uint64_t] Key


cdef class ReadInvariants:
    def __cinit__(self, DomainInvariants mirrors, uint64_t drift_ppm=0):
        self.mirrors = mirrors
        self.drift_ppm = drift_ppm
        self.reads_in = {}

    def answered_in(self, int domain) -> int:
        """Return how many linearizable reads a domain has answered."""
        return self.reads_in.get(domain, 0)

    cdef int passed(self, uint64_t now_ns) except -1:
        """Take note of what the root has committed by now."""
        while self.committed_ns.size() < self.mirrors.committed():
            self.committed_ns.push_back(now_ns)
        return 0

    cdef int asked(self, int domain, uint32_t connection, const char* p, size_t size) except -1:
        """Whole frames of a client reach a node; those that were damaged on the way say nothing."""
        cdef size_t at = 0
        cdef Py_ssize_t n
        while True:
            try:
                n = next_frame(p + at, size - at)
            except ProtocolError:
                return 0
            if n == 0:
                return 0
            if ((<const FrameHeader*>(p + at)).type == REQUEST
                    and plain_crc(p + at) == (<const FrameHeader*>(p + at)).crc):
                self._ask(connection, <const Request*>(p + at), n)
            at += n

    cdef int _ask(self, uint32_t connection, const Request* r, size_t size) except -1:
        cdef const Command* command = <const Command*>(<const char*>r + REQUEST_SIZE)
        cdef const char* expected
        cdef Asked found
        cdef uint64_t[4] words
        if size < REQUEST_SIZE + COMMAND_SIZE or REQUEST_SIZE + command_size(command) != size:
            return 0
        found.floor = self.told
        found.token = found.max_lag_ns = 0
        if op_reads(command.op):
            found.what = READS_OLD if r.header.flags & (PREFIX | BOUNDED) else READS
            words[0] = words[3] = 0
            expected = (<const char*>command + COMMAND_SIZE + command.key_length
                        + command.value_length)
            if command.expected_length >= TOKEN_SIZE:
                memcpy(words, expected, min(<size_t>command.expected_length, sizeof(words)))
            found.token = words[0]
            found.max_lag_ns = words[3] if r.header.flags & BOUNDED else 0
        elif op_writes(command.op) or command.op == OP_OPEN_SESSION:
            found.what = WRITES
        else:
            return 0
        self.waiting[Key(connection, r.request)] = found
        return 0

    cdef int answered(self, uint32_t node, int domain, uint32_t connection, const char* p,
                      size_t size, uint64_t now_ns) except -1:
        """Whole frames leave a node for a client."""
        cdef sorted_map[pair[uint32_t, uint64_t], Asked].iterator found
        cdef const Response* r
        cdef Asked asked
        cdef size_t at = 0
        self.passed(now_ns)
        while at + RESPONSE_SIZE <= size:
            r = <const Response*>(p + at)
            at += r.header.length
            if r.header.type != RESPONSE:
                continue
            found = self.waiting.find(Key(connection, r.request))
            if found == self.waiting.end():
                continue
            asked = dereference(found).second
            self.waiting.erase(found)
            if r.status == STATUS_OK:
                self._judge(node, domain, &asked, r, now_ns)
        return 0

    cdef int _confirmed(self, uint32_t node, const Response* r) except -1:
        """Look at who confirmed a write, as its answer says: a u16 each, behind the value."""
        cdef const char* p = <const char*>r + RESPONSE_SIZE + r.value_length
        cdef uint16_t domain
        while p + sizeof(domain) <= <const char*>r + r.header.length:
            memcpy(&domain, p, sizeof(domain))
            p += sizeof(domain)
            if not self.mirrors.confirmed_by(domain, r.rindex):
                raise InvariantViolation(
                    f"confirmed is held: node {node} answers that domain {domain} confirmed the "
                    f"write at rindex {r.rindex}; no majority of its disks has it")
        return 0

    cdef int _judge(self, uint32_t node, int domain, const Asked* asked, const Response* r,
                    uint64_t now_ns) except -1:
        cdef uint64_t committed = self.mirrors.committed(), most_ns, since_ns
        if r.rindex > committed:
            raise InvariantViolation(
                f"acknowledged is committed: node {node} of domain {domain} answers with rindex "
                f"{r.rindex}, the root has committed {committed}")
        if asked.what == WRITES:
            self.writes += 1
            self.told = max(self.told, r.rindex)
            return self._confirmed(node, r)
        if r.rindex < asked.token:
            raise InvariantViolation(
                f"sessions go forward: node {node} of domain {domain} answers a read with rindex "
                f"{r.rindex}, its client had seen {asked.token}")
        if asked.what == READS:
            self.reads += 1
            self.reads_in[domain] = self.reads_in.get(domain, 0) + 1
            if r.rindex < asked.floor:
                raise InvariantViolation(
                    f"linearizable reads: node {node} of domain {domain} answers with the state "
                    f"at rindex {r.rindex}; {asked.floor} was told before the question came")
            self.told = max(self.told, r.rindex)
            return 0
        self.old_reads += 1
        if asked.max_lag_ns and self.drift_ppm and r.rindex < committed:
            since_ns = now_ns - self.committed_ns[r.rindex]
            most_ns = asked.max_lag_ns + asked.max_lag_ns * self.drift_ppm // PPM
            if since_ns > most_ns:
                raise InvariantViolation(
                    f"bounded reads: node {node} of domain {domain} answers with the state at "
                    f"rindex {r.rindex}, which was replaced {since_ns} ns ago; its client takes "
                    f"none older than {asked.max_lag_ns} ns")
        return 0
