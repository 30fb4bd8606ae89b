"""Raft's chapter on elections: pre-votes, votes, candidates, and handing over (thesis, 3.10).

Nobody stands for election before a majority said that it would vote for it (pre-vote; thesis,
9.6), and nobody votes within an election timeout of hearing from a leader or of its own
restart (thesis, 4.2.3). The two belong together: with pre-vote alone a node that can't hear
the leader unseats it, with the other alone a node of a later term can never come back.
"""
from libc.string cimport memset

from seatrial.core.buffer cimport buffer_size
from seatrial.core.codec cimport (
    FORCED,
    GRANTED,
    KIND_CONFIG,
    KIND_NOOP,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    TIMEOUT_NOW,
    VOTE,
    VOTE_REPLY,
)
from seatrial.core.invariant cimport must
from seatrial.core.marks cimport (
    ELECTION_PRE_VOTE_REFUSED,
    ELECTION_PRE_VOTES_LOST,
    ELECTION_VOTE_GIVEN,
    ELECTION_VOTE_REFUSED_AS_DAMAGED,
    ELECTION_VOTE_REFUSED_AS_GIVEN,
    ELECTION_VOTE_REFUSED_FOR_LOG,
    ELECTION_VOTES_LOST,
    mark,
    TRANSFER_BEGUN,
    TRANSFER_BEGUN_BY_PRIORITY,
    TRANSFER_DONE,
    TRANSFER_NOT_STOOD,
    TRANSFER_REFUSED,
    TRANSFER_TOLD,
)
from seatrial.core.mutant cimport (
    DAMAGED_VOTES,
    JOINT_BY_NEW_HALF_ONLY,
    LEARNER_VOTES,
    MUTANT,
    seatrial_arm,
    TRANSFER_KEEPS_LEASE,
    VOTE_TWICE,
    VOTE_WITHOUT_LOG_CHECK,
    VOTES_COUNTED_TWICE,
)
from seatrial.core.progress cimport PROBE
from seatrial.core.quorum cimport VOTE_LOST, vote_result, VOTE_WON
from seatrial.core.raft_state cimport CANDIDATE, FOLLOWER, LEADER, PRE_CANDIDATE

