"""Raft's chapter on who takes part (thesis, chapter 4): the newest configuration in the log.

A configuration holds from the moment its entry is appended, committed or not, and the one
before it again when that entry is cut.
"""
from seatrial.core.buffer cimport buffer_append, buffer_size
from seatrial.core.codec cimport KIND_CONFIG, Record, RECORD_SIZE
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport CHANGE_CUT_OFF, mark
from seatrial.core.membership cimport Members, read_members
from seatrial.core.mutant cimport (
    CONFIGURATION_WHEN_APPLIED,
    CUT_KEEPS_CONFIGURATION,
    MUTANT,
    seatrial_arm,
)
from seatrial.core.progress cimport PROBE, Progress

from seatrial.core.membership import Configuration


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RaftMembers(RaftState):
    cdef bint _votes(self) noexcept nogil:
        """Whether this node is a voter, and so may stand for election."""
        return (self.voters | self.outgoing) >> self.me & 1

    cdef bint _stands(self) noexcept nogil:
        """Whether this node may stand for election: as a voter; or as one that was a voter before a
        configuration that is not committed yet. Only it may hold that, and then nobody else can be
        elected (thesis, 4.2.2)."""
        return self._votes() or (self.config_index > self.commit
                                 and self.former_voters >> self.me & 1)

    cdef bint _alone(self) noexcept nogil:
        """Whether nobody else has a vote."""
        return (self.voters | self.outgoing) & ~(<uint64_t>1 << self.me) == 0

    cdef int _adopt(self, const char* payload, size_t size, uint64_t index) except -1 nogil:
        """Go by a configuration: from its append on, committed or not (thesis, 4.1)."""
        cdef Members m
        cdef const char* wrong = read_members(payload, size, &m)
        cdef uint64_t bit, before = self.replicas
        cdef bint new
        cdef Progress* p
        cdef int i, place
        must(wrong is NULL, wrong, index)
        self.former_voters = self.voters | self.outgoing
        self.replicas = 0
        for i in range(m.count):        # first, so that no place of a member is taken away
            place = self._peer(m.nodes[i])
            if place >= 0:
                self.replicas |= <uint64_t>1 << place
        self.voters = self.outgoing = self.learners = 0
        for i in range(m.count):
            place = self._peer(m.nodes[i])
            new = place < 0 or not before >> place & 1
            place = self._place(m.nodes[i])
            bit = <uint64_t>1 << place
            p = &self.peers[place]
            p.priority = m.priorities[i]
            if new:                     # nothing is known of its log
                p.state = PROBE
                p.probing = False
                p.next_index = self.log.last() + 1
                p.match_index = 0
                p.round = 0
                p.contact_ns = self.now_ns
            self.replicas |= bit
            if m.voters >> i & 1:
                self.voters |= bit
            if m.outgoing >> i & 1:
                self.outgoing |= bit
            if m.learners >> i & 1:
                self.learners |= bit
        self.auto_leave = m.auto_leave
        self.config_index = index
        self.config_version += 1
        return 0

    cdef int _adopt_newest(self) except -1 nogil:
        cdef uint64_t index
        cdef Record* r
        if buffer_size(&self.configs) == 0:
            return self._adopt(self.base_config.data + self.base_config.start,
                               buffer_size(&self.base_config), self.base_config_index)
        index = (<uint64_t*>(self.configs.data + self.configs.end))[-1]
        r = self.log.record(index)
        return self._adopt(<const char*>r + RECORD_SIZE, r.length - RECORD_SIZE, index)

    cdef bint is_configuration(self, const Record* r) noexcept nogil:
        """Whether an entry says who takes part here, and not in the domain that is the root."""
        return r.kind == KIND_CONFIG and (r.rindex == 0 or (r.epoch & 0xffff) == self.domain)

    cdef int _configured(self, const Record* r) except -1 nogil:
        """An entry was appended: is it a configuration?"""
        self.mirror.appended(r)
        if not self.is_configuration(r) or MUTANT(CONFIGURATION_WHEN_APPLIED):
            return 0
        buffer_append(&self.configs, &r.index, sizeof(uint64_t))
        return self._adopt(<const char*>r + RECORD_SIZE, r.length - RECORD_SIZE, r.index)

    cdef int _unconfigured(self, uint64_t index) except -1 nogil:
        """The entries from ``index`` on were cut: the configuration before them holds again."""
        cdef bint lost = False
        while (buffer_size(&self.configs)
               and (<uint64_t*>(self.configs.data + self.configs.end))[-1] >= index):
            self.configs.end -= sizeof(uint64_t)
            lost = True
        if not lost or MUTANT(CUT_KEEPS_CONFIGURATION):
            return 0
        mark(CHANGE_CUT_OFF)
        return self._adopt_newest()

    cdef const char* config_at(self, uint64_t index, size_t* size) noexcept nogil:
        """The configuration in force at an entry, as a CONFIG entry's payload; NULL where the
        log doesn't tell, and only our own file does."""
        cdef const uint64_t* p = <const uint64_t*>(self.configs.data + self.configs.start)
        cdef size_t i = buffer_size(&self.configs) // sizeof(uint64_t)
        cdef Record* r
        while i > 0 and p[i - 1] > index:
            i -= 1
        if i == 0:
            size[0] = buffer_size(&self.base_config)
            return (self.base_config.data + self.base_config.start if self.base_config_index
                    else NULL)
        r = self.log.record(p[i - 1])
        size[0] = r.length - RECORD_SIZE
        return <const char*>r + RECORD_SIZE

    def configuration(self) -> Configuration:
        """Return the configuration that this node goes by."""
        cdef Record* r
        cdef const char* p = self.base_config.data + self.base_config.start
        cdef size_t size = buffer_size(&self.base_config)
        if buffer_size(&self.configs):
            r = self.log.record((<uint64_t*>(self.configs.data + self.configs.end))[-1])
            p, size = <const char*>r + RECORD_SIZE, r.length - RECORD_SIZE
        return Configuration.decode(p[:size])
