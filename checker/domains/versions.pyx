# distutils: language = c++
"""Every version of every key: who wrote it, when it was certainly there, and what followed it.

A *version* is one value of one key. It was there at the latest when its writer or somebody who saw
it had returned: that moment is its ``first``. Whatever began after that came later in the one order
of all writes, and so does what stands behind it in root coordinates. So each version has a
*successor*: of all that certainly came after it, the one that was certainly there first. Who
shows a version after its successor was there shows an old state, and since when:

- a linearizable read must not;
- the age of any other read is the time since then;
- what a session saw, or was told by its token, puts a bound on what it may still be shown.

In root coordinates a version takes a stretch of the log, and a state is a function of its
coordinates: so where a version was seen, from the lowest rindex to the highest, no other one of its
key was. A write stands at most at the rindex that its answer names (a retry that was
executed before answers with its own), and behind all that anybody had been shown before it began. A
version that was seen behind where a later one must stand is not a state of the root.

One pass over the operations and one sort of each key's versions. A value that several
operations wrote is left out: nobody can tell which of them was seen.

Sources: Golab, Li, Shah, "Analyzing consistency properties for fun and profit", PODC 2011 (what
must come before what, the age of a read); the stretches are ours.
"""
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libcpp.algorithm cimport sort
from libcpp.utility cimport pair
from libcpp.vector cimport vector

from seatrial.checker.grouping cimport group_by_key
from seatrial.checker.roles cimport CAS, READ, WRITE
from seatrial.checker.tokens cimport INF

import numpy as np

cdef enum:
    NOBODY = -1             # in place of an operation or version
    INITIAL = -2            # in place of a writer: the value was there at the start
    SEVERAL = -3            # in place of a writer: nobody can tell which

cdef int64_t IMPOSSIBLE = -INF      # operations.py: what no operation writes

cdef struct Version:
    int64_t value
    int64_t first           # position at which it was certainly there; INF: never
    int64_t most            # it stands at most at this rindex, and at least at that; -1 unknown
    int64_t least
    int64_t lo              # lowest and highest rindex at which it was seen; -1 never
    int64_t hi
    int32_t key
    int32_t writer
    int32_t first_op        # who returned at ``first``
    int32_t lo_op
    int32_t hi_op
    int32_t successor       # version, or NOBODY
    int8_t by_rindex        # whether coordinates, not times, say that it came after

cdef struct Columns:
    const int8_t* kind
    const int64_t* a
    const int64_t* b
    const int64_t* inv
    const int64_t* ret
    const int64_t* rindex
    const int64_t* floor    # the highest rindex shown before it began
    int32_t* seen           # by operation: the version that it saw
    int64_t* behind         # by operation: versions of its key that were there and not shown

ctypedef pair[int64_t, int32_t] At


cdef inline size_t bucket_of(int64_t value, size_t buckets) noexcept nogil:
    return <size_t>((<uint64_t>value * <uint64_t>0x9E3779B97F4A7C15) >> 24) & (buckets - 1)


cdef int32_t version_of(vector[Version]& versions, vector[int32_t]& table, int32_t key,
                        int64_t value) except -9 nogil:
    """The version of a value, made now if need be; the table has room."""
    cdef size_t i = bucket_of(value, table.size())
    cdef Version v
    while table[i] != NOBODY:
        if versions[<size_t>table[i]].value == value:
            return table[i]
        i = (i + 1) & (table.size() - 1)
    v.value, v.key = value, key
    v.first = INF
    v.most = v.least = v.lo = v.hi = -1
    v.writer = v.first_op = v.lo_op = v.hi_op = v.successor = NOBODY
    v.by_rindex = 0
    table[i] = <int32_t>versions.size()
    versions.push_back(v)
    return table[i]


cdef inline void there(Version* v, int64_t at, int32_t op) noexcept nogil:
    if at < v.first:
        v.first, v.first_op = at, op


cdef inline void seen_at(Version* v, int64_t rindex, int32_t op) noexcept nogil:
    if rindex < 0:
        return
    if v.lo < 0 or rindex < v.lo:
        v.lo, v.lo_op = rindex, op
    if rindex > v.hi:
        v.hi, v.hi_op = rindex, op


