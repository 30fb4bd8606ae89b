from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.chunks cimport Chunks
from seatrial.core.codec cimport Message, Record
from seatrial.core.log cimport Log
from seatrial.core.mirror cimport Mirror
from seatrial.core.progress cimport Progress

cdef enum:
    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2
    PRE_CANDIDATE = 3

cdef enum:
    MAX_PLACES = 64

cdef enum:
    ROUNDS = 64             # whose sending time a leader remembers

cdef struct Orphan:             # somebody waited for an entry that this node no longer leads
    uint32_t connection
    uint64_t request

cdef class RaftState:
    # identity and settings
    cdef readonly uint32_t node
    cdef int me                 # our own place in ``peers``
    cdef int places             # how many of them are in use: members, and others that spoke to us
    cdef Progress[64] peers
    # who takes part: masks over the places
    cdef uint64_t voters
    cdef uint64_t outgoing      # not empty: a joint configuration
    cdef uint64_t learners
    cdef uint64_t former_voters     # those of the configuration before
    cdef int speaking           # the place of who is being listened to
    cdef uint64_t replicas      # all three
    cdef bint auto_leave
    cdef readonly uint64_t config_index     # of the entry that says so
    cdef readonly uint64_t config_version   # counts changes
    cdef Buffer configs         # indexes of the CONFIG entries in the log (uint64_t)
    cdef Buffer base_config     # what holds before the first of them
    cdef uint64_t base_config_index
    cdef readonly uint16_t domain   # in the tree of domains; 0: the cluster is one
    cdef bint child             # another domain is the root, for all that we know at first
    cdef bint assigning         # leader: what it proposes gets root coordinates
    cdef uint64_t heartbeat_ns
    cdef uint64_t election_ns
    cdef size_t max_batch_bytes
    cdef size_t max_inflight_bytes
    cdef uint64_t lease_ns      # 0: no leases
    cdef uint64_t random_state
    cdef uint64_t now_ns        # when `pump` was called last
    # what must be durable
    cdef readonly uint64_t term
    cdef readonly uint32_t vote
    cdef readonly Log log
    cdef readonly Mirror mirror     # the log's root entries
    cdef Chunks snapshot        # what those are sent who lack what the log no longer holds
    cdef Chunks incoming        # follower: what it is being sent
    cdef uint64_t incoming_durable          # how many chunks of it are on our disk
    cdef bint incoming_ack_owed
    cdef uint64_t incoming_in_term          # in which its newest chunk came; 0: before a restart
    cdef bint incoming_again                # its first chunk came once more since
    cdef readonly uint64_t damaged_until    # our disk lost entries up to here that we promised
    cdef uint64_t damaged_term              # to hold, of terms up to this; 0: it did not
    # volatile state
    cdef readonly int role
    cdef readonly uint32_t leader
    cdef readonly uint64_t commit
    cdef uint64_t verified      # follower: entries up to here are known to be the leader's
    cdef uint64_t acked         # follower: what it told the leader last
    cdef bint ack_owed
    cdef uint64_t election_deadline_ns
    cdef uint64_t heard_ns      # when a leader of our term last spoke, or this process began
    cdef uint64_t spoken_ns     # when a leader spoke, believed or not
    cdef uint64_t pre_round     # pre-candidate: numbers its questions
    cdef uint64_t heartbeat_deadline_ns
    cdef readonly uint64_t term_start   # leader: index of the no-op of its term
    cdef uint64_t round_sent    # leader: leadership rounds (reads)
    cdef uint64_t round_wanted
    cdef uint64_t round_confirmed
    cdef uint64_t[64] round_ns  # when round r was sent, at r % ROUNDS
    cdef uint64_t lease_end_ns
    cdef uint64_t quorum_lease_ns   # how long after a round nobody else is elected, drift included
    cdef uint64_t confirmed_ns  # when the newest round that a majority answered began
    cdef bint lease_void        # somebody was asked to stand for election in our term
    cdef readonly uint32_t transfer_to      # who is to lead instead; 0: nobody
    cdef uint64_t transfer_deadline_ns
    cdef bint transfer_told
    cdef uint64_t hand_over_ns  # not before: to a voter of a higher priority
    cdef bint forced            # candidate: the leader before wants it so
    cdef uint64_t leader_durable            # follower: what the leader's own disk holds,
    cdef uint64_t leader_durable_ns         # and since when it would have had more to do
    cdef uint64_t ticket        # follower: numbers its READ_INDEX questions
    cdef uint64_t ticket_index  # the newest answer: what such reads must see applied
    cdef uint64_t ticket_asked
    cdef uint64_t ticket_answered
    cdef uint64_t ticket_ns     # when it was asked; 0: not this leader
    # durability
    cdef uint64_t state_version     # counts changes of (term, vote)
    cdef uint64_t durable_version
    cdef readonly uint64_t durable_index
    cdef uint64_t next_persist      # first entry not handed out for writing
    cdef uint64_t write_seq         # of the newest group write handed out
    cdef bint writing
    cdef uint64_t writing_last
    cdef uint64_t writing_version
    cdef uint64_t writing_since_ns
    # entries whose waiting clients must be told "unknown"
    cdef Buffer orphans
    # counters
    cdef readonly uint64_t elections
    cdef readonly uint64_t conflicts
    cdef readonly uint64_t chunks_sent
    cdef readonly uint64_t transfers_resumed

    cdef int _peer(self, uint32_t node) noexcept nogil
    cdef int _place(self, uint32_t node) except -1 nogil
    cdef uint64_t _random(self) noexcept nogil
    cdef uint64_t draw(self) noexcept nogil
    cdef void _reset_election_timer(self, uint64_t now_ns) noexcept nogil
    cdef int _emit(self, Progress* p, Message* m) except -1 nogil
    cdef uint64_t deadline_ns(self) noexcept nogil
    cdef bint _disk_stalls(self, uint64_t now_ns) noexcept nogil
    cdef int _orphan_waiters(self) except -1 nogil
    cdef void _turn(self, int role) noexcept nogil
    cdef int _enter_term(self, uint64_t term, uint32_t leader, uint64_t now_ns) except -1 nogil
    cdef int _become_follower(self, uint64_t term, uint32_t leader, uint64_t now_ns) except -1 nogil
