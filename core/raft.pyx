"""The consensus machine of one domain: Raft's election, replication and commit, and no more.

Pure: no I/O, clock or random inside. ``step`` takes a frame from another member, ``tick`` the
time, ``persisted`` the disk's word; ``pump`` (once a loop iteration) turns new entries, wanted
leadership rounds and durable progress into frames. Effects are the frames in each member's
``out`` buffer and the next group write (Replica.take_persist). Names and figures are those of
Ongaro and Ousterhout, "In search of an understandable consensus algorithm" (extended version),
and Ongaro's thesis (2014).

What the shell must do, and nothing else:

1. Write each group write and sync it, then call ``persisted``. Never reorder them.
2. Deliver each member's frames in order on its connection, and say when that connection
   came up or went away.
3. Call ``tick`` no later than ``deadline_ns``.

Rules that are easy to get wrong, and where they stand:

* Term and vote are durable before anything is said in that term (``_emit`` holds frames).
* An APPEND_REPLY counts what the follower's own disk holds *and* what was verified against
  this leader (``_flush_ack``); the leader's own disk counts as one member's, in parallel.
* Only entries of the current term commit by counting (``_advance_commit``; paper, 5.4.2).
* A log is cut only at a real conflict, never by a short or late message (``_on_append``).
* A leader answers reads after a majority confirmed it in a round that began after the read
  came, at an index no smaller than its term's first entry (thesis, 6.4).
* A leader that hears from no majority for two election timeouts steps down (thesis, 6.2), so
  that its clients look elsewhere; so does one whose disk holds a write up for one (``tick``),
  and where it can't notice, its followers stop believing in it (``_follow``).
* A lease stands on what its followers promised: not to vote for an election timeout after they
  heard the leader, by their clocks; the leader counts from when it *sent* what they answered,
  less the drift of both clocks (``holds_lease``). It is void for the rest of the term once
  somebody was asked to stand for election.
* Nobody stands for election before a majority said that it would vote for it (pre-vote; thesis,
  9.6), and nobody votes within an election timeout of hearing from a leader or of its own
  restart (thesis, 4.2.3). The two belong together: with pre-vote alone a node that can't hear
  the leader unseats it, with the other alone a node of a later term can never come back.
"""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_reserve,
    buffer_size,
)
from seatrial.core.chunks cimport CHUNK_BYTES, Chunks
from seatrial.core.codec cimport (
    APPEND,
    APPEND_REPLY,
    DAMAGED,
    FORCED,
    FrameHeader,
    GRANTED,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    KIND_CONFIG,
    KIND_NOOP,
    KIND_SNAPSHOT,
    MAX_FRAME_BYTES,
    MESSAGE_SIZE,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_INDEX,
    READ_INDEX_REPLY,
    RECORD_SIZE,
    REJECTED,
    Record,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    TIMEOUT_NOW,
    VOTE,
    VOTE_REPLY,
    append_crc,
    plain_crc,
    record_crc,
    records_fit,
    records_sound,
    set_length,
)
from seatrial.core.invariant cimport must
from seatrial.core.log cimport Slot
from seatrial.core.membership cimport Members, read_members
from seatrial.core.mutant cimport (
    ACK_BEFORE_DURABLE,
    ACK_UNVERIFIED,
    CHANGES_OVERLAP,
    CHANGE_BEFORE_NOOP,
    CHECKSUM_SKIPPED,
    COMMIT_BEYOND_VERIFIED,
    COMMIT_OLD_TERM,
    CONFIGURATION_WHEN_APPLIED,
    CONFLICT_NOT_TRUNCATED,
    CUT_KEEPS_CONFIGURATION,
    JOINT_BY_NEW_HALF_ONLY,
    LEADER_COUNTS_ITSELF,
    LEARNER_COUNTS,
    LEASE_FROM_ANSWER,
    LEASE_WITHOUT_DRIFT,
    MATCH_FROM_HEARTBEAT,
    MATCH_FROM_REFUSAL,
    MUTANT,
    OLD_WRITE_COUNTS,
    PREVIOUS_TERM_UNCHECKED,
    PROBE_NEVER_REPEATED,
    READ_BEFORE_NOOP,
    READ_JOINS_ASKED_TICKET,
    READ_OLD_ROUND,
    READ_UNCONFIRMED,
    REMOVED_LEADER_STAYS,
    RESTART_COMMITS_ALL,
    STALE_APPEND_ACCEPTED,
    STALE_VOTES_COUNT,
    STEP_DOWN_KEEPS_WAITERS,
    TRUNCATE_WITHOUT_CONFLICT,
    VOTE_BEFORE_DURABLE,
    VOTE_NOT_PERSISTED,
    VOTE_TWICE,
    VOTE_WITHOUT_LOG_CHECK,
    VOTES_COUNTED_TWICE,
    seatrial_arm,
)
from seatrial.core.progress cimport PROBE, SNAPSHOTTED, STREAM
from seatrial.core.quorum cimport VOTE_LOST, VOTE_WON, joint_committed, vote_result

from seatrial.core.errors import ProtocolError
from seatrial.core.membership import BadConfiguration, Configuration

cdef extern from *:
    int popcount "__builtin_popcountll"(unsigned long long) noexcept nogil