cdef int gather(Columns* c, const int32_t* ops, int64_t n, int32_t key, int64_t initial,
                vector[Version]& versions, vector[int32_t]& table) except -1 nogil:
    """Make the versions of one key. The first of them is the initial value."""
    cdef size_t buckets = 16
    cdef int64_t i
    cdef int32_t op, v
    while buckets < 4 * <size_t>n + 4:
        buckets *= 2
    table.assign(buckets, NOBODY)
    v = version_of(versions, table, key, initial)
    versions[<size_t>v].writer = INITIAL
    versions[<size_t>v].first = -1
    for i in range(n):
        op = ops[i]
        if c.kind[op] == READ:
            if c.a[op] == IMPOSSIBLE:
                continue
            v = version_of(versions, table, key, c.a[op])
            c.seen[op] = v
            there(&versions[<size_t>v], c.ret[op], op)
            seen_at(&versions[<size_t>v], c.rindex[op], op)
            continue
        if c.kind[op] == CAS and c.ret[op] != INF:
            v = version_of(versions, table, key, c.a[op])
            c.seen[op] = v
            there(&versions[<size_t>v], c.ret[op], op)
        if c.kind[op] == CAS or c.kind[op] == WRITE:
            v = version_of(versions, table, key, c.b[op] if c.kind[op] == CAS else c.a[op])
            if versions[<size_t>v].writer != NOBODY:
                versions[<size_t>v].writer = SEVERAL
                continue
            versions[<size_t>v].writer = op
            there(&versions[<size_t>v], c.ret[op], op)
            versions[<size_t>v].least = max(<int64_t>0, c.floor[op]) + 1
            if c.ret[op] != INF:
                versions[<size_t>v].most = c.rindex[op]
    return 0


cdef inline int64_t ends_by(const Version* v) noexcept nogil:
    """A rindex by which it certainly stands; INF unknown."""
    if v.writer == INITIAL:
        return -1
    if v.most >= 0 and (v.lo < 0 or v.most < v.lo):
        return v.most
    return v.lo if v.lo >= 0 else INF


