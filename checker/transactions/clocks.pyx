# distutils: language = c++
"""What comes before each transaction, as vector clocks; and what follows from it for versions.

Transactions lie on chains, each of whose members comes before the next. A clock says of each chain
how many of its members come before a transaction (Fidge 1988, Mattern 1989). A session is a chain,
and one that ended is continued by whoever came after its end, so that there are about as many
chains as clients, and everything here is linear in transactions times chains. Of what a chain wrote
to a key only the last counts that comes before, or the first that comes after: the others follow.
(Møldrup & Pavlogiannis, AWDIT: An Optimal Weak Database Isolation Tester, PLDI'25, section 4.)
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libcpp.vector cimport vector

cimport cython

import numpy as np


class Cyclic(Exception):
    """Something comes before itself: there is no order."""


cdef class Clocks:
    """The clocks of a graph's nodes, by edges of the kinds in ``mask``.

    session: the kind of edge along which chains go first. Raises Cyclic; and MemoryError where
    the clocks would take more than ``memory`` bytes.
    """

    cdef readonly int32_t n, chains
    cdef int32_t[::1] chain                 # of each node; -1: nothing comes after it
    cdef int32_t[::1] place                 # on it, from 1
    cdef int64_t[::1] start                 # of each node's clock
    cdef int32_t[::1] width                 # of it: as many chains as there were then
    cdef vector[int32_t] cells

    def __init__(self, graph, int mask, int session, int64_t memory):
        counts = (np.asarray(graph.kinds) & mask) != 0
        sources, targets = graph.sources[counts], graph.targets[counts]
        follows = (graph.kinds[counts] & session) != 0
        self.n, self.chains = graph.n, 0
        self.chain = np.full(self.n, -1, dtype=np.int32)
        self.place = np.zeros(self.n, dtype=np.int32)
        self.start = np.zeros(max(self.n, 1), dtype=np.int64)
        self.width = np.zeros(max(self.n, 1), dtype=np.int32)
        into, after = np.argsort(targets, kind="stable"), np.argsort(sources, kind="stable")
        if not self._fill(
                _starts(targets, self.n), np.ascontiguousarray(sources[into]),
                follows[into].astype(np.uint8), _starts(sources, self.n),
                np.ascontiguousarray(targets[after]), follows[after].astype(np.uint8),
                memory // (2 * sizeof(int32_t))):      # it doubles when it grows
            raise MemoryError

    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef bint _fill(self, int32_t[::1] first_in, int32_t[::1] source, uint8_t[::1] in_session,
                    int32_t[::1] first_out, int32_t[::1] target, uint8_t[::1] goes_on,
                    int64_t most) except *:
        """Take the nodes in an order of the graph; False when there would be too many cells."""
        cdef int32_t n = self.n, head = 0, tail = 0, v, u, c, e, taken
        cdef int32_t[::1] queue = np.zeros(max(n, 1), dtype=np.int32)
        cdef int32_t[::1] missing = np.diff(first_in).astype(np.int32)
        cdef vector[int32_t] length             # of chains
        cdef vector[uint8_t] kept               # whether the session of its last one goes on
        cdef int64_t row, other
        cdef bint enough = True
        with nogil:
            for v in range(n):
                if missing[v] == 0:
                    queue[tail] = v
                    tail += 1
            while head < tail:
                v = queue[head]
                head += 1
                row = self.cells.size()
                if row + self.chains > most:
                    enough = False
                    break
                self.start[v], self.width[v] = row, self.chains
                self.cells.resize(row + self.chains, 0)
                taken = -1
                for e in range(first_in[v], first_in[v + 1]):
                    u = source[e]
                    other = self.start[u]
                    for c in range(self.width[u]):
                        if self.cells[other + c] > self.cells[row + c]:
                            self.cells[row + c] = self.cells[other + c]
                    c = self.chain[u]
                    if self.place[u] > self.cells[row + c]:
                        self.cells[row + c] = self.place[u]
                    if in_session[e] and self.place[u] == length[c]:
                        taken = c
                if first_out[v] == first_out[v + 1]:
                    continue                    # nothing comes after it
                if taken < 0:
                    for c in range(self.chains):
                        if not kept[c] and self.cells[row + c] == length[c]:
                            taken = c
                            break
                if taken < 0:
                    taken = self.chains
                    self.chains += 1
                    length.push_back(0)
                    kept.push_back(0)
                length[taken] += 1
                self.chain[v], self.place[v] = taken, length[taken]
                kept[taken] = 0
                for e in range(first_out[v], first_out[v + 1]):
                    kept[taken] |= goes_on[e]
                    missing[target[e]] -= 1
                    if missing[target[e]] == 0:
                        queue[tail] = target[e]
                        tail += 1
        if enough and tail < n:
            raise Cyclic
        return enough

    cdef inline int32_t count(self, int32_t node, int32_t chain) noexcept nogil:
        """How many of a chain come before a node."""
        return self.cells[self.start[node] + chain] if chain < self.width[node] else 0

    cdef inline bint is_before(self, int32_t a, int32_t b) noexcept nogil:
        return self.chain[a] >= 0 and self.count(b, self.chain[a]) >= self.place[a]

    def before(self, int32_t a, int32_t b):
        """Return whether one node comes before another."""
        if not (0 <= a < self.n and 0 <= b < self.n):
            raise IndexError(f"nodes {a} and {b} of {self.n}")
        return self.is_before(a, b)


cdef _starts(numbers, int32_t n):
    """Where each number's run begins, were they sorted."""
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=n))]).astype(np.int32)


