# distutils: language = c++
"""One node of a small cluster: the real machine, with a disk that has no more than it must.

``act`` gives it one input and does what a node's shell does in an iteration of its loop: the
machine works, its group write goes to the disk, its frames to the connections. Its clock stands
still but for the inputs that are about time; raft_encoding.pyx says what that leaves out. Entries
are empty, for consensus does not look into them; a snapshot holds the configuration and no more.

What it said is kept as long as anybody could hold it to that, beyond crashes: a second vote in the
newest term that it spoke in, or a word in an older one, is a violation whatever comes of it.
"""
from libc.string cimport memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_size,
)
from seatrial.core.chunks cimport Chunks
from seatrial.core.codec cimport (
    GRANTED,
    KIND_COMMAND,
    Message,
    RECORD_SIZE,
    VOTE,
    VOTE_REPLY,
)
from seatrial.core.invariant cimport must
from seatrial.core.progress cimport Progress
from seatrial.core.raft_state cimport LEADER
from seatrial.core.raft_encoding cimport get, put
from seatrial.core.replica_writes cimport GroupWrite
from seatrial.harness.sim.exhaustive.actions cimport (
    CONNECT,
    CRASH,
    CUT,
    DELIVER,
    DEPOSE,
    HEARTBEAT,
    LATE,
    PROPOSE,
    REPLACE,
    RESTART,
    SNAPSHOT,
    SYNC,
    TIMEOUT,
    TOGGLE,
    TRANSFER,
)

from seatrial.core.errors import InvariantViolation
from seatrial.core.membership import BadConfiguration, Change

cdef uint64_t BEGIN_NS = <uint64_t>1 << 50
cdef uint64_t ELECTION_NS = <uint64_t>1 << 30
cdef uint64_t HEARTBEAT_NS = 1      # as nothing beside an election timeout, however many there are
cdef uint64_t JUMP_NS = 4 * ELECTION_NS


cdef uint32_t named(uint32_t node, const uint32_t* names) noexcept:
    return names[node] if names is not NULL and node else node


