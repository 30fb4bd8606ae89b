# distutils: language = c++
"""Log time: how the members of a cluster agree on how late it is.

The leader proposes a CLOCK entry about once a second while anything can expire (Raft thesis, 6.3:
the leader's clock, through the log). A new leader goes on from the last log time that it has
applied, plus what its own monotonic clock has counted since: what passes between two leaders is not
counted, so that log time never goes faster than a leader's clock, and a lease lasts rather too long
than too short. While nothing can expire, log time stands still. A CLOCK also carries what the
leader's state hashed to at an earlier one, which all members compare with their own (kv.pyx).
"""
from seatrial.core.codec cimport KIND_CLOCK, ClockTime
from seatrial.core.kv cimport Hashed
from seatrial.core.raft_state cimport LEADER

cdef uint64_t INTERVAL_NS = 1_000_000_000


cdef class LogClock:
    cdef int settle(self, Raft raft, KeyValue kv, uint64_t now_ns) except -1 nogil:
        """Propose a CLOCK if it is time; to be called in each iteration, before ``pump``."""
        cdef ClockTime clock
        cdef Hashed hashed
        kv.own_ns = now_ns
        if (raft.role != LEADER or not raft.assigning or kv.applied < raft.term_start
                or not kv.can_expire()):
            self.term = 0
            return 0
        if self.term != raft.term:
            self.term = raft.term
            self.base_log_ns = kv.log_time_ns
            self.base_ns = self.proposed_ns = now_ns
            self.proposed = 0
            return 0
        if now_ns - self.proposed_ns < INTERVAL_NS or kv.applied < self.proposed:
            return 0
        self.proposed_ns = now_ns
        clock.log_time_ns = self.base_log_ns + (now_ns - self.base_ns)
        hashed = kv.newest_hash()
        clock.hashed_index, clock.state_hash = hashed.index, hashed.hash
        raft.propose(KIND_CLOCK, 0, 0, <const char*>&clock, sizeof(clock), 0, 0)
        self.proposed = raft.mirror.end
        return 0
