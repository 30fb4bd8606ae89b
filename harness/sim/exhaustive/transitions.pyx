# distutils: language = c++
"""What each node does in each of its states with each input: found out once, then known.

A node's step depends on its own state and its input alone, and a small cluster's nodes have far
fewer states than the cluster. So the real machine takes each step once; that the same step is taken
in a thousand states of the cluster costs a look into a table. (Node states as numbers are the
"collapse" compression of Holzmann, "State compression in SPIN", 1997.)
"""
from libc.string cimport memset

from seatrial.core.buffer cimport buffer_consume, buffer_free, buffer_init, buffer_size
from seatrial.core.codec cimport Record
from seatrial.core.invariant cimport must
from seatrial.core.raft cimport Raft
from seatrial.harness.sim.exhaustive.actions cimport DELIVER, DOWN, LATE, UP
from seatrial.harness.sim.exhaustive.hashing cimport print_of

from seatrial.core.errors import InvariantViolation, ProtocolError


cdef uint8_t nodes_of(Raft r, uint64_t places) noexcept:
    cdef uint8_t found = 0
    cdef int i
    for i in range(r.places):
        if places >> i & 1:
            found |= 1 << (r.peers[i].node - 1)
    return found


cdef class Transitions:
    def __cinit__(self, members, Messages messages, Symmetry symmetry):
        cdef Step none
        memset(&none, 0, sizeof(none))
        self.members = list(members)        # scratch: decoded into, stepped, encoded
        self.messages = messages
        self.states = messages.states
        self.symmetry = symmetry
        self.violations = []
        self.steps.push_back(none)          # step 0 is none
        buffer_init(&self.scratch)

    def __dealloc__(self):
        buffer_free(&self.scratch)

    cdef uint32_t number(self, Member m) except *:
        """The number of the state in which a node is."""
        cdef string key
        cdef uint32_t* found
        cdef Local s
        cdef int i
        buffer_consume(&self.scratch, buffer_size(&self.scratch))
        m.encode(&self.scratch, NULL)
        key = string(self.scratch.data, buffer_size(&self.scratch))
        found = &self.numbers[key]
        if found[0]:
            return found[0] - 1
        self._describe(m, &s)
        self.locals_bytes.push_back(key)
        self.locals.push_back(s)
        for i in range(self.symmetry.count):
            buffer_consume(&self.scratch, buffer_size(&self.scratch))
            m.encode(&self.scratch, self.symmetry.names[i])
            self.prints.push_back(print_of(self.scratch.data, buffer_size(&self.scratch)))
        found[0] = <uint32_t>self.locals.size()
        return found[0] - 1

    cdef uint32_t step(self, uint32_t local, uint32_t time, int kind, uint32_t other,
                       uint32_t message) except? 0 nogil:
        """The number of the step that a node in a state takes when the clock shows a time."""
        cdef uint64_t key = (((<uint64_t>local << 8 | time) << 20 | message)
                             << 12 | other << 5 | <uint32_t>kind)
        cdef unordered_map[uint64_t, uint32_t].iterator at = self.known.find(key)
        cdef uint32_t found
        must(local < 1 << 24 and time < 1 << 8 and message < 1 << 20
             and other < 1 << 7 and kind < 1 << 5, b"exploration: too much to tell apart", local,
             time, message)
        if at != self.known.end():
            return (&self.known[key])[0]
        with gil:
            found = self._new_step(local, time, kind, other, message)
        self.known[key] = found
        return found

    cdef int _set_clock(self, Member m, uint32_t time) except -1:
        """Let a node's next step be at this time; one of a single domain has its own clock."""
        return 0

    cdef uint32_t _new_step(self, uint32_t local, uint32_t time, int kind, uint32_t other,
                            uint32_t message) except? 0:
        """Let the real machine take it."""
        cdef Member m = self.members[self.locals[local].node - 1]
        cdef const char* bytes_of = NULL
        cdef Step made
        cdef size_t i
        memset(&made, 0, sizeof(made))
        self._set_clock(m, time)
        m.decode(self.locals_bytes[local].data())
        if kind == DELIVER or kind == LATE or kind == UP or kind == DOWN:
            bytes_of = self.messages.messages[message].data()
        try:
            made.possible = m.act(kind, other, bytes_of)
            if made.possible:
                made.next = self.number(m)
                made.sent = <uint32_t>self.sent.size()
                made.count = <uint32_t>m.sent.size()
                for i in range(m.sent.size()):
                    self.sent.push_back(m.sent[i])
        except (InvariantViolation, ProtocolError) as error:
            self.violations.append(str(error))
            made.wrong = len(self.violations)
        self.steps.push_back(made)
        return <uint32_t>self.steps.size() - 1

    cdef size_t memory_bytes(self):
        """About how much memory states and steps take."""
        return (self.locals.size() * (sizeof(Local) + 250 + 16 * self.symmetry.count)
                + self.steps.size() * 80)

    cdef int _describe(self, Member m, Local* s) except -1:
        cdef Raft r
        cdef uint64_t i
        cdef size_t k
        memset(s, 0, sizeof(s[0]))
        s.node = <uint8_t>m.node
        s.disk_term, s.disk_vote = <uint32_t>m.disk.term, <uint8_t>m.disk.vote
        s.disk_first = <uint8_t>m.disk.first
        s.disk_last = <uint8_t>(m.disk.first + m.entries.size() - 1)
        must(s.disk_last <= MAX_ENTRIES, b"exploration: a log of too many entries", s.disk_last)
        for k in range(m.entries.size()):
            s.disk[s.disk_first + k] = <uint16_t>m.entries[k]
        if m.replica is None:
            return 0
        r = m.replica.raft
        s.runs = True
        s.role, s.vote, s.leader = <uint8_t>r.role, <uint8_t>r.vote, <uint8_t>r.leader
        s.transfer_to = <uint8_t>r.transfer_to
        s.withholds = r.now_ns < r.heard_ns + r.election_ns
        s.writes = m.write.on
        s.voters = nodes_of(r, r.voters)
        s.outgoing = nodes_of(r, r.outgoing)
        for k in range(<size_t>r.places):
            if r.peers[k].connected:
                s.connected |= 1 << (r.peers[k].node - 1)
        s.term, s.commit = <uint32_t>r.term, <uint8_t>r.commit
        s.first, s.last = <uint8_t>r.log.first, <uint8_t>r.log.last()
        must(r.log.last() <= MAX_ENTRIES, b"exploration: a log of too many entries", r.log.last())
        for i in range(r.log.first, r.log.last() + 1):
            s.entries[i] = <uint16_t>self.states.number(<const Record*>r.log.record(i))
        return 0