cdef class Found:
    """What one history's versions are, while they are looked for."""

    cdef vector[Version] versions
    cdef vector[pair[int32_t, int32_t]] conflicts
    cdef vector[int32_t] table
    cdef vector[At] times, places, sights, stretches
    cdef vector[At] first_time, first_place, first_sight, most_time, most_place, most_sight
    cdef vector[int64_t] firsts, begins

    cdef int judge_key(self, Columns* c, const int32_t* ops, int64_t n, int32_t key,
                       int64_t initial) except -1 nogil:
        cdef size_t base = self.versions.size()
        gather(c, ops, n, key, initial, self.versions, self.table)
        self.order(c, base)
        self.follow(c, base)
        self.count(c, ops, n)
        self.overlap(base)
        return 0

    cdef int order(self, Columns* c, size_t base) except -1 nogil:
        """Sort what was certainly there: by the writer's invocation, by the least rindex at which
        it may stand, and by the lowest at which it was seen."""
        cdef size_t i
        cdef Version* v
        self.times.clear()
        self.places.clear()
        self.sights.clear()
        self.firsts.clear()
        self.begins.clear()
        for i in range(base, self.versions.size()):
            v = &self.versions[i]
            if v.writer < 0 or v.first == INF:
                continue
            self.times.push_back(At(c.inv[v.writer], <int32_t>i))
            self.firsts.push_back(v.first)
            self.places.push_back(At(v.least, <int32_t>i))
            if v.lo >= 0:
                self.sights.push_back(At(v.lo, <int32_t>i))
        sort(self.times.begin(), self.times.end())
        sort(self.places.begin(), self.places.end())
        sort(self.sights.begin(), self.sights.end())
        sort(self.firsts.begin(), self.firsts.end())
        for i in range(self.times.size()):
            self.begins.push_back(self.times[i].first)
        self.earliest(self.times, self.first_time, self.most_time)
        self.earliest(self.places, self.first_place, self.most_place)
        self.earliest(self.sights, self.first_sight, self.most_sight)
        return 0

    cdef int earliest(self, vector[At]& sorted_, vector[At]& firsts,
                      vector[At]& mosts) except -1 nogil:
        """At each place, of the versions from there on: which was there first, and when; and which
        stands lowest for certain, and by where."""
        cdef size_t i = sorted_.size()
        cdef At first, most
        cdef Version* v
        first.first = most.first = INF
        first.second = most.second = NOBODY
        firsts.resize(i)
        mosts.resize(i)
        while i > 0:
            i -= 1
            v = &self.versions[<size_t>sorted_[i].second]
            if v.first < first.first:
                first.first, first.second = v.first, sorted_[i].second
            if ends_by(v) < most.first:
                most.first, most.second = ends_by(v), sorted_[i].second
            firsts[i] = first
            mosts[i] = most
        return 0

    cdef int follow(self, Columns* c, size_t base) except -1 nogil:
        """Give each version its successor, and see that it was not seen behind a later one."""
        cdef size_t i
        cdef Version* v
        cdef At first, most
        cdef int64_t began
        for i in range(base, self.versions.size()):
            v = &self.versions[i]
            if v.writer == NOBODY or v.writer == SEVERAL or v.first == INF:
                continue
            first.first = most.first = INF
            first.second = most.second = NOBODY
            began = c.inv[v.writer] if v.writer >= 0 else -1
            # (seen before it was written, it would come after itself)
            if self.better(self.times, self.first_time, self.most_time, max(v.first, began),
                           &first, &most):
                v.by_rindex = 0
            if ends_by(v) != INF and self.better(self.places, self.first_place, self.most_place,
                                                 max(ends_by(v), v.least), &first, &most):
                v.by_rindex = 1
            if (v.lo >= 0 or v.writer == INITIAL) and self.better(
                    self.sights, self.first_sight, self.most_sight, v.lo, &first, &most):
                v.by_rindex = 1
            v.successor = first.second
            if most.second != NOBODY and v.hi >= most.first:
                self.conflicts.push_back(pair[int32_t, int32_t](<int32_t>i, most.second))
        return 0

    cdef bint better(self, vector[At]& sorted_, vector[At]& firsts, vector[At]& mosts,
                     int64_t beyond_, At* first, At* most) noexcept nogil:
        """Take what comes later by one of the three orders, where it is more than is known."""
        cdef size_t at = beyond(sorted_, beyond_)
        cdef bint is_first
        if at >= sorted_.size():
            return False
        is_first = firsts[at].first < first.first
        if is_first:
            first[0] = firsts[at]
        if mosts[at].first < most.first:
            most[0] = mosts[at]
        return is_first

    cdef int count(self, Columns* c, const int32_t* ops, int64_t n) except -1 nogil:
        """Count, for each that saw something, at least how many newer versions were there."""
        cdef int64_t i, ended, older
        cdef int32_t op
        cdef Version* v
        for i in range(n):
            op = ops[i]
            if c.seen[op] < 0:
                continue
            v = &self.versions[<size_t>c.seen[op]]
            if v.writer == NOBODY or v.writer == SEVERAL:
                continue
            ended = below(self.firsts, c.inv[op])
            older = below(self.begins, v.first + 1)
            c.behind[op] = max(<int64_t>0, ended - older)
        return 0

    cdef int overlap(self, size_t base) except -1 nogil:
        """Find versions that were seen at the same stretch of the log; and, as a pair with itself,
        one that was seen before where it can stand."""
        cdef size_t i
        cdef Version* v
        cdef int64_t until = -1
        cdef int32_t last = NOBODY
        self.stretches.clear()
        for i in range(base, self.versions.size()):
            v = &self.versions[i]
            if v.writer == NOBODY or v.writer == SEVERAL or v.lo < 0:
                continue
            if v.writer >= 0 and v.lo < v.least:
                self.conflicts.push_back(pair[int32_t, int32_t](<int32_t>i, <int32_t>i))
            self.stretches.push_back(At(v.lo, <int32_t>i))
        sort(self.stretches.begin(), self.stretches.end())
        for i in range(self.stretches.size()):
            v = &self.versions[<size_t>self.stretches[i].second]
            if last != NOBODY and v.lo <= until:
                self.conflicts.push_back(
                    pair[int32_t, int32_t](last, self.stretches[i].second))
            if v.hi > until:
                until, last = v.hi, self.stretches[i].second
        return 0

    def table_of(self):
        """Return the versions as arrays by name, and the pairs that meet."""
        cdef size_t n = self.versions.size(), i
        cdef Version* v
        columns = {name: np.empty(n, dtype=np.int64) for name in (
            "value", "key", "writer", "first", "first_op", "most", "least", "lo", "hi", "lo_op",
            "hi_op", "successor", "by_rindex")}
        cdef int64_t[::1] value = columns["value"], key = columns["key"]
        cdef int64_t[::1] writer = columns["writer"], first = columns["first"]
        cdef int64_t[::1] first_op = columns["first_op"], most = columns["most"]
        cdef int64_t[::1] least = columns["least"]
        cdef int64_t[::1] lo = columns["lo"], hi = columns["hi"]
        cdef int64_t[::1] lo_op = columns["lo_op"], hi_op = columns["hi_op"]
        cdef int64_t[::1] successor = columns["successor"], by_rindex = columns["by_rindex"]
        for i in range(n):
            v = &self.versions[i]
            value[i], key[i], writer[i], first[i] = v.value, v.key, v.writer, v.first
            first_op[i], most[i], least[i] = v.first_op, v.most, v.least
            lo[i], hi[i] = v.lo, v.hi
            lo_op[i], hi_op[i], successor[i] = v.lo_op, v.hi_op, v.successor
            by_rindex[i] = v.by_rindex
        pairs = [(self.conflicts[i].first, self.conflicts[i].second)
                 for i in range(self.conflicts.size())]
        return columns, pairs


