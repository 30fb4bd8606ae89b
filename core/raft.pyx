"""The consensus machine of one domain: Raft's election, replication and commit, and no more.

Pure: no I/O, clock or random inside. ``step`` takes a frame from another member, ``tick`` the
time, ``persisted`` the disk's word; ``pump`` (once a loop iteration) turns new entries, wanted
leadership rounds and durable progress into frames. Effects are the frames in each member's
``out`` buffer and the next group write (Replica.take_persist). Names and figures are those of
Ongaro and Ousterhout, "In search of an understandable consensus algorithm" (extended version),
and Ongaro's thesis (2014). Here are the doors; the chapters behind them, raft_state.pyx lists.

What the shell must do, and nothing else:

1. Write each group write and sync it, then call ``persisted``. Never reorder them.
2. Deliver each member's frames in order on its connection, and say when that connection
   came up or went away.
3. Call ``tick`` no later than ``deadline_ns``.

Term and vote are durable before anything is said in that term (``_emit`` holds frames). A
leader that hears from no majority for two election timeouts steps down (thesis, 6.2), so that
its clients look elsewhere; so does one whose disk holds a write up for one (``tick``).
"""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint16_t
from libc.string cimport memset

from seatrial.core.buffer cimport buffer_append, buffer_consume, buffer_init, buffer_size
from seatrial.core.chunks cimport Chunks
from seatrial.core.codec cimport (
    APPEND,
    append_crc,
    APPEND_REPLY,
    FORCED,
    FrameHeader,
    GRANTED,
    HEARTBEAT,
    HEARTBEAT_REPLY,
    MAX_FRAME_BYTES,
    Message,
    MESSAGE_SIZE,
    plain_crc,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_INDEX,
    READ_INDEX_REPLY,
    Record,
    records_fit,
    records_sound,
    REJECTED,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    TIMEOUT_NOW,
    VOTE,
    VOTE_REPLY,
)
from seatrial.core.invariant cimport must
from seatrial.core.log cimport Log
from seatrial.core.mirror cimport Mirror
from seatrial.core.marks cimport (
    ALTERED_MESSAGE,
    ALTERED_RECORDS,
    DAMAGED_START,
    ELECTION_NOT_STOOD_AS_DAMAGED,
    ELECTION_NOT_STOOD_AS_NO_VOTER,
    ELECTION_NOT_STOOD_OVER_STUCK_DISK,
    ELECTION_VOTE_WITHHELD,
    mark,
    RESIGNED_FOR_LATER_TERM,
    RESIGNED_OVER_STUCK_DISK,
    RESIGNED_WITHOUT_QUORUM,
    STALE_VOTE,
    TRANSFER_TIMED_OUT,
)
from seatrial.core.mutant cimport (
    CHECKSUM_SKIPPED,
    JOINT_LEFT_EARLY,
    LEASE_WITHOUT_DRIFT,
    MUTANT,
    READ_UNCONFIRMED,
    RESTART_COMMITS_ALL,
    seatrial_arm,
    STALE_APPEND_ACCEPTED,
    STALE_VOTES_COUNT,
    VOTES_COUNTED_TWICE,
)
from seatrial.core.progress cimport PROBE, Progress
from seatrial.core.raft_state cimport CANDIDATE, FOLLOWER, LEADER, PRE_CANDIDATE

from seatrial.core.errors import ProtocolError

ROLES = ("follower", "candidate", "leader", "pre-candidate")


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Raft(RaftElections):
    def __cinit__(self, uint32_t node, configuration, uint64_t seed, uint64_t now_ns,
                  uint64_t heartbeat_ns, uint64_t election_ns, size_t max_batch_bytes,
                  size_t max_inflight_bytes, bint leases=False,
                  uint64_t lease_drift_ppm=150_000, uint16_t domain=0, bint child=False):
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
        self.quorum_lease_ns = (election_ns * (1_000_000 - lease_drift_ppm)
                                // (1_000_000 + lease_drift_ppm))
        if leases:                      # our clock may run slow, a follower's fast
            self.lease_ns = self.quorum_lease_ns
            if MUTANT(LEASE_WITHOUT_DRIFT):
                self.lease_ns = election_ns
        self.log = Log()
        self.mirror = Mirror(self.log)
        self.domain = domain
        self.child = child
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
            if self.mirror.base_index == 0:     # (one domain: both coordinates are the same)
                self.mirror.begin_after(first - 1, first - 1)
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
        if damaged_until:
            mark(DAMAGED_START)
        if MUTANT(RESTART_COMMITS_ALL):
            self.commit = self.log.last()

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
                mark(ALTERED_RECORDS)
                with gil:
                    raise ProtocolError("records: check failed: bytes were altered on the way")
        elif h.length != MESSAGE_SIZE or (plain_crc(frame) != h.crc
                                          and not MUTANT(CHECKSUM_SKIPPED)):
            mark(ALTERED_MESSAGE)
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
                mark(ELECTION_VOTE_WITHHELD)
                return 0
            if self.role == LEADER:
                mark(RESIGNED_FOR_LATER_TERM)
            self._become_follower(m.term, 0, now_ns)
        elif (m.term < self.term and not (MUTANT(STALE_VOTES_COUNT) and h.type == VOTE_REPLY)
              and not (MUTANT(STALE_APPEND_ACCEPTED) and h.type == APPEND)):
            if VOTE <= h.type <= SNAPSHOT_REPLY:
                mark(STALE_VOTE + h.type - VOTE)
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

    cdef int tick(self, uint64_t now_ns) except -1 nogil:
        """Let time pass: heartbeats and loss of the quorum for a leader, elections for others."""
        if self.role != LEADER:
            if now_ns >= self.election_deadline_ns:
                # a learner never stands; whose disk is stuck could not even vote for itself
                if (not self._stands() or self._disk_stalls(now_ns)
                        or self.damaged_until):
                    mark(ELECTION_NOT_STOOD_AS_NO_VOTER if not self._stands()
                         else ELECTION_NOT_STOOD_AS_DAMAGED if self.damaged_until
                         else ELECTION_NOT_STOOD_OVER_STUCK_DISK)
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
            mark(RESIGNED_WITHOUT_QUORUM)
            return self._become_follower(self.term, 0, now_ns)
        if not self._alone() and self._disk_stalls(now_ns):
            mark(RESIGNED_OVER_STUCK_DISK)
            return self._become_follower(self.term, 0, now_ns)
        if self.transfer_to and now_ns >= self.transfer_deadline_ns:
            self.transfer_to = 0        # it did not come to lead: go on
            mark(TRANSFER_TIMED_OUT)
        self._hand_over(now_ns)
        return self._broadcast_heartbeat(now_ns)

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
        if (self.auto_leave and self.transfer_to == 0
                and (self.commit >= self.config_index or MUTANT(JOINT_LEFT_EARLY))):
            self._leave_joint()
        for i in range(self.places):
            if i != self.me and self.replicas >> i & 1:
                self._send_appends(&self.peers[i], now_ns)
        if self.transfer_to:
            self._transfer()
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
