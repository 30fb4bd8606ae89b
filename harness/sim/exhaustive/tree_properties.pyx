# distutils: language = c++
"""Properties of a tree of domains over all nodes, after every step of the exploration.

Those of core/domain_invariants.pyx, by the same names, in another way (see properties.pyx): what
must be remembered, which root entries were ever applied and how far each domain had, is part of the
state; the rest is read off the states before and after a step. One is added that the simulation
finds by the answers to reads: a child's leader that holds a lease, and could still have its own
majority confirm it, holds every root entry that anybody has applied.
"""
from libc.string cimport memcmp, memset

from seatrial.core.codec cimport Record
from seatrial.core.invariant cimport must
from seatrial.harness.sim.exhaustive.actions cimport MAX_ENTRIES
from seatrial.harness.sim.exhaustive.hashing cimport print_of
from seatrial.harness.sim.exhaustive.tree_transitions cimport HELD_OUT

from seatrial.core.errors import InvariantViolation

cdef enum:
    ROOT = 1                    # its id; the place of a domain is its id - 1


cdef class TreeProperties:
    def __cinit__(self, TreeTransitions transitions, Symmetry symmetry, members):
        cdef TreePast none
        cdef int node
        memset(&none, 0, sizeof(none))
        self.transitions = transitions
        self.states = transitions.states
        self.symmetry = symmetry
        self.domains = len(members)
        self.nodes = 0
        for domain, nodes in enumerate(members):
            for node in nodes:
                self.domain_of[node - 1] = domain
                self.nodes += 1
        self.number(&none)          # makes number 0, which is never used: it means not known
        self.number(&none)

    cdef uint32_t number(self, TreePast* past) except *:
        """The number of a past."""
        cdef string key = string(<const char*>past, sizeof(TreePast))
        cdef uint32_t* found = &self.numbers[key]
        cdef TreePast renamed
        cdef int i, k
        if found[0]:
            return found[0]
        for i in range(self.symmetry.count):
            renamed = past[0]
            for k in range(1, past.count + 1):
                renamed.history[k] = <uint16_t>self.states.renamed(past.history[k],
                                                                   self.symmetry.names[i])
            self.prints.push_back(print_of(<const char*>&renamed, sizeof(TreePast)))
        found[0] = <uint32_t>self.pasts.size()
        self.pasts.push_back(past[0])
        return found[0]

    cdef uint32_t changed(self, const uint32_t* now, uint32_t past, uint32_t before,
                          uint32_t after) except? 0 nogil:
        """A node went from one state to another; the others are as ``now`` says. Return what is the
        past now; raise InvariantViolation, naming property and numbers."""
        cdef Part* a = &self.transitions.parts[before]
        cdef Part* b = &self.transitions.parts[after]
        cdef bint ran = self.transitions.locals[before].runs
        cdef TreePast then = self.pasts[past]
        if b.held_end != a.held_end or memcmp(a.held, b.held, sizeof(a.held)):
            self._held_as_told(now, &then)
        if not self.transitions.locals[after].runs:
            return past
        if not ran or a.end != b.end or memcmp(a.mirror, b.mirror, sizeof(a.mirror)):
            self._mirror_changed(now, &then, after)
        if b.applied == (a.applied if ran else 0):
            return past
        self._applies(now, &then, before, after)
        with gil:
            return self.number(&then)

    # ---- mirrors -----------------------------------------------------------------------------

    cdef int _mirror_changed(self, const uint32_t* now, TreePast* past,
                             uint32_t after) except -1 nogil:
        cdef Part* b = &self.transitions.parts[after]
        cdef Part* other
        cdef const Record* r
        cdef const Record* earlier = NULL
        cdef int node = self.transitions.locals[after].node, i, k
        for k in range(1, b.end + 1):
            r = self.states.record(b.mirror[k])
            if r.epoch & 0xffff != ROOT:
                with gil:
                    raise InvariantViolation(f"one root an epoch: node {node} holds rindex {k} of "
                                             f"domain {r.epoch & 0xffff}")
            if earlier is not NULL and (r.epoch < earlier.epoch or r.epoch == earlier.epoch
                                        and r.rterm < earlier.rterm):
                with gil:
                    raise InvariantViolation(f"epochs only grow: node {node} holds rindex {k} of "
                                             f"term {r.rterm} after one of term {earlier.rterm}")
            earlier = r
        for i in range(self.nodes):
            other = &self.transitions.parts[now[i]]
            if i != node - 1:
                self._agree(node, b.mirror, b.end, i + 1, other.mirror, other.end)
            self._agree(node, b.mirror, b.end, i + 1, other.held, other.held_end)
        self._agree(node, b.mirror, b.end, 0, past.history, past.count)
        for i in range(b.cuts):
            k = b.cut_at[i]
            if k <= past.applied[self.domain_of[node - 1]] and b.cut[i] == past.history[k]:
                with gil:
                    raise InvariantViolation(
                        f"one history: node {node} cuts its mirror before rindex {k}, though its "
                        f"domain has applied up to {past.applied[self.domain_of[node - 1]]}")
        return 0

    cdef int _agree(self, int node, const uint16_t* a, int a_end, int other, const uint16_t* b,
                    int b_end) except -1 nogil:
        """One prefix: where two mirrors hold an entry of the same coordinates, they are alike up
        to there."""
        cdef const Record* mine
        cdef const Record* theirs
        cdef int k = min(a_end, b_end)
        while k > 0:
            mine, theirs = self.states.record(a[k]), self.states.record(b[k])
            if b[k] and mine.epoch == theirs.epoch and mine.rterm == theirs.rterm:
                break
            k -= 1
        while k > 0:
            if a[k] != b[k]:
                with gil:
                    whom = f"node {other}" if other else "what was applied"
                    raise InvariantViolation(f"one prefix: node {node} and {whom} agree on a later "
                                             f"entry but differ at rindex {k}")
            k -= 1
        return 0

    # ---- what is applied ---------------------------------------------------------------------

    cdef int _applies(self, const uint32_t* now, TreePast* past, uint32_t before,
                      uint32_t after) except -1 nogil:
        """One history: the same entries everywhere."""
        cdef Part* a = &self.transitions.parts[before]
        cdef Part* b = &self.transitions.parts[after]
        cdef int node = self.transitions.locals[after].node, k, domain = self.domain_of[node - 1]
        if b.applied > b.end or self.transitions.locals[before].runs and b.applied < a.applied:
            with gil:
                raise InvariantViolation(f"applied only grows: node {node} went from applied "
                                         f"rindex {a.applied} to {b.applied}; its mirror ends with "
                                         f"{b.end}")
        for k in range(1, min(b.applied, past.count) + 1):
            if b.mirror[k] != past.history[k]:
                with gil:
                    raise InvariantViolation(
                        f"one history: node {node} applies rindex {k} of term "
                        f"{self.states.record(b.mirror[k]).rterm}, another node applied one of "
                        f"term {self.states.record(past.history[k]).rterm}")
        past.applied[domain] = max(past.applied[domain], b.applied)
        if b.applied <= past.count:
            return 0
        must(b.applied <= MAX_ENTRIES, b"exploration: too many root entries", b.applied)
        for k in range(past.count + 1, b.applied + 1):
            self._held_until_released(past, k, b.mirror[k])
            past.history[k] = b.mirror[k]
        past.count = b.applied
        return self._held_as_told(now, past)

    cdef int _held_until_released(self, TreePast* past, int rindex,
                                  uint16_t fresh) except -1 nogil:
        """A tree includes nobody whom an operator keeps out by the one before."""
        cdef int tree = self.transitions.counted[fresh], k = rindex - 1
        while k and self.transitions.counted[past.history[k]] < 0:
            k -= 1
        if k and tree > 0 and self.transitions.counted[past.history[k]] // HELD_OUT & tree:
            with gil:
                raise InvariantViolation(f"held until released: the tree of rindex {rindex} "
                                         "includes a domain that an operator had excluded")
        return 0

    cdef int _held_as_told(self, const uint32_t* now, TreePast* past) except -1 nogil:
        """The newest root entry that was applied is on a majority of the root's disks, and of those
        of every child that the tree as of this entry counts, and so on down the tree."""
        cdef Part* t
        cdef int counted = 0, domain, i, k, held, of
        if past.count == 0:
            return 0
        for k in range(1, past.count + 1):
            if self.transitions.counted[past.history[k]] >= 0:
                counted = self.transitions.counted[past.history[k]]
        for domain in range(self.domains):
            if domain and not counted >> (domain + 1) & 1:
                return 0
            held = of = 0
            for i in range(self.nodes):
                if self.domain_of[i] == domain:
                    t = &self.transitions.parts[now[i]]
                    held += (t.held_end >= past.count
                             and t.held[past.count] == past.history[past.count])
                    of += 1
            if 2 * held <= of:
                with gil:
                    raise InvariantViolation(
                        f"held as told: rindex {past.count} is applied, and on the disks of "
                        f"{held} of {of} nodes of domain {domain + 1} only")
        return 0

    # ---- leases ------------------------------------------------------------------------------

    cdef int leases(self, const uint32_t* now, uint32_t past, uint64_t now_ns) except -1 nogil:
        """Whoever may answer reads by itself holds all that was applied."""
        cdef TreePast* then = &self.pasts[past]
        cdef Part* t
        cdef const Local* m
        cdef int i, k, later, of
        for i in range(self.nodes):
            t = &self.transitions.parts[now[i]]
            if t.leased_until_ns <= now_ns or t.end >= then.count and (
                    then.count == 0 or t.mirror[then.count] == then.history[then.count]):
                continue
            later = of = 0              # (who is no longer followed will not be confirmed)
            for k in range(self.nodes):
                if self.domain_of[k] == self.domain_of[i]:
                    m = &self.transitions.locals[now[k]]
                    of += 1
                    later += max(m.disk_term, m.term) > self.transitions.locals[now[i]].term
            if 2 * (of - later) > of:
                with gil:
                    raise InvariantViolation(
                        f"lease: node {i + 1} may answer reads, and its mirror ends with rindex "
                        f"{t.end}, though {then.count} is applied")
        return 0