cdef size_t beyond(vector[At]& sorted_, int64_t at) noexcept nogil:
    """Index of the first that is greater."""
    cdef size_t low = 0, high = sorted_.size(), middle
    while low < high:
        middle = (low + high) // 2
        if sorted_[middle].first > at:
            high = middle
        else:
            low = middle + 1
    return low


cdef int64_t below(vector[int64_t]& sorted_, int64_t at) noexcept nogil:
    """How many are less."""
    cdef size_t low = 0, high = sorted_.size(), middle
    while low < high:
        middle = (low + high) // 2
        if sorted_[middle] >= at:
            high = middle
        else:
            low = middle + 1
    return <int64_t>low


def find(operations, rindex, floor, int64_t initial):
    """Find all versions of operations, in the order of their invocations, with their rindexes.

    floor: for each operation the highest rindex that anybody had been shown before it began.
    Returns the versions as columns; the pairs whose stretches of the log meet; for each operation
    the version that it saw (-1: none); and how many newer ones were there when it began.
    """
    cdef const int8_t[::1] kind = operations.kind
    cdef const int32_t[::1] key = operations.key
    cdef const int64_t[::1] a = operations.a, b = operations.b
    cdef const int64_t[::1] inv = operations.inv, ret = operations.ret
    cdef const int64_t[::1] at = np.ascontiguousarray(rindex, dtype=np.int64)
    cdef const int64_t[::1] shown = np.ascontiguousarray(floor, dtype=np.int64)
    cdef int64_t n = kind.shape[0], n_keys = len(operations.keys), i
    cdef Columns c
    cdef Found found = Found()
    seen = np.full(n, NOBODY, dtype=np.int32)
    behind = np.zeros(n, dtype=np.int64)
    cdef int32_t[::1] to_seen = seen
    cdef int64_t[::1] to_behind = behind
    cdef int32_t* order
    cdef int64_t* starts
    cdef bint grouped
    if n == 0:
        columns, pairs = found.table_of()
        return columns, pairs, seen, behind
    if at.shape[0] != n or shown.shape[0] != n:
        raise ValueError(f"{at.shape[0]} rindexes for {n} operations")
    order = <int32_t*>malloc(<size_t>n * sizeof(int32_t))
    starts = <int64_t*>calloc(<size_t>n_keys + 2, sizeof(int64_t))
    try:
        if order is NULL or starts is NULL:
            raise MemoryError(f"no memory for {n} operations")
        grouped = group_by_key(&key[0], n, n_keys, starts, order)
        if not grouped:
            raise ValueError("operations: a key out of range")
        c.kind, c.a, c.b, c.inv, c.ret, c.rindex, c.floor = (
            &kind[0], &a[0], &b[0], &inv[0], &ret[0], &at[0], &shown[0])
        c.seen, c.behind = &to_seen[0], &to_behind[0]
        with nogil:
            for i in range(n_keys):
                found.judge_key(&c, order + starts[i], starts[i + 1] - starts[i], <int32_t>i,
                                initial)
    finally:
        free(order)
        free(starts)
    columns, pairs = found.table_of()
    return columns, pairs, seen, behind
