# distutils: language = c++
"""Raft's safety properties over all nodes, after every step of the exploration.

Those of core/invariants.pyx, by the same names, in another way: that checker follows one run and
remembers it; here runs meet in the same state, so what must be remembered (``Past``: who led each
term, what was committed) is part of the state, and the rest is read off the states before and after
a step. What one node can break alone (a second vote, a term that goes back) member.pyx sees. When
something is found, the trace is run again under core/invariants.pyx (story.py), as a second judge.
"""
from libc.string cimport memcmp, memset

from seatrial.core.invariant cimport must
from seatrial.core.quorum cimport is_quorum
from seatrial.core.raft_state cimport LEADER
from seatrial.harness.sim.exhaustive.actions cimport MAX_ENTRIES, MAX_TERMS
from seatrial.harness.sim.exhaustive.hashing cimport print_of

from seatrial.core.errors import InvariantViolation


cdef class Properties:
    def __cinit__(self, Transitions transitions, Symmetry symmetry, int nodes, int first=0):
        cdef Past none
        memset(&none, 0, sizeof(none))
        self.transitions = transitions
        self.states = transitions.states
        self.symmetry = symmetry
        self.first, self.end = first, first + nodes
        self.number(&none)          # makes number 0, which is never used: it means not known
        self.number(&none)

    cdef uint32_t number(self, const Past* past) except *:
        """The number of a past."""
        cdef string key = string(<const char*>past, sizeof(Past))
        cdef uint32_t* found = &self.numbers[key]
        cdef Past renamed
        cdef const uint32_t* names
        cdef int i, k
        if found[0]:
            return found[0]
        for i in range(self.symmetry.count):
            names = self.symmetry.names[i]
            renamed = past[0]
            renamed.voters = renamed.outgoing = 0
            for k in range(16):
                renamed.leaders[k] = <uint8_t>names[past.leaders[k]] if past.leaders[k] else 0
            for k in range(self.first, self.end):
                renamed.voters |= (past.voters >> k & 1) << (names[k + 1] - 1)
                renamed.outgoing |= (past.outgoing >> k & 1) << (names[k + 1] - 1)
            for k in range(past.count):
                renamed.entries[k + 1] = <uint16_t>self.states.renamed(past.entries[k + 1], names)
            self.prints.push_back(print_of(<const char*>&renamed, sizeof(Past)))
        found[0] = <uint32_t>self.pasts.size()
        self.pasts.push_back(past[0])
        return found[0]

    cdef uint32_t _term(self, uint16_t record) noexcept nogil:
        return <uint32_t>self.states.record(record).term

    cdef uint32_t changed(self, const uint32_t* locals_now, uint32_t past, uint32_t before,
                          uint32_t after) except? 0 nogil:
        """A node went from one state to another; the others are as ``locals_now`` says. Return what
        is the past now; raise InvariantViolation, naming property and numbers."""
        cdef const Local* a = &self.transitions.locals[before]
        cdef const Local* b = &self.transitions.locals[after]
        cdef Past now = self.pasts[past]
        cdef bint remembers = False
        if a.disk_last != b.disk_last or memcmp(a.disk, b.disk, sizeof(a.disk)):
            if now.count:
                self._durable(locals_now, &now, now.voters, now.outgoing)
        if not b.runs:
            return past
        if not a.runs or a.last != b.last or memcmp(a.entries, b.entries, sizeof(a.entries)):
            self._log_changed(locals_now, a, b)
        if b.role == LEADER and (a.role != LEADER or a.term != b.term or not a.runs):
            self._elected(locals_now, &now, b)
            remembers = True
        if b.commit != (a.commit if a.runs else 0):
            self._advanced(locals_now, &now, a, b)
            remembers = True
        if not remembers:
            return past
        with gil:
            return self.number(&now)

    cdef int _elected(self, const uint32_t* now, Past* past, const Local* s) except -1 nogil:
        """Election Safety: one leader a term, by the votes of a majority (5.2)."""
        cdef const Local* other
        cdef uint64_t votes = 0
        cdef int i
        must(s.term <= MAX_TERMS, b"exploration: too many terms", s.term)
        if past.leaders[s.term] and past.leaders[s.term] != s.node:
            with gil:
                raise InvariantViolation(f"election safety: nodes {past.leaders[s.term]} and "
                                         f"{s.node} both lead term {s.term}")
        past.leaders[s.term] = s.node
        for i in range(self.first, self.end):   # (whoever is in a later term by now may have voted)
            other = &self.transitions.locals[now[i]]
            if (other.disk_term > s.term or other.runs and other.term > s.term
                    or other.disk_term == s.term and other.disk_vote == s.node):
                votes |= <uint64_t>1 << i
        if not is_quorum(votes, s.voters, s.outgoing):
            with gil:
                nodes = [i + 1 for i in range(self.first, self.end) if votes >> i & 1]
                raise InvariantViolation(f"election by majority: node {s.node} leads term "
                                         f"{s.term} by the votes of nodes {nodes}")
        return self._complete(past, s)

    # ---- logs ----------------------------------------------------------------------------

    cdef int _log_changed(self, const uint32_t* now, const Local* a,
                          const Local* b) except -1 nogil:
        cdef int i, k
        if a.runs and a.role == LEADER and b.role == LEADER and a.term == b.term:
            for k in range(max(a.first, b.first), a.last + 1):
                if k > b.last or a.entries[k] != b.entries[k]:
                    with gil:
                        raise InvariantViolation(f"leader append-only: node {b.node}, leader of "
                                                 f"term {b.term}, cut entry {k}")
        for i in range(self.first, self.end):
            if i != b.node - 1:
                if self.transitions.locals[now[i]].runs:
                    self._matches(b, &self.transitions.locals[now[i]], False)
                self._matches(b, &self.transitions.locals[now[i]], True)
        return 0

    cdef int _matches(self, const Local* a, const Local* b, bint disk) except -1 nogil:
        """Log Matching: where two logs share index and term, they are alike up to there (5.3)."""
        cdef Local* held = <Local*>b        # (Cython makes no const pointer of an array)
        cdef uint16_t* other = held.entries
        cdef int first = max(a.first, b.disk_first if disk else b.first)
        cdef int k = min(a.last, b.disk_last if disk else b.last)
        if disk:
            other = held.disk
        while k >= first and self._term(a.entries[k]) != self._term(other[k]):
            k -= 1
        while k >= first:
            if a.entries[k] != other[k]:
                with gil:
                    raise InvariantViolation(f"log matching: nodes {a.node} and {b.node} agree on "
                                             f"a later entry but differ at entry {k}")
            k -= 1
        return 0

    # ---- what is committed ---------------------------------------------------------------

    cdef int _advanced(self, const uint32_t* now, Past* past, const Local* a,
                       const Local* b) except -1 nogil:
        """State Machine Safety (5.4.3), and commitment by counting (5.4.2)."""
        cdef uint8_t commit = a.commit if a.runs else 0
        cdef int i, known = past.count
        if b.commit < commit or b.commit > b.last:
            with gil:
                raise InvariantViolation(f"commit only grows: node {b.node} went from commit "
                                         f"{commit} to {b.commit}, its log ends with {b.last}")
        for i in range(max(<int>b.first, 1), min(<int>b.commit, known) + 1):
            if b.entries[i] != past.entries[i]:
                with gil:
                    raise InvariantViolation(
                        f"state machine safety: node {b.node} commits entry {i} of term "
                        f"{self._term(b.entries[i])}, another node committed one of term "
                        f"{self._term(past.entries[i])}")
        if (a.runs and a.role == LEADER and b.role == LEADER and a.term == b.term
                and b.commit >= b.first and self._term(b.entries[b.commit]) != b.term):
            with gil:
                raise InvariantViolation(
                    f"commit by counting: node {b.node}, leader of term {b.term}, committed entry "
                    f"{b.commit} of term {self._term(b.entries[b.commit])} without one of its own")
        if b.commit <= known:
            return 0
        must(b.first <= known + 1 and b.commit <= MAX_ENTRIES,
             b"the first to commit an entry does not hold it", b.node, b.first, known)
        for i in range(known + 1, b.commit + 1):
            past.entries[i] = b.entries[i]
            past.in_term[i] = <uint8_t>b.term
        past.count = b.commit
        past.voters, past.outgoing = b.voters, b.outgoing
        if a.runs and (a.voters != b.voters or a.outgoing != b.outgoing) and a.role == LEADER:
            past.voters, past.outgoing = a.voters, a.outgoing   # changed after it, in one step
        self._durable(now, past, past.voters, past.outgoing)
        for i in range(self.first, self.end):
            if (self.transitions.locals[now[i]].role == LEADER
                    and self.transitions.locals[now[i]].term >= b.term):
                self._complete(past, &self.transitions.locals[now[i]])
        return 0

    cdef int _complete(self, const Past* past, const Local* s) except -1 nogil:
        """Leader Completeness: a leader holds what was committed in its term or before (5.4)."""
        cdef int i
        for i in range(s.first, past.count + 1):
            if past.in_term[i] <= s.term and (i > s.last or s.entries[i] != past.entries[i]):
                with gil:
                    raise InvariantViolation(
                        f"leader completeness: node {s.node} leads term {s.term} without entry "
                        f"{i} of term {self._term(past.entries[i])}, committed in term "
                        f"{past.in_term[i]}")
        return 0

    cdef int _durable(self, const uint32_t* now, const Past* past, uint8_t voters,
                      uint8_t outgoing) except -1 nogil:
        """A committed entry outlives a minority's loss: a majority's disks hold it (5.3)."""
        cdef const Local* s
        cdef uint64_t held = 0
        cdef int i
        for i in range(self.first, self.end):
            s = &self.transitions.locals[now[i]]
            if (past.count < s.disk_first
                    or past.count <= s.disk_last and s.disk[past.count]
                    == past.entries[past.count]):
                held |= <uint64_t>1 << i
        if not is_quorum(held, voters, outgoing):
            with gil:
                nodes = [i + 1 for i in range(self.first, self.end) if held >> i & 1]
                raise InvariantViolation(
                    f"durability: committed entry {past.count} of term "
                    f"{self._term(past.entries[past.count])} is on the disks of nodes {nodes} only")
        return 0
