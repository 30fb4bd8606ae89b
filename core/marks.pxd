"""Marks: places in the node that a test should come by at least once, and how often it did.

A mark is one addition, and stands where something happens, never where entries or frames are
copied. The group is a mark's first word. Counts are the process's, whichever node was there.
"""
from libc.stdint cimport uint64_t

cpdef enum Mark:
    # from one role to another: ROLE + 4 * before + after, in the order of raft_state.pxd
    ROLE_FOLLOWER_TO_FOLLOWER = 0
    ROLE_FOLLOWER_TO_CANDIDATE          # its leader wants it to
    ROLE_FOLLOWER_TO_LEADER
    ROLE_FOLLOWER_TO_PRE_CANDIDATE
    ROLE_CANDIDATE_TO_FOLLOWER
    ROLE_CANDIDATE_TO_CANDIDATE
    ROLE_CANDIDATE_TO_LEADER
    ROLE_CANDIDATE_TO_PRE_CANDIDATE
    ROLE_LEADER_TO_FOLLOWER
    ROLE_LEADER_TO_CANDIDATE
    ROLE_LEADER_TO_LEADER
    ROLE_LEADER_TO_PRE_CANDIDATE
    ROLE_PRE_CANDIDATE_TO_FOLLOWER
    ROLE_PRE_CANDIDATE_TO_CANDIDATE
    ROLE_PRE_CANDIDATE_TO_LEADER
    ROLE_PRE_CANDIDATE_TO_PRE_CANDIDATE
    # a leader that leads no more
    RESIGNED_FOR_LATER_TERM
    RESIGNED_WITHOUT_QUORUM
    RESIGNED_OVER_STUCK_DISK
    RESIGNED_AS_REMOVED
    # elections
    ELECTION_PRE_VOTES_LOST
    ELECTION_VOTES_LOST
    ELECTION_NOT_STOOD_AS_NO_VOTER
    ELECTION_NOT_STOOD_OVER_STUCK_DISK
    ELECTION_NOT_STOOD_AS_DAMAGED
    ELECTION_VOTE_GIVEN
    ELECTION_VOTE_WITHHELD              # a leader lives: not even the term is taken over
    ELECTION_VOTE_REFUSED_FOR_LOG
    ELECTION_VOTE_REFUSED_AS_GIVEN      # to another one, or the term has its leader
    ELECTION_VOTE_REFUSED_AS_DAMAGED
    ELECTION_PRE_VOTE_REFUSED
    # who takes part
    CHANGE_SIMPLE
    CHANGE_JOINT_ENTERED
    CHANGE_JOINT_LEFT
    CHANGE_REFUSED_BEFORE_NOOP
    CHANGE_REFUSED_AS_ONE_IS_UNDER_WAY
    CHANGE_REFUSED_DURING_TRANSFER
    CHANGE_REFUSED_AS_IMPOSSIBLE
    CHANGE_CUT_OFF                      # with the log's end; the one before holds again
    CHANGE_FROM_SNAPSHOT                # installed, and not the one gone by until then
    # handing over
    TRANSFER_BEGUN
    TRANSFER_BEGUN_BY_PRIORITY
    TRANSFER_TOLD                       # the chosen one, to stand for election at once
    TRANSFER_DONE
    TRANSFER_TIMED_OUT
    TRANSFER_REFUSED
    TRANSFER_NOT_STOOD                  # it may not stand for election
    TRANSFER_BLOCKED_WRITE
    # snapshots
    SNAPSHOT_BEGUN
    SNAPSHOT_TAKEN
    SNAPSHOT_GIVEN_UP                   # another one was installed meanwhile
    SNAPSHOT_ASKED_FOR
    SNAPSHOT_SENT
    SNAPSHOT_SENT_NEWER                 # in place of the one being sent
    SNAPSHOT_SENT_AGAIN                 # chunks that nothing was heard of
    SNAPSHOT_STARTED_OVER               # the receiver has nothing of it any more
    SNAPSHOT_RESUMED_AFTER_BREAK
    SNAPSHOT_RESUMED_AFTER_RESTART
    SNAPSHOT_RESUMED_BY_LATER_LEADER
    SNAPSHOT_SUPERSEDED                 # chunks of another one were there
    SNAPSHOT_OVERTAKEN                  # what came entry by entry was quicker
    SNAPSHOT_NEEDLESS
    SNAPSHOT_INSTALLED_OVER_SHORT_LOG
    SNAPSHOT_INSTALLED_OVER_CONFLICT
    SNAPSHOT_INSTALLED_AT_END           # of a log that ends with its entry
    SNAPSHOT_INSTALLED_KEEPING_SUFFIX
    SNAPSHOT_RESTORED                   # at start
    SNAPSHOT_RESTORED_IN_PART
    # compaction
    COMPACT_ENTRIES
    COMPACT_CONFIGURATION
    COMPACT_NOTHING                     # all that the snapshot holds is kept for others
    # disks that lost what was promised
    DAMAGED_START
    DAMAGED_REPAIRED_BY_ENTRIES
    DAMAGED_REPAIRED_BY_LATER_TERM
    DAMAGED_REPAIRED_BY_SNAPSHOT
    DAMAGED_FOLLOWER_SEEN               # by its leader
    # logs
    LOG_END_CUT
    LOG_APPEND_REFUSED
    LOG_PROBE_REPEATED
    LOG_LOSS_SEEN_BY_HEARTBEAT
    LOG_APPEND_INTO_SNAPSHOT            # what a follower's snapshot holds already
    LOG_WINDOW_FULL
    # reads
    READ_BY_ROUND
    READ_BY_LEASE
    READ_AT_FOLLOWER
    READ_AFTER_LEASE_ENDED
    READ_LOST
    READ_ASKED_LEADER_AGAIN
    # sessions and log time
    SESSION_WRITE_REPEATED
    SESSION_WRITE_OUTDATED
    SESSION_EXPIRED
    SESSION_EVICTED
    SESSION_STATES_COMPARED             # a member's hash with its leader's
    # answers to clients, in the order of their status
    ANSWER_OK
    ANSWER_CAS_MISMATCH
    ANSWER_NOT_LEADER
    ANSWER_SESSION_LOST
    ANSWER_BAD_REQUEST
    ANSWER_TOO_LARGE
    ANSWER_BUSY
    ANSWER_UNKNOWN
    ANSWER_NOT_A_COUNTER
    ANSWER_OVERFLOW
    ANSWER_STALE_TOKEN
    ANSWER_LOCK_HELD
    ANSWER_LOCK_LOST
    ANSWER_NOT_TRANSACTED
    BUSY_WITH_UNCOMMITTED
    BUSY_WITH_READS
    BUSY_WITH_OUTPUT
    # messages, in the order of their type: left a simulated node ...
    SENT_VOTE
    SENT_VOTE_REPLY
    SENT_APPEND
    SENT_APPEND_REPLY
    SENT_HEARTBEAT
    SENT_HEARTBEAT_REPLY
    SENT_PRE_VOTE
    SENT_PRE_VOTE_REPLY
    SENT_TIMEOUT_NOW
    SENT_READ_INDEX
    SENT_READ_INDEX_REPLY
    SENT_SNAPSHOT
    SENT_SNAPSHOT_REPLY
    # ... and were refused, as of an earlier term
    STALE_VOTE
    STALE_VOTE_REPLY
    STALE_APPEND
    STALE_APPEND_REPLY
    STALE_HEARTBEAT
    STALE_HEARTBEAT_REPLY
    STALE_PRE_VOTE                      # (its term does not count)
    STALE_PRE_VOTE_REPLY
    STALE_TIMEOUT_NOW
    STALE_READ_INDEX
    STALE_READ_INDEX_REPLY
    STALE_SNAPSHOT
    STALE_SNAPSHOT_REPLY
    # bytes that were altered on the way
    ALTERED_MESSAGE
    ALTERED_RECORDS
    # simulated hosts
    HOST_KILLED
    HOST_LOST_POWER
    HOST_STRUCK_AT_VOTE                 # crash points, in the order of environment.py
    HOST_STRUCK_AT_WRITE
    HOST_STRUCK_AT_ANSWER
    HOST_STRUCK_AT_LEAD
    HOST_STRUCK_AT_APPEND
    HOST_DISK_FAILED
    HOST_SYNC_STALLED
    HOST_START_REFUSED
    HOST_FOUND_TORN_WRITE
    HOST_FOUND_DAMAGE
    MARKS                               # how many

cdef uint64_t* reached


cdef inline void mark(int which) noexcept nogil:
    """Count that this was come by."""
    reached[which] += 1
