# distutils: language = c++
"""Raft's safety properties, checked on the state of a whole cluster at once.

For tests and simulation: after each step, all replicas of one domain are looked at together,
which no node could do. Names are those of the Raft paper, figure 3. What was committed once is
kept here, so that a later loss is seen even when every node has forgotten.
"""
from libc.stdint cimport uint32_t, uint64_t
from libcpp.vector cimport vector

from seatrial.core.raft cimport LEADER, Raft
from seatrial.core.replica cimport Replica

from seatrial.core.errors import InvariantViolation


cdef cppclass Committed:
    uint64_t term       # the entry's own
    uint32_t crc
    uint64_t in_term    # the term of the node that knew it committed first


cdef class ClusterInvariants:
    """The checker of one domain's replicas; call ``check`` after every step."""

    cdef vector[Committed] committed    # entry i is at i - 1
    cdef dict leaders                   # term -> node that led it
    cdef dict known                     # node -> (replica, its commit index when last seen)
    cdef readonly uint64_t checks

    def __cinit__(self):
        self.leaders = {}
        self.known = {}

    @property
    def committed_count(self) -> int:
        """How many entries are known to be committed."""
        return self.committed.size()

    @property
    def terms_led(self) -> int:
        """In how many terms a leader was seen."""
        return len(self.leaders)

    def check(self, list replicas) -> None:
        """Raise InvariantViolation, naming property and numbers, if one does not hold."""
        cdef Replica replica, other
        cdef int i, j
        self.checks += 1
        for i in range(len(replicas)):
            replica = replicas[i]
            self._election_safety(replica)
            self._commit(replica)
        for i in range(len(replicas)):
            replica = replicas[i]
            self._leader_completeness(replica)
            for j in range(i):
                other = replicas[j]
                self._log_matching(replica.raft, other.raft)

    cdef _election_safety(self, Replica replica):
        """At most one leader can be elected in a term."""
        if replica.raft.role == LEADER:
            node = self.leaders.setdefault(replica.raft.term, replica.raft.node)
            if node != replica.raft.node:
                raise InvariantViolation(f"election safety: nodes {node} and {replica.raft.node} "
                                         f"both lead term {replica.raft.term}")

    cdef _commit(self, Replica replica):
        """State machine safety: no two nodes commit different entries at one index; and a
        node's commit index never goes back while it runs."""
        cdef Raft raft = replica.raft
        cdef uint64_t i, before = 0
        cdef Committed entry
        last = self.known.get(raft.node)
        if last is not None and last[0] is replica:
            before = last[1]
        if raft.commit < before:
            raise InvariantViolation(f"commit index of node {raft.node} went from {before} "
                                     f"back to {raft.commit}")
        if raft.commit > raft.log.last() or replica.kv.applied > raft.commit:
            raise InvariantViolation(f"node {raft.node}: applied {replica.kv.applied}, commit "
                                     f"{raft.commit}, last {raft.log.last()} are out of order")
        for i in range(before + 1, raft.commit + 1):
            entry.term = raft.log.term_at(i)
            entry.crc = raft.log.record(i).crc
            entry.in_term = raft.term
            if i > self.committed.size():
                self.committed.push_back(entry)
            elif (self.committed[i - 1].term != entry.term
                    or self.committed[i - 1].crc != entry.crc):
                raise InvariantViolation(
                    f"state machine safety: node {raft.node} commits entry {i} of term "
                    f"{entry.term}, another node one of term {self.committed[i - 1].term}")
        self.known[raft.node] = (replica, raft.commit)

    cdef _leader_completeness(self, Replica replica):
        """A leader holds every entry that was committed in an earlier term or in its own."""
        cdef Raft raft = replica.raft
        cdef uint64_t i
        if raft.role != LEADER:
            return
        for i in range(raft.log.first, self.committed.size() + 1):
            if self.committed[i - 1].in_term > raft.term:
                break
            if (i > raft.log.last() or raft.log.term_at(i) != self.committed[i - 1].term
                    or raft.log.record(i).crc != self.committed[i - 1].crc):
                raise InvariantViolation(
                    f"leader completeness: node {raft.node} leads term {raft.term} without entry "
                    f"{i}, committed in term {self.committed[i - 1].in_term}")

    cdef _log_matching(self, Raft a, Raft b):
        """If two logs agree on the term of an entry, they agree on everything up to it."""
        cdef uint64_t i = min(a.log.last(), b.log.last())
        cdef uint64_t first = max(a.log.first, b.log.first)
        while i >= first and a.log.term_at(i) != b.log.term_at(i):
            i -= 1
        while i >= first:
            if (a.log.term_at(i) != b.log.term_at(i)
                    or a.log.record(i).crc != b.log.record(i).crc):
                raise InvariantViolation(f"log matching: nodes {a.node} and {b.node} agree on a "
                                         f"later entry but differ at entry {i}")
            i -= 1