cdef class Member:
    def __cinit__(self, uint32_t node, configuration, RaftEncoding states, Messages messages,
                  bint slow_disk, *further):
        self.node = node
        self.configuration = configuration
        self.states = states
        self.messages = messages
        self.slow_disk = slow_disk
        self.now_ns = BEGIN_NS
        memset(&self.disk, 0, sizeof(self.disk))
        memset(&self.write, 0, sizeof(self.write))
        self.disk.first = 1
        buffer_init(&self.scratch)

    def __dealloc__(self):
        buffer_free(&self.scratch)

    # ---- a step --------------------------------------------------------------------------

    cdef int act(self, int kind, uint32_t other, const char* message) except -1:
        """Take a step; what is sent is in ``sent``. 0: it can't, and did not.

        other: the node it is about, for RESTART a mask of those that run.
        """
        cdef Raft raft
        cdef uint64_t term = 0
        cdef uint32_t vote = 0
        self.sent.clear()
        if kind == CRASH:
            self.replica = None
            self.write.on = False
            return 1
        if kind != RESTART:
            term, vote = self.replica.raft.term, self.replica.raft.vote
        if not self._input(kind, other, message):
            return 0
        self._settle()
        raft = self.replica.raft
        if raft.term < term and not self.trusted:
            raise InvariantViolation(f"terms only grow: node {self.node} went from term {term} "
                                     f"back to {raft.term}")
        if raft.term == term and vote and raft.vote != vote and not self.trusted:
            raise InvariantViolation(f"one vote a term: node {self.node} voted for node {vote} "
                                     f"in term {term}, then for node {raft.vote}")
        self._speak()
        return 1

    cdef int _input(self, int kind, uint32_t other, const char* message) except -1:
        cdef Raft raft = None if self.replica is None else self.replica.raft
        if kind == DELIVER or kind == LATE:
            buffer_consume(&self.scratch, buffer_size(&self.scratch))
            self.states.decode_frame(message, other, self.node, &self.scratch)
            if kind == LATE:
                raft.heard_ns = self.now_ns - ELECTION_NS
            raft.step(other, self.scratch.data + self.scratch.start, self.now_ns)
        elif kind == SYNC:
            self._synced()
        elif kind == TIMEOUT or kind == DEPOSE:
            self.now_ns += JUMP_NS
            raft.writing_since_ns = self.now_ns
            raft.tick(self.now_ns)
        elif kind == HEARTBEAT:
            self.now_ns += HEARTBEAT_NS
            raft.tick(self.now_ns)
        elif kind == PROPOSE:
            if raft.role != LEADER or raft.transfer_to:
                return 0
            raft.propose(KIND_COMMAND, 0, 0, NULL, 0, 0, 0)
        elif kind == TOGGLE or kind == REPLACE:
            return self._change(kind, other)
        elif kind == TRANSFER:
            return raft.transfer_to == 0 and raft.transfer(other, self.now_ns)
        elif kind == SNAPSHOT:
            return self._snapshot()
        elif kind == RESTART:
            self.now_ns = BEGIN_NS
            self._start(other)
        elif kind == CUT:
            raft.peer_down(other)
        elif kind == CONNECT:
            raft.peer_up(other, self.now_ns)
        return 1

    cdef int _start(self, uint32_t running) except -1:
        """Begin with what the disk holds, and dial those that run."""
        cdef Raft raft
        cdef const Record* r
        cdef uint64_t base_term = 0
        cdef uint32_t number
        cdef int node
        if not self.trusted:
            self._bound()
        self.replica = self._new()
        raft = self.replica.raft
        if self.disk.snapshot:
            r = self.states.record(self.disk.snapshot - 1)
            base_term = r.term
            raft.incoming.clear(r.index, r.term)
            raft.incoming.add(r)
            raft.restore_snapshot(<const char*>r + RECORD_SIZE, r.length - RECORD_SIZE)
        records = []
        for number in self.entries:
            r = self.states.record(number)
            records.append((<const char*>r)[:r.length])
        raft.restore(self.disk.term, self.disk.vote, b"".join(records), first=self.disk.first,
                     base_term=base_term)
        for node in range(1, 32):
            if running >> node & 1 and <uint32_t>node != self.node:
                raft.peer_up(node, self.now_ns)
        return 0

    cdef int _bound(self) except -1:
        """What it said before a crash binds it after."""
        if self.disk.term < self.said_term:
            raise InvariantViolation(f"terms only grow: node {self.node} spoke in term "
                                     f"{self.said_term} and starts in term {self.disk.term}")
        if (self.disk.term == self.said_term and self.said_vote
                and self.disk.vote != self.said_vote):
            raise InvariantViolation(f"one vote a term: node {self.node} voted for node "
                                     f"{self.said_vote} in term {self.said_term}, then forgot it")
        return 0

    def _new(self):
        """Return a new machine, whose questions are numbered from 0: none of an earlier life can
        still be answered."""
        cdef Replica replica = Replica(
            self.node, self.configuration, seed=1, now_ns=self.now_ns,
            heartbeat_ns=HEARTBEAT_NS, election_ns=ELECTION_NS)
        replica.raft.pre_round = 0
        return replica

    cdef bint linked(self, uint32_t node) noexcept:
        """Whether its connection to another is up."""
        cdef int place = -1 if self.replica is None else self.replica.raft._peer(node)
        return place >= 0 and self.replica.raft.peers[place].connected

    # ---- what the shell does -----------------------------------------------------------------

    cdef int _settle(self) except -1:
        self.replica.raft.pump(self.now_ns)
        while self._hand_out() and not self.slow_disk:
            self._synced()
            self.replica.raft.pump(self.now_ns)
        return 0

    cdef int _hand_out(self) except -1:
        """Give the next group write to the disk; whether there is one on its way."""
        cdef GroupWrite w
        cdef size_t at = 0
        if self.write.on or not self.replica.next_write(&w):
            return self.write.on
        self.write.on = True
        self.write.term, self.write.vote, self.write.base = w.term, <uint32_t>w.vote, w.base
        self.write.chunk = 0
        if w.chunk_size:
            self.write.chunk = self.states.number(<const Record*>w.chunk) + 1
        self.write_entries.clear()
        while at < w.size:
            self.write_entries.push_back(self.states.number(<const Record*>(w.records + at)))
            at += (<const Record*>(w.records + at)).length
        return 1

    cdef int _synced(self) except -1:
        """The group write is durable: what it holds takes the place of what was there."""
        self.write.on = False
        self.disk.term, self.disk.vote = self.write.term, self.write.vote
        if self.write_entries.size():
            must(self.disk.first <= self.write.base + 1 <= self.disk.first + self.entries.size(),
                 b"a group write does not join its disk", self.node, self.write.base,
                 self.disk.first)
            self.entries.resize(self.write.base + 1 - self.disk.first)
            self.entries.insert(self.entries.end(), self.write_entries.begin(),
                                self.write_entries.end())
        self.replica.raft.persisted(self.replica.raft.write_seq, self.now_ns)
        self.replica.chunk_written = 0
        return self._chunk_synced() if self.write.chunk else 0

    cdef int _chunk_synced(self) except -1:
        """A leader's snapshot is durable (Replica._chunk_durable; it has one chunk)."""
        cdef Raft raft = self.replica.raft
        cdef const Record* r = self.states.record(self.write.chunk - 1)
        cdef size_t kept = r.index + 1 - self.disk.first
        if r.index + 1 > self.disk.first:
            if (kept <= self.entries.size()
                    and self.states.record(self.entries[kept - 1]).term == r.term):
                self.entries.erase(self.entries.begin(), self.entries.begin() + kept)
            else:
                self.entries.clear()
            self.disk.snapshot, self.disk.first = self.write.chunk, r.index + 1
        if r.index != raft.incoming.index:
            return 0
        if r.index <= raft.commit:
            raft.incoming.clear(0, 0)
            raft.incoming_durable = 0
            return 0
        raft.incoming_durable = 1
        raft.incoming_ack_owed = True
        return raft.install(<const char*>r + RECORD_SIZE, r.length - RECORD_SIZE)

    cdef int _snapshot(self) except -1:
        """Put a snapshot of what is committed on the disk, and forget what it holds."""
        cdef Raft raft = self.replica.raft
        cdef Chunks made = Chunks()
        cdef uint64_t index = raft.commit
        cdef Record* r
        cdef const char* configuration
        cdef size_t size
        if index < raft.log.first or index > raft.durable_index or raft.incoming.count():
            return 0
        configuration = raft.config_at(index, &size)
        made.clear(index, raft.log.term_at(index))
        r = made.open_chunk()
        r.rindex = raft.log.record(index).rindex
        r.epoch = raft.log.record(index).epoch
        r.rterm = raft.log.record(index).rterm
        buffer_append(&made.records, configuration, size)
        made.close_chunk(True)
        raft.snapshot = made
        self.disk.snapshot = self.states.number(made.chunk(0)) + 1
        self.entries.erase(self.entries.begin(),
                           self.entries.begin() + (index + 1 - self.disk.first))
        self.disk.first = index + 1
        raft.compact(index)
        return 1

    cdef int _change(self, int kind, uint32_t other) except -1:
        cdef Raft raft = self.replica.raft
        now = raft.configuration()
        if raft.role != LEADER:
            return 0
        if kind == REPLACE:
            free = [node for node in range(1, 64) if raft._peer(node) >= 0
                    and node not in now.nodes]
            if other not in now.voters or not free:
                return 0
            changes = [Change("remove", other), Change("voter", free[0])]
        else:
            changes = [Change("remove" if other in now.voters else "voter", other)]
        try:
            raft.change(changes)
        except BadConfiguration:
            return 0
        return 1

    # ---- what it says ------------------------------------------------------------------------

    cdef int _speak(self) except -1:
        """Take the frames that are ready to leave."""
        cdef Raft raft = self.replica.raft
        cdef Progress* p
        cdef Sent sent
        cdef const char* frame
        cdef int i
        for i in range(raft.places):
            p = &raft.peers[i]
            while buffer_size(&p.out):
                frame = p.out.data + p.out.start
                self._said(frame)
                sent.node = p.node
                sent.message = self.messages.number(frame)
                self.sent.push_back(sent)
                buffer_consume(&p.out, (<const Message*>frame).header.length)
        return 0

    cdef int _said(self, const char* frame) except -1:
        """It is bound by its words (paper, 5.1 and 5.2)."""
        cdef const Message* m = <const Message*>frame
        cdef uint32_t vote = 0
        if m.term < self.said_term and not self.trusted:
            raise InvariantViolation(f"terms only grow: node {self.node} speaks in term {m.term} "
                                     f"after it spoke in term {self.said_term}")
        if m.term > self.said_term:
            self.said_term, self.said_vote = m.term, 0
        if m.header.type == VOTE:
            vote = self.node
        elif m.header.type == VOTE_REPLY and m.header.flags & GRANTED:
            vote = m.receiver
        if vote and self.said_vote and vote != self.said_vote and not self.trusted:
            raise InvariantViolation(f"one vote a term: node {self.node} votes for nodes "
                                     f"{self.said_vote} and {vote} in term {m.term}")
        if vote:
            self.said_vote = vote
        return 0

    # ---- as bytes ------------------------------------------------------------------------------

    cdef int encode(self, Buffer* out, const uint32_t* names) except -1:
        """Append its state; node ids as ``names`` says (NULL: as they are)."""
        put(out, named(self.node, names))
        put(out, self.said_term)
        put(out, named(self.said_vote, names))
        put(out, self.disk.term)
        put(out, named(self.disk.vote, names))
        put(out, self.disk.snapshot)
        put(out, self.disk.first)
        self._put_numbers(out, &self.entries, names)
        put(out, self.write.on)
        if self.write.on:
            put(out, self.write.term)
            put(out, named(self.write.vote, names))
            put(out, self.write.base)
            put(out, self.write.chunk)
            self._put_numbers(out, &self.write_entries, names)
        put(out, self.replica is not None)
        return 0 if self.replica is None else self.states.encode(self.replica.raft, out, names)

    cdef int decode(self, const char* p) except -1:
        """Be in the state at ``p``, which was written under nodes' own names."""
        self.now_ns = BEGIN_NS
        get(&p)
        self.said_term = get(&p)
        self.said_vote = <uint32_t>get(&p)
        self.disk.term = get(&p)
        self.disk.vote = <uint32_t>get(&p)
        self.disk.snapshot = <uint32_t>get(&p)
        self.disk.first = get(&p)
        self._get_numbers(&p, &self.entries)
        self.write.on = get(&p)
        if self.write.on:
            self.write.term = get(&p)
            self.write.vote = <uint32_t>get(&p)
            self.write.base = get(&p)
            self.write.chunk = <uint32_t>get(&p)
            self._get_numbers(&p, &self.write_entries)
        if not get(&p):
            self.replica = None
            return 0
        if self.spare is None:
            self.spare = self._new()
        self.replica = self.spare
        return self.states.decode(self.replica.raft, p)

    cdef int _put_numbers(self, Buffer* out, vector[uint32_t]* numbers,
                          const uint32_t* names) except -1:
        cdef size_t i
        put(out, numbers.size())
        for i in range(numbers.size()):
            put(out, self.states.renamed(numbers[0][i], names))
        return 0

    cdef int _get_numbers(self, const char** p, vector[uint32_t]* numbers) except -1:
        cdef size_t i
        numbers.resize(get(p))
        for i in range(numbers.size()):
            numbers[0][i] = <uint32_t>get(p)
        return 0


cdef class Disks(Durability):
    """What the disks of some members would give back after a crash."""

    cdef uint64_t term_at(self, uint32_t node, uint64_t index) noexcept:
        cdef Member m = <Member>self.members[node - 1]
        cdef uint64_t at = index - m.disk.first
        if index < m.disk.first:
            if index + 1 == m.disk.first and m.disk.snapshot:
                return m.states.record(m.disk.snapshot - 1).term
            return 0
        return m.states.record(m.entries[at]).term if at < m.entries.size() else 0