cdef extern from *:
    int popcount "__builtin_popcountll"(unsigned long long) noexcept nogil


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class RaftElections(RaftLeading):
    cdef bint _withholds_votes(self, uint64_t now_ns) noexcept nogil:
        """A leader lives, as far as we know, or we might have promised one our silence before
        a restart (thesis, 4.2.3)."""
        return self.role == LEADER or now_ns < self.heard_ns + self.election_ns

    cdef int _pre_campaign(self, uint64_t now_ns) except -1 nogil:
        """Ask who would vote for us; changes no term and no vote (thesis, 9.6)."""
        self._enter_term(self.term, 0, now_ns)
        self._reset_election_timer(now_ns)
        self._turn(PRE_CANDIDATE)
        self.pre_round += 1
        return self._ask_votes()

    cdef int _campaign(self, bint forced, uint64_t now_ns) except -1 nogil:
        """Ask for votes in the next term; our own counts once it is durable."""
        self._enter_term(self.term + 1, 0, now_ns)
        self._reset_election_timer(now_ns)
        self._turn(CANDIDATE)
        self.forced = forced
        self.vote = self.node
        self.elections += 1
        return self._ask_votes()

    cdef int _ask_votes(self) except -1 nogil:
        cdef int i
        for i in range(self.places):
            self.peers[i].voted = i == self.me
            self.peers[i].granted = i == self.me
            if i != self.me and ((self.voters | self.outgoing) >> i & 1
                                 or MUTANT(LEARNER_VOTES) and self.learners >> i & 1):
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
        result = vote_result(granted, refused,
                             self.voters | self.learners if MUTANT(LEARNER_VOTES) else self.voters,
                             0 if MUTANT(JOINT_BY_NEW_HALF_ONLY) else self.outgoing)
        if MUTANT(VOTES_COUNTED_TWICE) and count > popcount(self.voters) // 2:
            result = VOTE_WON
        if result == VOTE_LOST:
            mark(ELECTION_VOTES_LOST if self.role == CANDIDATE else ELECTION_PRE_VOTES_LOST)
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
        if self.forced:
            mark(TRANSFER_DONE)
        self._turn(LEADER)
        self.leader = self.node
        self.round_sent = self.round_wanted = self.round_confirmed = 0
        self.lease_end_ns = self.confirmed_ns = 0
        self.lease_void = False
        self.assigning = self.assigns()
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
        if self.config_index:
            self.propose(KIND_NOOP, 0, 0, NULL, 0, 0, 0)
        else:       # the first leader says in the log what until now only the members' files did
            self.propose(KIND_CONFIG, 0, 0, self.base_config.data + self.base_config.start,
                         buffer_size(&self.base_config), 0, 0)
        return self._broadcast_heartbeat(now_ns)

    cdef bint _up_to_date(self, const Message* m) noexcept nogil:
        """Whether a candidate's log is at least as up to date as ours (paper, 5.4.1); where our
        disk lost some of it, as the latest that ours may have been."""
        cdef uint64_t term = self.log.last_term(), last = self.log.last()
        if self.damaged_until and not MUTANT(DAMAGED_VOTES):
            term, last = max(term, self.damaged_term), max(last, self.damaged_until)
        return (m.log_term > term or (m.log_term == term and m.index >= last)
                or MUTANT(VOTE_WITHOUT_LOG_CHECK))

    cdef int _on_pre_vote(self, Progress* p, const Message* m, uint64_t now_ns) except -1 nogil:
        """Say whether we would vote for it in the term after its own. Promises nothing."""
        cdef Message r
        memset(&r, 0, sizeof(r))
        r.header.type = PRE_VOTE_REPLY
        if m.term >= self.term and self._up_to_date(m) and not self._withholds_votes(now_ns):
            r.header.flags = GRANTED
        else:
            mark(ELECTION_PRE_VOTE_REFUSED)
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
                           and self.role != CANDIDATE and self.role != LEADER)
        memset(&r, 0, sizeof(r))
        if grant:
            if self.vote == 0:
                self.vote = m.sender
                self.state_version += 1
            if self.role == PRE_CANDIDATE:      # no longer another one's rival
                self._turn(FOLLOWER)
            self._reset_election_timer(now_ns)
        mark(ELECTION_VOTE_GIVEN if grant
             else ELECTION_VOTE_REFUSED_AS_DAMAGED if self.damaged_until
             else ELECTION_VOTE_REFUSED_FOR_LOG if not self._up_to_date(m)
             else ELECTION_VOTE_REFUSED_AS_GIVEN)
        r.header.type = VOTE_REPLY
        r.header.flags = GRANTED if grant else 0
        return self._emit(&self.peers[self._peer(m.sender)], &r)

    cdef bint transfer(self, uint32_t node, uint64_t now_ns) noexcept nogil:
        """Have another member lead. False: we don't lead, or it can't. Until it does, or for an
        election timeout, nothing may be proposed."""
        cdef int place = self._peer(node)
        if (self.role != LEADER or place < 0 or place == self.me
                or not self.voters >> place & 1 or self.transfer_to and self.transfer_to != node):
            mark(TRANSFER_REFUSED)
            return False
        if not self.transfer_to:
            mark(TRANSFER_BEGUN)
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
        self.lease_void = not MUTANT(TRANSFER_KEEPS_LEASE)
        self.transfer_told = True
        memset(&m, 0, sizeof(m))
        m.header.type = TIMEOUT_NOW
        mark(TRANSFER_TOLD)
        return self._emit(p, &m)

    cdef int _on_timeout_now(self, uint64_t now_ns) except -1 nogil:
        if ((self.role == FOLLOWER or self.role == PRE_CANDIDATE) and self._votes()
                and self.damaged_until == 0):
            self._campaign(True, now_ns)
        else:
            mark(TRANSFER_NOT_STOOD)
        return self._count_votes(now_ns)

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
            mark(TRANSFER_BEGUN_BY_PRIORITY)
            self.transfer(self.peers[best].node, now_ns)
        return 0