cdef class Writers:
    """Who wrote each key, by chains: rows of key, writer, and the version's rank on the key."""

    cdef Clocks clocks
    cdef int32_t[::1] writer
    cdef int64_t[::1] rank
    cdef int32_t[::1] run               # where each run of one key and chain begins
    cdef int32_t[::1] key_run           # the first run of each key

    def __init__(self, Clocks clocks, int32_t keys, key, writer, rank):
        chain = np.asarray(clocks.chain)[writer]
        order = np.lexsort((np.asarray(clocks.place)[writer], chain, key))
        key, chain = key[order], chain[order]
        self.clocks = clocks
        self.writer = writer[order].astype(np.int32)
        self.rank = rank[order].astype(np.int64)
        alone = chain < 0               # such ones are runs by themselves
        new = np.ones(len(key), dtype=bool)
        new[1:] = (np.diff(key) != 0) | (np.diff(chain) != 0) | alone[1:]
        begins = np.flatnonzero(new)
        self.run = np.append(begins, len(key)).astype(np.int32)
        self.key_run = np.searchsorted(key[begins], np.arange(keys + 1)).astype(np.int32)

    @cython.boundscheck(False)
    @cython.wraparound(False)
    def overtaken(self, int32_t[::1] reader, int32_t[::1] key, int32_t[::1] writer,
                  int64_t[::1] rank):
        """Reads for which another's write of the key came before the reader, and not before the
        writer (-1: of the initial value); that has no smaller rank. Returns reads and others.
        """
        cdef vector[int32_t] reads, others
        cdef Clocks clocks = self.clocks
        cdef int32_t i, r, low, high, middle, c, most, other
        with nogil:
            for i in range(reader.shape[0]):
                for r in range(self.key_run[key[i]], self.key_run[key[i] + 1]):
                    low, high = self.run[r], self.run[r + 1]
                    c = clocks.chain[self.writer[low]]
                    if c < 0:
                        continue
                    most = clocks.count(reader[i], c)
                    while low < high:           # the first that does not come before
                        middle = (low + high) >> 1
                        if clocks.place[self.writer[middle]] <= most:
                            low = middle + 1
                        else:
                            high = middle
                    if low == self.run[r]:
                        continue
                    other = self.writer[low - 1]
                    if other == writer[i] or (writer[i] >= 0 and (
                            self.rank[low - 1] < rank[i] or clocks.is_before(other, writer[i]))):
                        continue
                    reads.push_back(i)
                    others.push_back(other)
        return _array(reads), _array(others)

    @cython.boundscheck(False)
    @cython.wraparound(False)
    def overwriting(self, int32_t[::1] reader, int32_t[::1] key, int32_t[::1] writer):
        """Reads, and others that wrote the key after what was read had been written, and that
        the reader does not come before anyhow.
        """
        cdef vector[int32_t] reads, others
        cdef Clocks clocks = self.clocks
        cdef int32_t i, r, low, high, middle, other
        with nogil:
            for i in range(reader.shape[0]):
                if writer[i] < 0 or clocks.chain[writer[i]] < 0:
                    continue
                for r in range(self.key_run[key[i]], self.key_run[key[i] + 1]):
                    low, high = self.run[r], self.run[r + 1]
                    while low < high:           # the first that comes after the writer
                        middle = (low + high) >> 1
                        if clocks.is_before(writer[i], self.writer[middle]):
                            high = middle
                        else:
                            low = middle + 1
                    if low == self.run[r + 1]:
                        continue
                    other = self.writer[low]
                    if other == reader[i] or clocks.is_before(reader[i], other):
                        continue
                    reads.push_back(i)
                    others.push_back(other)
        return _array(reads), _array(others)


cdef _array(const vector[int32_t]& numbers):
    found = np.zeros(numbers.size(), dtype=np.int32)
    cdef int32_t[::1] cells = found
    cdef size_t i
    for i in range(numbers.size()):
        cells[i] = numbers[i]
    return found