ROLES = ("follower", "candidate", "leader", "pre-candidate")


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Raft:
    def __cinit__(self, uint32_t node, configuration, uint64_t seed, uint64_t now_ns,
                  uint64_t heartbeat_ns, uint64_t election_ns, size_t max_batch_bytes,
                  size_t max_inflight_bytes, bint leases=False,
                  uint64_t lease_drift_ppm=150_000):
        cdef bytes payload
        memset(self.peers, 0, sizeof(self.peers))
        buffer_init(&self.orphans)
        buffer_init(&self.configs)
        buffer_init(&self.base_config)
        payload = configuration.encode()
        if not 0 < max_batch_bytes <= MAX_FRAME_BYTES - MESSAGE_SIZE:
            raise ValueError(f"a batch of {max_batch_bytes} bytes does not fit a frame")
        if not 0 < heartbeat_ns < election_ns:
            raise ValueError("the heartbeat interval must be shorter than the election timeout")
        if lease_drift_ppm >= 1_000_000:
            raise ValueError(f"a clock can't drift by {lease_drift_ppm} parts in a million")
        self.node = node
        self.heartbeat_ns = heartbeat_ns
        self.election_ns = election_ns
        self.max_batch_bytes = max_batch_bytes
        self.max_inflight_bytes = max_inflight_bytes
        self.random_state = seed
        self.now_ns = now_ns
        if leases:                      # our clock may run slow, a follower's fast
            self.lease_ns = (election_ns * (1_000_000 - lease_drift_ppm)
                             // (1_000_000 + lease_drift_ppm))
            if MUTANT(LEASE_WITHOUT_DRIFT):
                self.lease_ns = election_ns
        self.log = Log()
        self.snapshot = Chunks()
        self.incoming = Chunks()
        self.role = FOLLOWER
        self.next_persist = 1
        buffer_append(&self.base_config, PyBytes_AS_STRING(payload), len(payload))
        self._adopt_newest()
        self.me = self._place(node)
        self.heard_ns = self.leader_durable_ns = now_ns
        self._reset_election_timer(now_ns)
        # answers to what an earlier life of this node asked must not fit a question of this one
        self.ticket = self.ticket_asked = self.ticket_answered = self._random() >> 1
        self.pre_round = self._random() >> 1

    def __dealloc__(self):
        cdef int i
        for i in range(self.places):
            buffer_free(&self.peers[i].input)
            buffer_free(&self.peers[i].out)
            buffer_free(&self.peers[i].held)
        buffer_free(&self.orphans)
        buffer_free(&self.configs)
        buffer_free(&self.base_config)

    def restore(self, uint64_t term, uint32_t vote, bytes records, *, uint64_t first=1,
                uint64_t base_term=0, uint64_t damaged_until=0, uint64_t damaged_term=0) -> None:
        """Take what the disk held, once, before anything else: the entries from ``first`` on, after
        one of term ``base_term``."""
        cdef const char* p = records
        cdef uint32_t count
        cdef size_t size = len(records), at = records_sound(p, size, &count)
        must(self.term == 0 and self.log.count == 0, b"restore: the machine is not new")
        must(at == size, b"restore: recovery let a damaged record through", at, size)
        if first > 1:
            self.log.restart(first - 1, base_term)
        while p < <const char*>records + size:
            self._configured(self.log.append(<const Record*>p))
            p += (<const Record*>p).length
        must(self.log.last_term() <= term, b"restore: an entry of a later term than the node's",
             self.log.last_term(), term)
        self.term = term
        self.vote = vote
        self.durable_index = self.log.last()
        self.next_persist = self.log.last() + 1
        self.damaged_until = damaged_until
        self.damaged_term = damaged_term
        if MUTANT(RESTART_COMMITS_ALL):
            self.commit = self.log.last()

    # ---- small things ------------------------------------------------------------------

    cdef int _peer(self, uint32_t node) noexcept nogil:
        """The place of a node, -1 when it has none."""
        cdef int i
        for i in range(self.places):
            if self.peers[i].node == node:
                return i
        return -1

    cdef int _place(self, uint32_t node) except -1 nogil:
        """The place of a node, which gets one if need be. There are twice as many as members;
        those of other nodes are used again, of nodes that are not connected first, but never
        the leader's nor that of who is just being listened to."""
        cdef int i, place = self._peer(node)
        cdef Progress* p
        if place >= 0:
            return place
        if self.places < MAX_PLACES:
            place = self.places
            self.places += 1
        else:
            for i in range(self.places):
                if (not self.replicas >> i & 1 and i != self.me and i != self.speaking
                        and self.peers[i].node != self.leader):
                    if place < 0 or self.peers[place].connected:
                        place = i
            must(place >= 0, b"no place for another node", node)
        p = &self.peers[place]
        buffer_free(&p.input)
        buffer_free(&p.out)
        buffer_free(&p.held)
        memset(p, 0, sizeof(Progress))
        buffer_init(&p.input)
        buffer_init(&p.out)
        buffer_init(&p.held)
        p.node = node
        return place

    # ---- who takes part (thesis, chapter 4) ----------------------------------------------

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

    cdef int _configured(self, const Record* r) except -1 nogil:
        """An entry was appended: is it a configuration?"""
        if r.kind != KIND_CONFIG or MUTANT(CONFIGURATION_WHEN_APPLIED):
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
        return self._adopt_newest() if lost and not MUTANT(CUT_KEEPS_CONFIGURATION) else 0

    cdef int _leave_joint(self) except -1 nogil:
        """The joint configuration is committed: go on with its new half alone (thesis, 4.3)."""
        with gil:
            payload = self.configuration().leave_joint().encode()
            self._propose_config(payload, 0, 0)
        return 0

    def _propose_config(self, bytes payload, uint32_t connection, uint64_t request):
        self.propose(KIND_CONFIG, 0, 0, PyBytes_AS_STRING(payload), len(payload), connection,
                     request)

    def configuration(self) -> Configuration:
        """Return the configuration that this node goes by."""
        cdef Record* r
        cdef const char* p = self.base_config.data + self.base_config.start
        cdef size_t size = buffer_size(&self.base_config)
        if buffer_size(&self.configs):
            r = self.log.record((<uint64_t*>(self.configs.data + self.configs.end))[-1])
            p, size = <const char*>r + RECORD_SIZE, r.length - RECORD_SIZE
        return Configuration.decode(p[:size])

    def change(self, changes, uint32_t connection=0, uint64_t request=0) -> None:
        """Propose another configuration; more than one voter at once goes by way of a joint one,
        which the leader leaves by itself.

        Raises BadConfiguration where the change can't be made, or not now: one is under way, or
        this leader's term has no committed entry yet. Without that rule two leaders can each
        change one server and commit with majorities that don't overlap (Ongaro, "bug in
        single-server membership changes", raft-dev 2015).
        """
        must(self.role == LEADER, b"changes members without leading", self.role, self.term)
        if self.commit < self.term_start and not MUTANT(CHANGE_BEFORE_NOOP):
            raise BadConfiguration("this leader has not committed an entry of its term yet")
        if self.commit < self.config_index and not MUTANT(CHANGES_OVERLAP):
            raise BadConfiguration("the change before this one is not committed yet")
        if self.transfer_to:
            raise BadConfiguration("leadership is being handed over")
        now = self.configuration()
        after = now.enter_joint(changes, True)
        if len(after.voters ^ now.voters) <= 1:
            after = now.simple(changes)
        self._propose_config(after.encode(), connection, request)

    cdef uint64_t _random(self) noexcept nogil:
        """splitmix64 (Steele, Lea, Flood 2014)."""
        cdef uint64_t z
        self.random_state += <uint64_t>0x9E3779B97F4A7C15
        z = self.random_state
        z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
        return z ^ (z >> 31)

    cdef void _reset_election_timer(self, uint64_t now_ns) noexcept nogil:
        """Wait for one to two election timeouts from now (paper, 5.2); where another voter should
        rather lead, give it a start of half a one."""
        cdef uint64_t start = 0
        cdef int i
        for i in range(self.places):
            if self.voters >> i & 1 and self.peers[i].priority > self.peers[self.me].priority:
                start = self.election_ns // 2
        self.election_deadline_ns = (now_ns + start + self.election_ns
                                     + self._random() % self.election_ns)

    cdef int _emit(self, Progress* p, Message* m) except -1 nogil:
        """Send a frame without records; hold it until the term it speaks in is durable."""
        cdef Buffer* to
        if not p.connected:
            return 0
        set_length(&m.header, MESSAGE_SIZE)
        m.sender = self.node
        m.receiver = p.node
        m.term = self.term
        m.header.crc = plain_crc(<const char*>m)
        to = &p.out if self.durable_version == self.state_version else &p.held
        if (MUTANT(VOTE_NOT_PERSISTED) or MUTANT(VOTE_BEFORE_DURABLE)) \
                and m.header.type == VOTE_REPLY:
            to = &p.out
        return buffer_append(to, m, MESSAGE_SIZE)

    cdef uint64_t deadline_ns(self) noexcept nogil:
        return self.heartbeat_deadline_ns if self.role == LEADER else self.election_deadline_ns

    # ---- roles -------------------------------------------------------------------------

    cdef int _orphan_waiters(self) except -1 nogil:
        """Nobody here can promise the entries beyond the commit index any more."""
        cdef uint64_t i
        cdef Slot* s
        cdef Orphan orphan
        for i in range(self.commit + 1, self.log.last() + 1):
            s = self.log.slot(i)
            if s.connection and not MUTANT(STEP_DOWN_KEEPS_WAITERS):
                orphan.connection = s.connection
                orphan.request = s.request
                buffer_append(&self.orphans, &orphan, sizeof(Orphan))
                s.connection = 0
        return 0

    cdef int _become_follower(self, uint64_t term, uint32_t leader,
                              uint64_t now_ns) except -1 nogil:
        """Follow ``leader`` (0: nobody yet). Who stood for election or waited to do so goes on
        waiting as long as before: a later term alone is no reason (paper, 5.2), or candidates
        that can't win would keep the one that could from its turn for ever."""
        cdef int i
        must(term >= self.term, b"term goes back", term, self.term)
        if self.role == LEADER:
            self._orphan_waiters()
            self._reset_election_timer(now_ns)
            self.transfer_to = 0
        if term > self.term:
            self.term = term
            self.vote = 0
            self.verified = 0           # what a term's leader holds stays so for the whole term
            self.acked = 0
            self.leader_durable = 0
            self.leader_durable_ns = now_ns
            self.state_version += 1
            for i in range(self.places):    # what it said in older terms is void
                buffer_consume(&self.peers[i].held, buffer_size(&self.peers[i].held))
        self.role = FOLLOWER
        self.leader = leader
        self.ack_owed = False
        self.ticket_ns = 0
        return 0

    cdef bint _withholds_votes(self, uint64_t now_ns) noexcept nogil:
        """A leader lives, as far as we know, or we might have promised one our silence before
        a restart (thesis, 4.2.3)."""
        return (self.role == LEADER or now_ns < self.heard_ns + self.election_ns
                or self.damaged_until > 0)

    cdef bint _disk_stalls(self, uint64_t now_ns) noexcept nogil:
        """A group write has taken longer than an election timeout, and still does."""
        return self.writing and now_ns > self.writing_since_ns + self.election_ns

    cdef int _pre_campaign(self, uint64_t now_ns) except -1 nogil:
        """Ask who would vote for us; changes no term and no vote (thesis, 9.6)."""
        self._become_follower(self.term, 0, now_ns)
        self._reset_election_timer(now_ns)
        self.role = PRE_CANDIDATE
        self.pre_round += 1
        return self._ask_votes()

    cdef int _campaign(self, bint forced, uint64_t now_ns) except -1 nogil:
        """Ask for votes in the next term; our own counts once it is durable."""
        self._become_follower(self.term + 1, 0, now_ns)
        self._reset_election_timer(now_ns)
        self.role = CANDIDATE
        self.forced = forced
        self.vote = self.node
        self.elections += 1
        return self._ask_votes()

    cdef int _ask_votes(self) except -1 nogil:
        cdef int i
        for i in range(self.places):
            self.peers[i].voted = i == self.me
            self.peers[i].granted = i == self.me
            if i != self.me and (self.voters | self.outgoing) >> i & 1:
                self._ask_vote(&self.peers[i])
        return 0

    cdef int _ask_vote(self, Progress* p) except -1 nogil:
        cdef Message m
        memset(&m, 0, sizeof(m))
        if self.role == PRE_CANDIDATE:
            m.header.type = PRE_VOTE
            m.round = self.pre_round
        else:
            m.header.type = VOTE
            m.header.flags = FORCED if self.forced else 0
        m.index = self.log.last()
        m.log_term = self.log.last_term()
        return self._emit(p, &m)

    cdef int _count_votes(self, uint64_t now_ns) except -1 nogil:
        """Stand for election when a majority would vote for us; lead with the votes of a
        majority, our own durable vote among them."""
        cdef uint64_t granted = 0, refused = 0
        cdef int i, result, count = 0
        if (self.role != CANDIDATE and self.role != PRE_CANDIDATE
                or self.role == CANDIDATE and self.durable_version != self.state_version):
            return 0
        for i in range(self.places):
            count += self.peers[i].granted
            if self.peers[i].granted:
                granted |= <uint64_t>1 << i
            elif self.peers[i].voted:
                refused |= <uint64_t>1 << i
        result = vote_result(granted, refused, self.voters,
                             0 if MUTANT(JOINT_BY_NEW_HALF_ONLY) else self.outgoing)
        if MUTANT(VOTES_COUNTED_TWICE) and count > popcount(self.voters) // 2:
            result = VOTE_WON
        if result == VOTE_LOST:
            return self._become_follower(self.term, 0, now_ns)
        if result != VOTE_WON:
            return 0
        if self.role == PRE_CANDIDATE:
            return self._campaign(False, now_ns)
        return self._become_leader(now_ns)

    cdef int _become_leader(self, uint64_t now_ns) except -1 nogil:
        cdef int i
        cdef Progress* p
        must(self.role == CANDIDATE and self.vote == self.node, b"leads without an election",
             self.role, self.vote, self.term)
        self.role = LEADER
        self.leader = self.node
        self.round_sent = self.round_wanted = self.round_confirmed = 0
        self.lease_end_ns = 0
        self.lease_void = False
        self.transfer_to = 0
        self.hand_over_ns = max(self.hand_over_ns, now_ns + self.election_ns)
        for i in range(self.places):
            p = &self.peers[i]
            p.state = PROBE
            p.probing = False
            p.next_index = self.log.last() + 1
            p.match_index = 0
            p.round = 0
            p.contact_ns = now_ns
            p.ticket = 0
        self.term_start = self.log.last() + 1
        self.propose(KIND_NOOP, 0, 0, NULL, 0, 0, 0)
        return self._broadcast_heartbeat(now_ns)

    # ---- time --------------------------------------------------------------------------

    cdef int tick(self, uint64_t now_ns) except -1 nogil:
        """Let time pass: heartbeats and loss of the quorum for a leader, elections for others."""
        if self.role != LEADER:
            if now_ns >= self.election_deadline_ns:
                # a learner never stands; whose disk is stuck could not even vote for itself
                if (not self._stands() or self._disk_stalls(now_ns)
                        or self.damaged_until):
                    self._become_follower(self.term, 0, now_ns)
                    self._reset_election_timer(now_ns)
                    return 0
                self._pre_campaign(now_ns)
                self._count_votes(now_ns)
            return 0
        if now_ns < self.heartbeat_deadline_ns:
            return 0
        if (self._heard_majority_ns(now_ns) + 2 * self.election_ns < now_ns
                and not MUTANT(READ_UNCONFIRMED)):
            return self._become_follower(self.term, 0, now_ns)
        if not self._alone() and self._disk_stalls(now_ns):
            return self._become_follower(self.term, 0, now_ns)
        if self.transfer_to and now_ns >= self.transfer_deadline_ns:
            self.transfer_to = 0        # it did not come to lead: go on
        self._hand_over(now_ns)
        return self._broadcast_heartbeat(now_ns)

    cdef uint64_t _heard_majority_ns(self, uint64_t now_ns) noexcept nogil:
        """When a leader had last heard from a majority."""
        cdef uint64_t[64] contact
        cdef int i
        for i in range(self.places):
            contact[i] = now_ns if i == self.me else self.peers[i].contact_ns
        return joint_committed(contact, self.voters, self.outgoing)

    cdef int _broadcast_heartbeat(self, uint64_t now_ns) except -1 nogil:
        self.heartbeat_deadline_ns = now_ns + self.heartbeat_ns
        return self._begin_round(now_ns)

    cdef int _begin_round(self, uint64_t now_ns) except -1 nogil:
        """Ask all members whether they still follow; a majority of answers confirms the round."""
        cdef int i
        self.round_sent += 1
        self.round_ns[self.round_sent % ROUNDS] = now_ns
        if self._alone():
            self._confirm_rounds()
        for i in range(self.places):
            if i != self.me and self.replicas >> i & 1:
                self._send_heartbeat(&self.peers[i])
        return 0

    cdef int _send_heartbeat(self, Progress* p) except -1 nogil:
        cdef Message m
        memset(&m, 0, sizeof(m))
        m.header.type = HEARTBEAT
        m.index = p.next_index - 1      # what it should hold by now, if nothing was lost
        m.log_term = self.durable_index
        m.commit = self.commit
        m.round = self.round_sent
        return self._emit(p, &m)

    # ---- the leader's side of replication ------------------------------------------------

    cdef int propose(self, uint8_t kind, uint64_t client, uint64_t sequence, const char* payload,
                     size_t size, uint32_t connection, uint64_t request) except -1 nogil:
        """Append an entry of our own term; only a leader may. Sent and written by ``pump``."""
        cdef uint64_t rindex
        cdef Record* r
        cdef Slot* s
        must(self.role == LEADER, b"proposes without leading", self.role, self.term)
        must(self.term >= self.log.last_term(), b"log of a later term than ours", self.term,
             self.log.last_term())
        rindex = (self.log.record(self.log.last()).rindex if self.log.count
                  else self.base_rindex) + 1
        r = self.log.reserve(RECORD_SIZE + size)
        r.term = self.term
        r.rindex = rindex               # one domain: it is the root, it assigns coordinates
        r.epoch = 1 << 16
        r.rterm = self.term
        r.client = client
        r.sequence = sequence
        r.kind = kind
        r.flags = 0
        r.reserved16 = 0
        r.reserved32 = 0
        if size:
            memcpy(<char*>r + RECORD_SIZE, payload, size)
        r.crc = record_crc(r)
        s = self.log.slot(r.index)
        s.term = self.term
        s.connection = connection
        s.request = request
        return self._configured(r)

    cdef int _send_append(self, Progress* p, uint64_t end) except -1 nogil:
        """Send entries [next_index, end) with what precedes them; ``end`` may add nothing."""
        cdef size_t size = 0
        cdef const char* records = NULL
        cdef Message* m
        cdef Buffer* to
        must(self.durable_version == self.state_version, b"leads in a term that is not durable")
        if end > p.next_index:
            records = self.log.range_bytes(p.next_index, end, &size)
        to = &p.out
        m = <Message*>buffer_reserve(to, MESSAGE_SIZE + size)
        memset(m, 0, MESSAGE_SIZE)
        if size:
            memcpy(<char*>m + MESSAGE_SIZE, records, size)
        set_length(&m.header, MESSAGE_SIZE + size)
        m.header.type = APPEND
        m.sender = self.node
        m.receiver = p.node
        m.term = self.term
        m.index = p.next_index - 1
        m.log_term = self.log.term_at(p.next_index - 1)
        m.commit = self.commit
        m.count = <uint32_t>(end - p.next_index)
        m.header.crc = append_crc(<const char*>m, MESSAGE_SIZE)
        to.end += m.header.length
        return 0

    cdef int _send_appends(self, Progress* p, uint64_t now_ns) except -1 nogil:
        """Send what the member's state and window allow."""
        cdef uint64_t end, unacked
        if not p.connected:
            return 0
        if p.next_index < self.log.first and p.state != SNAPSHOTTED:
            must(self.snapshot.complete, b"entries are gone and no snapshot holds them",
                 p.next_index, self.log.first)
            p.state = SNAPSHOTTED
            p.snapshot_next = p.snapshot_held = 0
            p.snapshot_ns = now_ns
        if p.state == SNAPSHOTTED:
            return self._send_snapshot(p, now_ns)
        if p.state == PROBE:
            if p.probing and (now_ns < p.probe_ns + self.election_ns
                              or MUTANT(PROBE_NEVER_REPEATED)):
                return 0
            p.probing = True
            p.probe_ns = now_ns
            end = p.next_index
            if p.next_index <= self.log.last():
                end = self.log.range_end(p.next_index, self.max_batch_bytes)
            return self._send_append(p, end)
        while p.next_index <= self.log.last():
            unacked = self.log.offset_of(p.next_index) - self.log.offset_of(p.match_index + 1)
            if unacked >= self.max_inflight_bytes:
                break
            end = self.log.range_end(p.next_index, self.max_batch_bytes)
            self._send_append(p, end)
            p.next_index = end
        return 0

    cdef int pump(self, uint64_t now_ns) except -1 nogil:
        """Once per round of inputs: acknowledge (follower), or replicate and confirm (leader)."""
        cdef int i
        self.now_ns = now_ns
        if self.role != LEADER:
            self._repeat_ticket(now_ns)
            self._flush_snapshot_ack()
            return self._flush_ack()
        if self.round_wanted > self.round_sent and self.round_confirmed == self.round_sent:
            self._begin_round(now_ns)
        self._answer_tickets()
        if self.auto_leave and self.commit >= self.config_index and self.transfer_to == 0:
            self._leave_joint()
        for i in range(self.places):
            if i != self.me and self.replicas >> i & 1:
                self._send_appends(&self.peers[i], now_ns)
        if self.transfer_to:
            self._transfer()
        return 0

    cdef uint64_t want_round(self) noexcept nogil:
        """Ask for a confirmation of leadership that begins now; return its number."""
        if MUTANT(READ_OLD_ROUND) and self.round_confirmed:
            return self.round_confirmed
        self.round_wanted = self.round_sent + 1
        return self.round_wanted

    cdef bint holds_lease(self, uint64_t now_ns) noexcept nogil:
        """Whether nobody else can have been elected yet (thesis, 6.4.1): a majority answered what
        we sent less than a lease ago, and withholds its votes for longer than that."""
        return (self.role == LEADER and self.lease_ns > 0 and not self.lease_void
                and now_ns < self.lease_end_ns)

    cdef uint64_t read_floor(self) noexcept nogil:
        """The index a linearizable read must see applied (thesis, 6.4, steps 1 and 2)."""
        if MUTANT(READ_BEFORE_NOOP):
            return self.commit
        return self.commit if self.commit > self.term_start else self.term_start

    cdef int _advance_commit(self) except -1 nogil:
        """Commit what a majority's disks hold, if it is of this term (paper, 5.4.2)."""
        cdef uint64_t[64] match
        cdef uint64_t reached
        cdef int i
        if self.role != LEADER:
            return 0
        for i in range(self.places):
            match[i] = self.durable_index if i == self.me else self.peers[i].match_index
            if MUTANT(LEADER_COUNTS_ITSELF) and i == self.me:
                match[i] = self.log.last()
        reached = joint_committed(
            match, self.voters | self.learners if MUTANT(LEARNER_COUNTS) else self.voters,
            0 if MUTANT(JOINT_BY_NEW_HALF_ONLY) else self.outgoing)
        if reached > self.commit and (self.log.term_at(reached) == self.term
                                      or MUTANT(COMMIT_OLD_TERM)):
            must(reached <= self.log.last(), b"commits beyond the log", reached, self.log.last())
            self.commit = reached
            if (reached >= self.config_index and not self._votes()
                    and not MUTANT(REMOVED_LEADER_STAYS)):
                self._broadcast_heartbeat(self.now_ns)      # its last words: what is committed
                self._become_follower(self.term, 0, self.now_ns)    # removed (thesis, 4.2.2)
        return 0

    # ---- snapshots (paper, section 7) ------------------------------------------------------

    cdef int _send_snapshot(self, Progress* p, uint64_t now_ns) except -1 nogil:
        """Send chunks as far as the window allows; those that were not heard of, again."""
        cdef const Record* r
        cdef Message* m
        if p.snapshot_next > p.snapshot_held and now_ns > p.snapshot_ns + self.election_ns:
            p.snapshot_next = p.snapshot_held
            p.snapshot_ns = now_ns
        while p.snapshot_next < self.snapshot.count():
            if (p.snapshot_next - p.snapshot_held) * CHUNK_BYTES >= self.max_inflight_bytes:
                break
            r = self.snapshot.chunk(p.snapshot_next)
            m = <Message*>buffer_reserve(&p.out, MESSAGE_SIZE + r.length)
            memset(m, 0, MESSAGE_SIZE)
            memcpy(<char*>m + MESSAGE_SIZE, r, r.length)
            set_length(&m.header, MESSAGE_SIZE + r.length)
            m.header.type = SNAPSHOT
            m.sender = self.node
            m.receiver = p.node
            m.term = self.term
            m.index = self.snapshot.index
            m.log_term = self.snapshot.term
            m.commit = self.commit
            m.count = 1
            m.header.crc = append_crc(<const char*>m, MESSAGE_SIZE)
            p.out.end += m.header.length
            p.snapshot_next += 1
        return 0

    cdef bint sending(self, uint64_t now_ns) noexcept nogil:
        """Whether somebody is being sent our snapshot, and gets on with it."""
        cdef int i
        for i in range(self.places):
            if (self.role == LEADER and self.replicas >> i & 1
                    and self.peers[i].state == SNAPSHOTTED and self.peers[i].connected
                    and now_ns < self.peers[i].snapshot_ns + 10 * self.election_ns):
                return True
        return False

    cdef int _on_snapshot(self, const Message* m, uint64_t now_ns) except -1 nogil:
        """Keep a chunk; it is acknowledged when it is on our disk."""
        cdef const Record* r = <const Record*>(<const char*>m + MESSAGE_SIZE)
        self._follow(m, now_ns)
        if r.kind != KIND_SNAPSHOT or r.index != m.index or r.term != m.log_term:
            with gil:
                raise ProtocolError(f"SNAPSHOT of entry {m.index}, term {m.log_term} holds a "
                                    f"record of kind {r.kind}, entry {r.index}, term {r.term}")
        if m.index <= self.commit:      # we have all that by now
            self._verified(self.commit)
            self.acked = 0
            self.ack_owed = True
            return 0
        if self.incoming.index != m.index or self.incoming.term != m.log_term:
            self.incoming.clear(m.index, m.log_term)
            self.incoming_durable = 0
        self.incoming_ack_owed = True
        if self.incoming.continues(r):
            self.incoming.add(r)
        return 0

    cdef int _flush_snapshot_ack(self) except -1 nogil:
        """Tell the leader how many bytes of its snapshot our disk holds."""
        cdef Message m
        if not self.incoming_ack_owed or self.leader == 0:
            return 0
        self.incoming_ack_owed = False
        memset(&m, 0, sizeof(m))
        m.header.type = SNAPSHOT_REPLY
        m.index = self.incoming.index
        m.log_term = self.incoming.term
        m.round = self.incoming.size
        if self.incoming_durable < self.incoming.count():
            m.round = self.incoming.chunk(self.incoming_durable).sequence
        return self._emit(&self.peers[self._peer(self.leader)], &m)

    cdef int _on_snapshot_reply(self, Progress* p, const Message* m,
                                uint64_t now_ns) except -1 nogil:
        cdef uint64_t held
        if self.role != LEADER:
            return 0
        p.contact_ns = now_ns
        if (p.state != SNAPSHOTTED or m.index != self.snapshot.index
                or m.log_term != self.snapshot.term):
            return 0
        held = self.snapshot.number_at(m.round)
        if held > p.snapshot_held:
            p.snapshot_held = held
            p.snapshot_ns = now_ns
            if p.snapshot_next < held:      # it has more than we sent: from before a break
                p.snapshot_next = held
        return 0

    cdef int compact(self, uint64_t index) except -1 nogil:
        """Forget the entries up to ``index``, whose effect a durable snapshot holds."""
        cdef uint64_t newest = 0
        cdef Record* r
        must(index <= self.commit and index <= self.snapshot.index and self.snapshot.complete,
             b"compacts what no snapshot holds", index, self.commit, self.snapshot.index)
        if index < self.log.first:
            return 0
        self.base_rindex = self.log.record(index).rindex
        while (buffer_size(&self.configs)
               and (<uint64_t*>(self.configs.data + self.configs.start))[0] <= index):
            newest = (<uint64_t*>(self.configs.data + self.configs.start))[0]
            buffer_consume(&self.configs, sizeof(uint64_t))
        if newest:
            r = self.log.record(newest)
            buffer_consume(&self.base_config, buffer_size(&self.base_config))
            buffer_append(&self.base_config, <const char*>r + RECORD_SIZE, r.length - RECORD_SIZE)
            self.base_config_index = newest
        return self.log.compact(index)

    cdef const char* config_at(self, uint64_t index, size_t* size) noexcept nogil:
        """The configuration in force at an entry, as a CONFIG entry's payload."""
        cdef const uint64_t* p = <const uint64_t*>(self.configs.data + self.configs.start)
        cdef size_t i = buffer_size(&self.configs) // sizeof(uint64_t)
        cdef Record* r
        while i > 0 and p[i - 1] > index:
            i -= 1
        if i == 0:
            size[0] = buffer_size(&self.base_config)
            return self.base_config.data + self.base_config.start
        r = self.log.record(p[i - 1])
        size[0] = r.length - RECORD_SIZE
        return <const char*>r + RECORD_SIZE

    cdef int restore_snapshot(self, const char* configuration, size_t size) except -1:
        """The disk held a snapshot, which is in ``incoming`` and is the state now."""
        cdef Chunks taken = self.incoming
        must(self.term == 0 and self.log.count == 0, b"restore: the machine is not new")
        self.incoming = self.snapshot
        self.snapshot = taken
        buffer_consume(&self.base_config, buffer_size(&self.base_config))
        buffer_append(&self.base_config, configuration, size)
        self.base_config_index = taken.index
        self.base_rindex = taken.chunk(0).rindex
        self.commit = taken.index
        return self._adopt_newest()

    cdef int install(self, const char* configuration, size_t size) except -1:
        """Go on after the snapshot that came, which is the state now and is on our disk."""
        cdef Chunks taken = self.incoming
        cdef uint64_t index = taken.index
        must(taken.complete and self.incoming_durable == taken.count() and index > self.commit,
             b"installs what it does not hold", index, self.incoming_durable, self.commit)
        self.incoming = self.snapshot
        self.snapshot = taken
        self.incoming.clear(0, 0)
        self.incoming_durable = 0
        buffer_consume(&self.base_config, buffer_size(&self.base_config))
        buffer_append(&self.base_config, configuration, size)
        self.base_config_index = index
        if self.log.holds(index) and self.log.term_at(index) == taken.term:
            self.commit = index
            while (buffer_size(&self.configs)
                   and (<uint64_t*>(self.configs.data + self.configs.start))[0] <= index):
                buffer_consume(&self.configs, sizeof(uint64_t))
            self.log.compact(index)
        else:
            self.log.restart(index, taken.term)
            buffer_consume(&self.configs, buffer_size(&self.configs))
            self.durable_index = index
            self.next_persist = index + 1
            if self.writing and self.writing_last > index:
                self.writing_last = index
            self.commit = index
        if self.durable_index < index:
            self.durable_index = index
        if self.next_persist <= index:
            self.next_persist = index + 1
        self.base_rindex = taken.chunk(0).rindex
        self._verified(index)
        self.ack_owed = True
        return self._adopt_newest()

    cdef int _verified(self, uint64_t index) noexcept nogil:
        """Entries up to ``index`` are the leader's. A disk that lost some is whole again when they
        are back, or when an entry of a later term came after where they were: that term's leader
        held all of them that were committed (leader completeness)."""
        if index > self.verified:
            self.verified = index
        if self.damaged_until and (self.verified >= self.damaged_until
                                   or self.log.term_at(self.verified) > self.damaged_term):
            self.damaged_until = 0
        return 0

    # ---- the follower's side -------------------------------------------------------------

    cdef uint64_t _sure(self) noexcept nogil:
        """What this member may acknowledge: verified against the leader, and on our disk."""
        if MUTANT(ACK_BEFORE_DURABLE):
            return self.verified
        if MUTANT(ACK_UNVERIFIED):
            return self.durable_index
        return self.verified if self.verified < self.durable_index else self.durable_index

    cdef int _flush_ack(self) except -1 nogil:
        """Acknowledge what is verified and on our own disk, once for all that came together."""
        cdef Message m
        cdef uint64_t sure
        cdef int i
        if not self.ack_owed or self.leader == 0:
            return 0
        sure = self._sure()
        if sure <= self.acked and self.durable_index < self.verified:
            return 0
        i = self._peer(self.leader)
        memset(&m, 0, sizeof(m))
        m.header.type = APPEND_REPLY
        m.index = sure
        self._emit(&self.peers[i], &m)
        self.acked = sure
        self.ack_owed = self.durable_index < self.verified
        return 0

    cdef int _truncate(self, uint64_t index) except -1 nogil:
        """Cut a conflicting suffix, which can't be committed, out of log and write queue."""
        if not MUTANT(TRUNCATE_WITHOUT_CONFLICT):
            must(index > self.commit, b"cuts a committed entry", index, self.commit, self.term)
        self.log.truncate(index)
        self._unconfigured(index)
        if self.durable_index >= index:
            self.durable_index = index - 1
        if self.writing and self.writing_last >= index and not MUTANT(OLD_WRITE_COUNTS):
            self.writing_last = index - 1
        if self.next_persist > index:
            self.next_persist = index
        self.conflicts += 1
        return 0

    cdef int _reply_append(self, const Message* m, bint rejected, uint64_t index,
                           uint64_t log_term) except -1 nogil:
        cdef Message r
        memset(&r, 0, sizeof(r))
        r.header.type = APPEND_REPLY
        r.header.flags = REJECTED if rejected else 0
        if rejected and self.damaged_until:
            r.header.flags |= DAMAGED
        r.index = index
        r.log_term = log_term
        r.commit = m.index              # which question this answers
        return self._emit(&self.peers[self._peer(m.sender)], &r)

    cdef uint64_t _guess_match(self, uint64_t index, uint64_t term) noexcept nogil:
        """The largest index <= ``index`` whose term is <= ``term``: skips whole terms of
        conflict (paper, end of 5.3)."""
        if index > self.log.last():
            index = self.log.last()
        while index >= self.log.first and self.log.term_at(index) > term:
            index -= 1
        return index

    cdef int _follow(self, const Message* m, uint64_t now_ns) except -1 nogil:
        """A leader of our term spoke: follow it."""
        cdef bint stalled
        if now_ns > self.spoken_ns + self.election_ns:      # silence is no standstill
            self.leader_durable_ns = now_ns
        self.spoken_ns = now_ns
        stalled = now_ns >= self.leader_durable_ns + 3 * self.election_ns
        if stalled and self.role == PRE_CANDIDATE:
            return 0                    # its disk stands still, and it does not see that
        if self.role != FOLLOWER or self.leader != m.sender:
            must(self.leader == 0 or self.leader == m.sender or MUTANT(VOTE_NOT_PERSISTED)
                 or MUTANT(STALE_APPEND_ACCEPTED),
                 b"two leaders in one term", self.term, self.leader, m.sender)
            self._become_follower(self.term, m.sender, now_ns)
        if not stalled:
            self.heard_ns = now_ns
            self._reset_election_timer(now_ns)
        return 0

    cdef int _on_append(self, const Message* m, uint64_t now_ns) except -1 nogil:
        cdef const char* p = <const char*>m + MESSAGE_SIZE
        cdef const Record* r
        cdef uint64_t index, end = m.index + m.count
        cdef uint32_t i
        self._follow(m, now_ns)
        if m.index > self.log.last() or (m.index + 1 >= self.log.first
                                         and self.log.term_at(m.index) != m.log_term
                                         and not MUTANT(PREVIOUS_TERM_UNCHECKED)):
            index = self._guess_match(m.index, m.log_term)
            return self._reply_append(m, True, index, self.log.term_at(index))
        if MUTANT(TRUNCATE_WITHOUT_CONFLICT) and end < self.log.last():
            self._truncate(end + 1)
            if self.verified > end:
                self.verified = end
        for i in range(m.count):
            r = <const Record*>p
            index = m.index + 1 + i
            if r.index != index or r.term > m.term:
                with gil:
                    raise ProtocolError(f"APPEND of term {m.term} holds entry {r.index} of term "
                                        f"{r.term}: expected entry {index}")
            if index < self.log.first:      # our snapshot holds it: it is committed
                p += r.length
                continue
            if (self.log.holds(index) and self.log.term_at(index) != r.term
                    and not MUTANT(CONFLICT_NOT_TRUNCATED)):
                must(index > self.verified, b"leader contradicts itself", index, self.verified,
                     self.term)
                self._truncate(index)
            if not self.log.holds(index):
                self._configured(self.log.append(r))
            p += r.length
        self._verified(max(end, self.log.first - 1))
        self.ack_owed = True
        if m.commit > self.commit:      # never beyond what is known to be the leader's
            index = m.commit if m.commit < self.verified else self.verified
            if MUTANT(COMMIT_BEYOND_VERIFIED):
                index = min(m.commit, self.log.last())
            if index > self.commit:
                self.commit = index
        return 0

    cdef int _on_heartbeat(self, const Message* m, uint64_t now_ns) except -1 nogil:
        cdef Message r
        cdef uint64_t index
        if m.log_term != self.leader_durable or m.log_term >= self.acked:
            self.leader_durable = m.log_term
            self.leader_durable_ns = now_ns
        self._follow(m, now_ns)
        index = m.commit if m.commit < self.verified else self.verified
        if MUTANT(COMMIT_BEYOND_VERIFIED):
            index = min(m.commit, self.log.last())
        if index > self.commit:
            self.commit = index
        memset(&r, 0, sizeof(r))
        r.header.type = HEARTBEAT_REPLY
        r.index = self.verified
        r.log_term = self._sure()       # an acknowledgement may have been lost
        if MUTANT(MATCH_FROM_HEARTBEAT):
            r.log_term = self.verified
        r.commit = m.index
        r.round = m.round if self.heard_ns == now_ns else 0     # a promise not to vote (leases)
        return self._emit(&self.peers[self._peer(m.sender)], &r)

    # ---- answers to the leader -----------------------------------------------------------

    cdef int _on_append_reply(self, Progress* p, const Message* m, uint64_t now_ns) except -1 nogil:
        if self.role != LEADER:
            return 0
        p.contact_ns = now_ns
        if m.header.flags & REJECTED:
            if m.header.flags & DAMAGED and m.index < p.match_index:
                p.match_index = m.index     # its disk lost what it had acknowledged
            elif p.state == STREAM:
                if m.commit <= p.match_index:
                    return 0            # an old refusal: it has matched beyond since
            elif p.state == SNAPSHOTTED:
                return 0
            elif m.commit != p.next_index - 1:
                return 0
            p.next_index = self._guess_match(m.index, m.log_term) + 1
            if MUTANT(MATCH_FROM_REFUSAL):
                p.match_index = p.next_index - 1
            if p.next_index <= p.match_index:
                p.next_index = p.match_index + 1
            p.state = PROBE
            p.probing = False
            return 0
        return self._matched(p, m.index)

    cdef int _matched(self, Progress* p, uint64_t index) except -1 nogil:
        """A member's disk holds our entries up to ``index``."""
        must(index <= self.log.last(), b"member acknowledges what was never sent", index,
             self.log.last(), p.node)
        if index > p.match_index:
            p.match_index = index
        if p.state == PROBE or p.state == SNAPSHOTTED and p.match_index + 1 >= self.log.first:
            p.state = STREAM
            p.probing = False
            p.next_index = p.match_index + 1
        elif p.next_index <= p.match_index:
            p.next_index = p.match_index + 1
        return self._advance_commit()

    cdef int _on_heartbeat_reply(self, Progress* p, const Message* m,
                                 uint64_t now_ns) except -1 nogil:
        if self.role != LEADER:
            return 0
        p.contact_ns = now_ns
        if p.state == STREAM and m.index < m.commit and p.match_index < m.commit:
            p.state = PROBE             # an APPEND before this heartbeat was lost
            p.probing = False
            p.next_index = p.match_index + 1
        if m.log_term > p.match_index:
            self._matched(p, m.log_term)
        if m.round > p.round:
            must(m.round <= self.round_sent, b"confirms a round that was never sent", m.round,
                 self.round_sent, p.node)
            p.round = m.round
            self._confirm_rounds()
        return 0

    cdef int _confirm_rounds(self) except -1 nogil:
        """See which round a majority has answered by now."""
        cdef uint64_t[64] rounds
        cdef int i
        for i in range(self.places):
            rounds[i] = self.round_sent if i == self.me else self.peers[i].round
        self.round_confirmed = joint_committed(rounds, self.voters, self.outgoing)
        if self.round_confirmed and self.round_sent - self.round_confirmed < ROUNDS:
            self.lease_end_ns = self.round_ns[self.round_confirmed % ROUNDS] + self.lease_ns
            if MUTANT(LEASE_FROM_ANSWER):
                self.lease_end_ns = self._heard_majority_ns(self.now_ns) + self.lease_ns
        return 0

    # ---- reads at followers (thesis, 6.4) --------------------------------------------------

    cdef uint64_t ask_read_index(self) noexcept nogil:
        """Number a read that came to this follower; it may be answered once ``ticket_answered``
        is that large and ``ticket_index`` is applied. One question at a time is on its way."""
        if self.ticket == self.ticket_asked and not (MUTANT(READ_JOINS_ASKED_TICKET)
                                                     and self.ticket > self.ticket_answered):
            self.ticket += 1
        return self.ticket

    cdef int _repeat_ticket(self, uint64_t now_ns) except -1 nogil:
        """Ask the leader, and again where nothing comes back."""
        cdef Message m
        if self.leader == 0 or self.ticket_answered == self.ticket:
            return 0
        if (self.ticket_asked > self.ticket_answered and self.ticket_ns
                and now_ns < self.ticket_ns + self.election_ns):
            return 0
        self.ticket_asked = self.ticket
        self.ticket_ns = now_ns
        memset(&m, 0, sizeof(m))
        m.header.type = READ_INDEX
        m.round = self.ticket
        return self._emit(&self.peers[self._peer(self.leader)], &m)

    cdef int _on_read_index(self, Progress* p, const Message* m) except -1 nogil:
        if self.role == LEADER and m.round > p.ticket:
            p.ticket = m.round
            p.ticket_round = self.want_round()
            p.ticket_index = self.read_floor()
        return 0

    cdef int _answer_tickets(self) except -1 nogil:
        cdef Message m
        cdef Progress* p
        cdef int i
        for i in range(self.places):
            p = &self.peers[i]
            if p.ticket and self.round_confirmed >= p.ticket_round:
                memset(&m, 0, sizeof(m))
                m.header.type = READ_INDEX_REPLY
                m.round = p.ticket
                m.index = p.ticket_index
                p.ticket = 0
                self._emit(p, &m)
        return 0

    cdef int _on_read_index_reply(self, const Message* m) except -1 nogil:
        if self.ticket_answered < m.round <= self.ticket_asked:
            self.ticket_answered = m.round
            self.ticket_index = m.index
        return 0

    cdef int _hand_over(self, uint64_t now_ns) except -1 nogil:
        """Let a voter of a higher priority lead, once it has kept up for a while."""
        cdef int i, best = self.me
        cdef Progress* p
        if self.transfer_to or now_ns < self.hand_over_ns or self.commit < self.term_start:
            return 0
        for i in range(self.places):
            p = &self.peers[i]
            if (self.voters >> i & 1 and p.priority > self.peers[best].priority
                    and p.connected and p.match_index >= self.commit):
                best = i
        if best != self.me:
            self.hand_over_ns = now_ns + 10 * self.election_ns
            self.transfer(self.peers[best].node, now_ns)
        return 0

    # ---- handing over (thesis, 3.10) -------------------------------------------------------

    cdef bint transfer(self, uint32_t node, uint64_t now_ns) noexcept nogil:
        """Have another member lead. False: we don't lead, or it can't. Until it does, or for an
        election timeout, nothing may be proposed."""
        cdef int place = self._peer(node)
        if (self.role != LEADER or place < 0 or place == self.me
                or not self.voters >> place & 1 or self.transfer_to and self.transfer_to != node):
            return False
        if not self.transfer_to:
            self.transfer_to = node
            self.transfer_told = False
            self.transfer_deadline_ns = now_ns + self.election_ns
        return True

    cdef int _transfer(self) except -1 nogil:
        """Once it has everything, tell it to stand for election without waiting."""
        cdef Progress* p = &self.peers[self._peer(self.transfer_to)]
        cdef Message m
        if p.match_index != self.log.last() or self.transfer_told or not p.connected:
            return 0
        self.lease_void = self.transfer_told = True
        memset(&m, 0, sizeof(m))
        m.header.type = TIMEOUT_NOW
        return self._emit(p, &m)

    cdef int _on_timeout_now(self, uint64_t now_ns) except -1 nogil:
        if ((self.role == FOLLOWER or self.role == PRE_CANDIDATE) and self._votes()
                and self.damaged_until == 0):
            self._campaign(True, now_ns)
        return self._count_votes(now_ns)

    # ---- elections -----------------------------------------------------------------------

    cdef bint _up_to_date(self, const Message* m) noexcept nogil:
        """Whether a candidate's log is at least as up to date as ours (paper, 5.4.1)."""
        return (m.log_term > self.log.last_term()
                or (m.log_term == self.log.last_term() and m.index >= self.log.last())
                or MUTANT(VOTE_WITHOUT_LOG_CHECK))

    cdef int _on_pre_vote(self, Progress* p, const Message* m, uint64_t now_ns) except -1 nogil:
        """Say whether we would vote for it in the term after its own. Promises nothing."""
        cdef Message r
        memset(&r, 0, sizeof(r))
        r.header.type = PRE_VOTE_REPLY
        if m.term >= self.term and self._up_to_date(m) and not self._withholds_votes(now_ns):
            r.header.flags = GRANTED
        r.round = m.round
        return self._emit(p, &r)

    cdef int _on_vote(self, const Message* m, uint64_t now_ns) except -1 nogil:
        """Vote once a term, and only for a log at least as up to date as ours (paper, 5.4.1)."""
        cdef Message r
        cdef bint grant = (self._up_to_date(m)
                           and (self.vote == m.sender or MUTANT(VOTE_TWICE)
                                or self.vote == 0 and self.leader == 0
                                and (m.header.flags & FORCED != 0
                                     or not self._withholds_votes(now_ns)))
                           and self.role != CANDIDATE and self.role != LEADER
                           and self.damaged_until == 0)
        memset(&r, 0, sizeof(r))
        if grant:
            if self.vote == 0:
                self.vote = m.sender
                self.state_version += 1
            self.role = FOLLOWER        # of a pre-candidate: no longer of another one's rival
            self._reset_election_timer(now_ns)
        r.header.type = VOTE_REPLY
        r.header.flags = GRANTED if grant else 0
        return self._emit(&self.peers[self._peer(m.sender)], &r)

    # ---- the doors -----------------------------------------------------------------------

    cdef int step(self, uint32_t sender, const char* frame, uint64_t now_ns) except -1 nogil:
        """Take one whole frame from a member. Raises ProtocolError for what it may not send."""
        cdef const Message* m = <const Message*>frame
        cdef const FrameHeader* h = &m.header
        cdef Message stale
        cdef uint32_t count
        cdef size_t at
        cdef int place = self._place(sender)
        cdef Progress* p
        self.speaking = place
        if h.length < MESSAGE_SIZE:
            with gil:
                raise ProtocolError(f"member's frame of {h.length} bytes: expected at least "
                                    f"{MESSAGE_SIZE}")
        if place == self.me or m.sender != sender or m.receiver != self.node:
            with gil:
                raise ProtocolError(f"frame of {h.length} bytes from node {m.sender} to node "
                                    f"{m.receiver} on node {sender}'s connection")
        if h.type == APPEND or h.type == SNAPSHOT:
            at = records_sound(frame + MESSAGE_SIZE, h.length - MESSAGE_SIZE, &count)
            if MUTANT(CHECKSUM_SKIPPED):    # lengths only
                at = records_fit(frame + MESSAGE_SIZE, h.length - MESSAGE_SIZE, &count)
            if (at != h.length - MESSAGE_SIZE or count != m.count
                    or append_crc(frame, MESSAGE_SIZE) != h.crc and not MUTANT(CHECKSUM_SKIPPED)):
                with gil:
                    raise ProtocolError("records: check failed: bytes were altered on the way")
        elif h.length != MESSAGE_SIZE or (plain_crc(frame) != h.crc
                                          and not MUTANT(CHECKSUM_SKIPPED)):
            with gil:
                raise ProtocolError("member's frame: check failed: bytes were altered on the way")
        p = &self.peers[place]
        if h.type == PRE_VOTE:
            return self._on_pre_vote(p, m, now_ns)
        if h.type == PRE_VOTE_REPLY and m.term <= self.term:
            if self.role == PRE_CANDIDATE and m.round == self.pre_round:
                p.voted = True
                p.granted = h.flags & GRANTED
                self._count_votes(now_ns)
            return 0
        if m.term > self.term:
            if (h.type == VOTE and not h.flags & FORCED and self._withholds_votes(now_ns)):
                return 0
            self._become_follower(m.term, 0, now_ns)
        elif (m.term < self.term and not (MUTANT(STALE_VOTES_COUNT) and h.type == VOTE_REPLY)
              and not (MUTANT(STALE_APPEND_ACCEPTED) and h.type == APPEND)):
            if (h.type == VOTE or h.type == APPEND or h.type == HEARTBEAT
                    or h.type == SNAPSHOT):
                memset(&stale, 0, sizeof(stale))  # our term is the answer: it steps down
                stale.header.type = h.type + 1
                stale.header.flags = REJECTED if h.type == APPEND else 0
                self._emit(p, &stale)
            return 0
        if h.type == VOTE:
            self._on_vote(m, now_ns)
        elif h.type == VOTE_REPLY:
            if self.role == CANDIDATE:
                p.voted = True
                if MUTANT(VOTES_COUNTED_TWICE):
                    p.granted += h.flags & GRANTED
                else:
                    p.granted = h.flags & GRANTED
                self._count_votes(now_ns)
        elif h.type == APPEND:
            self._on_append(m, now_ns)
        elif h.type == APPEND_REPLY:
            self._on_append_reply(p, m, now_ns)
        elif h.type == HEARTBEAT:
            self._on_heartbeat(m, now_ns)
        elif h.type == HEARTBEAT_REPLY:
            self._on_heartbeat_reply(p, m, now_ns)
        elif h.type == SNAPSHOT:
            self._on_snapshot(m, now_ns)
        elif h.type == SNAPSHOT_REPLY:
            self._on_snapshot_reply(p, m, now_ns)
        elif h.type == TIMEOUT_NOW:
            self._on_timeout_now(now_ns)
        elif h.type == READ_INDEX:
            self._on_read_index(p, m)
        elif h.type == READ_INDEX_REPLY:
            self._on_read_index_reply(m)
        elif h.type == PRE_VOTE_REPLY:
            pass                        # a refusal: its term was news, and all it had to say
        else:
            with gil:
                raise ProtocolError(f"frame type {h.type}: not one that members exchange")
        return 0

    cdef int persisted(self, uint64_t seq, uint64_t now_ns) except -1 nogil:
        """The group write ``seq`` is durable: release what waited for it."""
        cdef int i
        cdef Progress* p
        must(self.writing and seq == self.write_seq, b"persisted: not the write in flight", seq,
             self.write_seq, self.writing)
        self.writing = False
        if self.writing_last > self.durable_index:
            self.durable_index = self.writing_last
        must(self.durable_index <= self.log.last(), b"more is durable than there is",
             self.durable_index, self.log.last())
        self.durable_version = self.writing_version
        if self.durable_version == self.state_version:
            for i in range(self.places):
                p = &self.peers[i]
                buffer_append(&p.out, p.held.data + p.held.start, buffer_size(&p.held))
                buffer_consume(&p.held, buffer_size(&p.held))
            self._count_votes(now_ns)
        self._advance_commit()
        return 0

    cdef int peer_up(self, uint32_t node, uint64_t now_ns) except -1 nogil:
        """Our connection to a member came up: nothing sent earlier can be relied on."""
        cdef int place = self._place(node)
        cdef Progress* p
        must(place != self.me, b"connection to oneself", node)
        self.peer_down(node)
        p = &self.peers[place]
        p.connected = True
        if self.role == LEADER:
            if self.replicas >> place & 1:
                self._send_heartbeat(p)
        elif ((self.role == CANDIDATE or self.role == PRE_CANDIDATE) and not p.voted
              and (self.voters | self.outgoing) >> place & 1):
            self._ask_vote(p)
        return 0

    cdef int peer_down(self, uint32_t node) except -1 nogil:
        cdef int place = self._peer(node)
        cdef Progress* p
        if place < 0:
            return 0                    # its place was needed for a member
        must(place != self.me, b"connection to oneself", node)
        p = &self.peers[place]
        p.connected = False
        p.ticket = 0
        if node == self.transfer_to:
            self.transfer_told = False
        buffer_consume(&p.out, buffer_size(&p.out))
        buffer_consume(&p.held, buffer_size(&p.held))
        p.state = PROBE
        p.probing = False
        if p.next_index > p.match_index + 1 and p.match_index:
            p.next_index = p.match_index + 1
        return 0
