"""Directed graphs of transactions: strongly connected components, and a short cycle in one.

Components: Tarjan 1972, without recursion. Edges have kinds, bits of a mask; a search says which
kinds count. A component's number is smaller than those from which it can be reached.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t

cimport cython

import numpy as np

WW, WR, RW, PROCESS, REALTIME, FRACTURED, CAUSAL = 1, 2, 4, 8, 16, 32, 64

cdef enum:
    RW_BIT = 4


cdef class Graph:
    """Edges (source, target, kind) of n nodes; an edge is named by its place in the lists."""

    cdef readonly int32_t n
    cdef readonly object sources, targets, kinds
    cdef int32_t[::1] start         # of each node's edges in out
    cdef int32_t[::1] out
    cdef int32_t[::1] target
    cdef int32_t[::1] source
    cdef uint8_t[::1] kind

    def __init__(self, n, sources, targets, kinds):
        self.n = n
        self.sources = np.ascontiguousarray(sources, dtype=np.int32)
        self.targets = np.ascontiguousarray(targets, dtype=np.int32)
        self.kinds = np.ascontiguousarray(kinds, dtype=np.uint8)
        if not len(self.sources) == len(self.targets) == len(self.kinds):
            raise ValueError("columns of different lengths")
        for ends in (self.sources, self.targets):
            if len(ends) and not (0 <= ends.min() and ends.max() < n):
                raise ValueError(f"an edge leads out of {n} nodes")
        if (self.sources == self.targets).any():
            raise ValueError("an edge from a node to itself")
        self.source, self.target, self.kind = self.sources, self.targets, self.kinds
        self.out = np.argsort(self.sources, kind="stable").astype(np.int32)
        self.start = np.concatenate([[0], np.cumsum(np.bincount(self.sources, minlength=n))]
                                    ).astype(np.int32)

    @cython.boundscheck(False)
    @cython.wraparound(False)
    def components(self, int mask):
        """Return the component of each node, by edges of these kinds."""
        cdef int32_t n = self.n
        found = np.full(n, -1, dtype=np.int32)
        cdef int32_t[::1] component = found
        cdef int32_t[::1] index = np.full(n, -1, dtype=np.int32)
        cdef int32_t[::1] low = np.zeros(n, dtype=np.int32)
        cdef int32_t[::1] next_edge = np.array(self.start[:n], dtype=np.int32)
        cdef int32_t[::1] path = np.zeros(n, dtype=np.int32)        # of the depth-first search
        cdef int32_t[::1] stack = np.zeros(n, dtype=np.int32)       # Tarjan's
        cdef int32_t depth, size = 0, count = 0, numbered = 0, root, v, w, e
        if n == 0:
            return found
        with nogil:
            for root in range(n):
                if index[root] >= 0:
                    continue
                depth = 1
                path[0] = root
                while depth:
                    v = path[depth - 1]
                    if index[v] < 0:
                        index[v] = low[v] = numbered
                        numbered += 1
                        stack[size] = v
                        size += 1
                    w = -1
                    while next_edge[v] < self.start[v + 1]:
                        e = self.out[next_edge[v]]
                        next_edge[v] += 1
                        if not self.kind[e] & mask:
                            continue
                        w = self.target[e]
                        if index[w] < 0:
                            break
                        if component[w] < 0 and index[w] < low[v]:
                            low[v] = index[w]
                        w = -1
                    if w >= 0:
                        path[depth] = w
                        depth += 1
                        continue
                    if low[v] == index[v]:
                        while True:
                            size -= 1
                            w = stack[size]
                            component[w] = count
                            if w == v:
                                break
                        count += 1
                    depth -= 1
                    if depth and low[v] < low[path[depth - 1]]:
                        low[path[depth - 1]] = low[v]
        return found

    @cython.boundscheck(False)
    @cython.wraparound(False)
    def cycle(self, int first, int rest, *, bint apart=False, int64_t budget=200_000_000):
        """Return the edges of a shortest cycle through an edge of a kind of ``first``, back
        by kinds of ``rest``; None when there is none.

        apart: no two RW edges follow each other, around the cycle. Raises TimeoutError when it
        would have to look at more than ``budget`` edges.
        """
        cdef int32_t[::1] component = self.components(first | rest)
        cdef int32_t[::1] order = self.components(rest)
        cdef int32_t states = 2 * self.n if apart else self.n
        cdef int32_t[::1] seen = np.full(states, -1, dtype=np.int32)    # by which try
        cdef int32_t[::1] came = np.zeros(states, dtype=np.int32)       # by which edge
        cdef int32_t[::1] before = np.zeros(states, dtype=np.int32)     # from which state
        cdef int32_t[::1] queue = np.zeros(states + 1, dtype=np.int32)
        cdef int32_t e, f, v, goal, head, tail, i, state, after, tries = 0
        cdef int32_t best = -1
        cdef bint found
        for e in range(len(self.kinds)):
            if budget <= 0:
                raise TimeoutError
            if not self.kind[e] & first or component[self.source[e]] != component[self.target[e]]:
                continue
            goal = self.source[e]
            if order[self.target[e]] < order[goal]:
                continue                            # no way back
            tries += 1
            with nogil:
                # A state is a node, or with apart: twice the node, plus 1 after an RW edge.
                state = self.target[e] * 2 + (self.kind[e] & RW_BIT != 0) if apart else (
                    self.target[e])
                seen[state] = tries
                came[state] = -1
                queue[0] = state
                head, tail, found = 0, 1, False
                while head < tail and not found and budget > 0:
                    state = queue[head]
                    head += 1
                    v = state >> 1 if apart else state
                    for i in range(self.start[v], self.start[v + 1]):
                        f = self.out[i]
                        budget -= 1
                        if (not self.kind[f] & rest
                                or component[self.target[f]] != component[goal]
                                or order[self.target[f]] < order[goal]):
                            continue
                        after = self.target[f]
                        if apart:
                            if self.kind[f] & RW_BIT and (state & 1 or after == goal):
                                continue
                            after = 2 * after + (self.kind[f] & RW_BIT != 0)
                        if seen[after] == tries:
                            continue
                        seen[after] = tries
                        came[after] = f
                        before[after] = state
                        queue[tail] = after
                        tail += 1
                        if self.target[f] == goal:
                            best = after
                            found = True
                            break
            if found:
                return self._walk(e, best, came, before)
        if tries and budget <= 0:
            raise TimeoutError
        return None

    cdef list _walk(self, int32_t first, int32_t state, int32_t[::1] came, int32_t[::1] before):
        """The edges from the search's end back to its beginning, in order."""
        cdef list edges = []
        while came[state] >= 0:
            edges.append(came[state])
            state = before[state]
        edges.append(first)
        edges.reverse()
        return edges
