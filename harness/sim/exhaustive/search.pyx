# distutils: language = c++
"""Breadth-first search through all states of a space, which says what can happen in each.

Breadth first, so that the first trace to a violation is a shortest one. Of states that differ only
in the numbers of the nodes the first is kept: its fingerprint is the least of those under all
numberings. A trace is found backwards: of each state its parent and the action are kept.
"""
from libc.string cimport memcpy

from seatrial.harness.sim.exhaustive.hashing cimport folded

from seatrial.core.errors import InvariantViolation

cdef enum:
    ROOM = 200                  # for the states that one may lead to


cdef class Search:
    """What a space has in common with others. kinds: the names of its actions."""

    @property
    def count(self) -> int:
        """How many states were seen."""
        return self.visited.count

    @property
    def waiting(self) -> int:
        """How many of them are not expanded yet."""
        return self.frontier.size() // self.words - self.at + self.found.size() // self.words

    def explore(self, uint64_t states) -> bool:
        """Expand so many states; return whether any are left. Stops at the limit and at the first
        violation, which is ``violation`` then."""
        cdef uint64_t n = 0
        try:
            while n < states and self.violation is None and self.waiting:
                if self.visited.count + ROOM > self.limit:
                    return True
                if self.at == self.frontier.size() // self.words:
                    self._descend()
                n += self._some(states - n)
        except InvariantViolation as violation:
            self.violation = str(violation)
        return self.violation is None and self.waiting > 0

    @property
    def full(self) -> bool:
        """Whether there is no room for more states."""
        return self.visited.count + ROOM > self.limit

    def _descend(self):
        """Go on with the states that were found, a step deeper."""
        self.frontier_first += self.frontier.size() // self.words
        self.frontier.swap(self.found)
        self.found.clear()
        self.at = 0
        self.depth += 1

    def _some(self, uint64_t states):
        cdef uint64_t n = 0, size = self.frontier.size() // self.words
        with nogil:
            while n < states and self.at < size and self.visited.count + ROOM <= self.limit:
                self._expand(&self.frontier[self.at * self.words])
                self.at += 1
                n += 1
        return n

    cdef int _try(self, const uint32_t* s, int kind, int node, int other) except -1 nogil:
        """Take an action, and keep the state that it leads to, if it is new."""
        cdef uint32_t[MAX_WORDS] t
        cdef uint32_t parent
        cdef int i
        memcpy(t, s, self.words * sizeof(uint32_t))
        self.action = kind << 4 | node << 2 | other
        if not self._take(t, kind, node, other):
            return 0
        if self.collecting:
            self.collected.push_back(<uint16_t>self.action)
            return 0
        self.edges += 1
        if self.visited.add(self._print(t)):
            self.numbered += self.orbit
            for i in range(self.words):
                self.found.push_back(t[i])
            parent = <uint32_t>(self.frontier_first + self.at)
            self.parents.push_back(parent)
            self.actions.push_back(<uint16_t>self.action)
        return 0

    def walk(self, uint64_t seed, int length) -> list:
        """Return a trace of actions drawn at random, within the bounds."""
        cdef uint32_t[MAX_WORDS] s = self.start
        cdef uint64_t drawn = seed
        cdef int action
        trace = list(self.prefix)
        for _ in range(length):
            self.collected.clear()
            self.collecting = True
            self._expand(s)
            self.collecting = False
            if self.collected.empty():
                break
            drawn = folded(drawn + <uint64_t>0x9E3779B97F4A7C15, <uint64_t>0xE7037ED1A0B428DB)
            action = self.collected[drawn % self.collected.size()]
            self._take(s, action >> 4, action >> 2 & 3, action & 3)
            trace.append((self.kinds[action >> 4], (action >> 2 & 3) + 1, (action & 3) + 1))
        return trace

    def trace(self) -> list:
        """Return the actions that led to the violation: (name, node, other node)."""
        cdef uint64_t state = self.frontier_first + self.at
        if self.visited.count == 0:
            return list(self.prefix)    # (it was found on the way to the first state)
        taken = [self.action]
        while state:
            taken.append(self.actions[state - 1])
            state = self.parents[state - 1]
        return self.prefix + [(self.kinds[action >> 4], (action >> 2 & 3) + 1, (action & 3) + 1)
                              for action in reversed(taken)]

    # ---- what there is to explore ----------------------------------------------------------

    cdef int _expand(self, const uint32_t* s) except -1 nogil:
        """Try all that can happen in a state."""
        return 0

    cdef int _take(self, uint32_t* s, int kind, int node, int other) except -1 nogil:
        """Let something happen. 0: it can't; then the state is no longer one."""
        return 0

    cdef Print _print(self, const uint32_t* s) noexcept nogil:
        """A fingerprint that is the same under all numberings of the nodes; ``orbit``."""
        cdef Print none
        none.high = none.low = 0
        return none
