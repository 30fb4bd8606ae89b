"""Monitor for registers and compare-and-set chains whose written values are all different.

All operations on one value form a *cluster*; clusters that a CAS connects form a *chain*, and
nothing can stand between two operations of a chain. In a chain, let f be the first return and s
the last invocation. X must come before Y exactly when f(X) < s(Y), so the key is linearizable
exactly when every chain is by itself and no two must come before each other: a longer cycle
always holds a cycle of two. One sweep over the zones, sorted by where they begin, finds such a
pair: zones with f < s are disjoint, and none of the others lies inside one of them.

A crashed write took effect if somebody saw its value, else it is dropped: no answer changes by
that. That is all that pending operations cost.

Sources: Gibbons and Korach, "Testing shared memories", SICOMP 1997; Golab, Li, Shah, "Analyzing
consistency properties for fun and profit", PODC 2011 (zones); the chains are ours.

A key with a value that is written twice, an observation of "not this value", or appends is left
to the frontier search.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from seatrial.checker.findings cimport (
    CONTRADICTION, LINEARIZABLE, NO_MEMORY, UNDECIDED, blame, sort_cells,
)
from seatrial.checker.keyed cimport Watch, judge_keys
from seatrial.checker.roles cimport CAS, NOT, READ
from seatrial.checker.room cimport empty_table
from seatrial.checker.tokens cimport INF

cdef enum:
    NOBODY = -1             # in place of an operation or cluster
    INITIAL = -2            # in place of the operation that wrote a cluster's value

cdef struct Cluster:
    int64_t value
    int64_t begin           # invocation and return of who wrote the value
    int64_t end
    int64_t first           # the first return of a read, and the last invocation
    int64_t last
    int32_t writer
    int32_t first_read
    int32_t last_read
    int32_t before          # the clusters that a CAS connects it to
    int32_t after
    bint needed

cdef struct Zone:
    int64_t f
    int64_t s
    int32_t f_cluster
    int32_t s_cluster
    int32_t f_op
    int32_t s_op

cdef struct Monitor:
    Watch at                # first: see keyed.pxd
    Cluster* clusters
    int32_t n_clusters
    int32_t room
    int32_t* table          # by hash of the value: cluster + 1
    size_t buckets
    Zone* zones
    uint64_t* order         # where a zone begins (high bits), which (low 32)
    uint64_t* scratch
    int32_t n_zones
    int32_t zone_room


cdef void monitor_free(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    free(m.clusters)
    free(m.table)
    free(m.zones)
    free(m.order)
    free(m.scratch)


# --- clusters by value --------------------------------------------------------------------------

cdef inline size_t bucket_of(const Monitor* m, int64_t value) noexcept nogil:
    return <size_t>((<uint64_t>value * <uint64_t>0x9E3779B97F4A7C15) >> 24) & (m.buckets - 1)


cdef bint begin_key(Monitor* m) noexcept nogil:
    """Room for as many clusters as there can be, and an empty table."""
    if not empty_table(&m.table, &m.buckets, 2 * <size_t>m.at.n + 2):
        return False
    m.n_clusters = m.n_zones = 0
    return True


cdef int32_t cluster_of(Monitor* m, int64_t value) noexcept nogil:
    """The cluster of a value, made now if need be; NOBODY when there is no memory."""
    cdef size_t i = bucket_of(m, value)
    cdef void* moved
    cdef Cluster* c
    while m.table[i]:
        if m.clusters[m.table[i] - 1].value == value:
            return m.table[i] - 1
        i = (i + 1) & (m.buckets - 1)
    if m.n_clusters >= m.room:
        m.room = 2 * m.room + 256
        moved = realloc(m.clusters, <size_t>m.room * sizeof(Cluster))
        if moved is NULL:
            return NOBODY
        m.clusters = <Cluster*>moved
    c = &m.clusters[m.n_clusters]
    c.value = value
    c.begin, c.end, c.first, c.last = INF, INF, INF, -2
    c.writer = c.first_read = c.last_read = c.before = c.after = NOBODY
    c.needed = False
    m.n_clusters += 1
    m.table[i] = m.n_clusters
    return m.n_clusters - 1


# --- one key ------------------------------------------------------------------------------------

cdef int gather(Monitor* m) noexcept nogil:
    """Put every operation into its cluster."""
    cdef int64_t i
    cdef int32_t op, k
    cdef int role
    cdef Cluster* c
    k = cluster_of(m, m.at.initial)
    if k < 0:
        return NO_MEMORY
    m.clusters[k].begin = m.clusters[k].end = -1
    m.clusters[k].writer = INITIAL
    for i in range(m.at.n):
        op = m.at.ops[i]
        role = m.at.kind[op]
        if role > CAS or role == NOT:
            return UNDECIDED
        if role == CAS and m.at.a[op] == m.at.b[op]:      # changes nothing
            if m.at.ret[op] == INF:
                continue
            role = READ
        k = cluster_of(m, m.at.b[op] if role == CAS else m.at.a[op])
        if k < 0:
            return NO_MEMORY
        c = &m.clusters[k]
        if role == READ:
            c.needed = True
            if m.at.ret[op] < c.first:
                c.first, c.first_read = m.at.ret[op], op
            if m.at.inv[op] > c.last:
                c.last, c.last_read = m.at.inv[op], op
            continue
        if c.writer != NOBODY:
            return UNDECIDED
        c.writer, c.begin, c.end = op, m.at.inv[op], m.at.ret[op]
        if role == CAS and m.at.ret[op] != INF:
            k = cluster_of(m, m.at.a[op])
            if k < 0:
                return NO_MEMORY
            m.clusters[k].needed = True
    return LINEARIZABLE


cdef inline bint is_cas(const Monitor* m, const Cluster* c) noexcept nogil:
    return c.writer >= 0 and m.at.kind[c.writer] == CAS


cdef int need(Monitor* m) noexcept nogil:
    """Whose result was seen took effect, and so saw what it expected."""
    cdef int32_t i = 0, k, j
    while i < m.n_clusters:                         # clusters may be made meanwhile
        k = i
        while m.clusters[k].needed and is_cas(m, &m.clusters[k]) and m.clusters[k].end == INF:
            j = cluster_of(m, m.at.a[m.clusters[k].writer])
            if j < 0:
                return NO_MEMORY
            if m.clusters[j].needed:
                break
            m.clusters[j].needed = True
            k = j
        i += 1
    return LINEARIZABLE


cdef inline bint counts(const Cluster* c) noexcept nogil:
    """Whether a cluster has to have been: seen, or its write returned."""
    return c.needed or c.end != INF


cdef int connect(Monitor* m) noexcept nogil:
    """Connect the clusters that a CAS connects, and see that each was written, and left, once."""
    cdef int32_t i, j
    cdef Cluster* c
    for i in range(m.n_clusters):
        c = &m.clusters[i]
        if not counts(c):
            continue
        if c.writer == NOBODY:
            blame_users(m, c)
            return CONTRADICTION
        if not is_cas(m, c):
            continue
        j = cluster_of(m, m.at.a[c.writer])
        if m.clusters[j].after != NOBODY:
            blame(&m.at.guilty, m.clusters[j].writer)
            blame(&m.at.guilty, m.clusters[m.clusters[j].after].writer)
            blame(&m.at.guilty, c.writer)
            blame(&m.at.guilty, c.first_read)
            blame(&m.at.guilty, m.clusters[m.clusters[j].after].first_read)
            return CONTRADICTION
        m.clusters[j].after = i
        c.before = j
    return LINEARIZABLE


cdef void blame_users(Monitor* m, const Cluster* c) noexcept nogil:
    """Of a value that nobody wrote: who read it, or expected it."""
    cdef int64_t i
    blame(&m.at.guilty, c.first_read)
    if c.first_read == NOBODY:
        for i in range(m.at.n):
            if m.at.kind[m.at.ops[i]] == CAS and m.at.a[m.at.ops[i]] == c.value:
                blame(&m.at.guilty, m.at.ops[i])


cdef void widen(Zone* z, int64_t f, int32_t f_op, int64_t s, int32_t s_op,
                int32_t cluster) noexcept nogil:
    if f < z.f:
        z.f, z.f_op, z.f_cluster = f, f_op, cluster
    if s > z.s:
        z.s, z.s_op, z.s_cluster = s, s_op, cluster


cdef int walk(Monitor* m, int32_t head, Zone* z) noexcept nogil:
    """Walk a chain from its head: each operation must not end before an earlier one began."""
    cdef int32_t i = head
    cdef Cluster* c
    z.f, z.s, z.f_op, z.s_op, z.f_cluster, z.s_cluster = INF, -2, NOBODY, NOBODY, head, head
    while i != NOBODY:
        c = &m.clusters[i]
        if c.end < z.s:
            blame_between(m, z.s_cluster, i)
            blame(&m.at.guilty, z.s_op)
            return CONTRADICTION
        widen(z, c.end, c.writer, c.begin, c.writer, i)
        if c.first < z.s:
            blame_between(m, z.s_cluster, i)
            blame(&m.at.guilty, z.s_op)
            blame(&m.at.guilty, c.first_read)
            return CONTRADICTION
        widen(z, c.first, c.first_read, c.last, c.last_read, i)
        c.needed = True
        c.last = -3                                 # walked
        i = c.after
    return LINEARIZABLE


cdef void blame_between(Monitor* m, int32_t x, int32_t y) noexcept nogil:
    """Blame whoever wrote the values from one cluster of a chain to another, in either order."""
    cdef int32_t i = x
    while i != NOBODY and i != y:
        i = m.clusters[i].after
    if i == NOBODY:
        x, y = y, x
    i = x
    while i != NOBODY:
        blame(&m.at.guilty, m.clusters[i].writer)
        if i == y:
            return
        i = m.clusters[i].after


cdef bint zone_room(Monitor* m) noexcept nogil:
    cdef size_t room = <size_t>m.n_clusters
    if m.n_clusters <= m.zone_room:
        return True
    free(m.zones)
    free(m.order)
    free(m.scratch)
    m.zones = <Zone*>malloc(room * sizeof(Zone))
    m.order = <uint64_t*>malloc(room * 8)
    m.scratch = <uint64_t*>malloc(room * 8)
    m.zone_room = m.n_clusters
    return m.zones is not NULL and m.order is not NULL and m.scratch is not NULL


cdef int walk_chains(Monitor* m) noexcept nogil:
    """Make a zone of every chain."""
    cdef int32_t i
    cdef Zone* z
    if not zone_room(m):
        m.zone_room = 0
        return NO_MEMORY
    for i in range(m.n_clusters):
        if not counts(&m.clusters[i]) or m.clusters[i].before != NOBODY:
            continue
        z = &m.zones[m.n_zones]
        if walk(m, i, z) != LINEARIZABLE:
            return CONTRADICTION
        m.order[m.n_zones] = (<uint64_t>(min(z.f, z.s) + 2) << 32) | <uint32_t>m.n_zones
        m.n_zones += 1
    for i in range(m.n_clusters):
        if counts(&m.clusters[i]) and m.clusters[i].last != -3:     # a circle of CAS
            blame_circle(m, i)
            return CONTRADICTION
    return LINEARIZABLE


cdef void blame_circle(Monitor* m, int32_t i) noexcept nogil:
    cdef int32_t start = i
    while True:
        blame(&m.at.guilty, m.clusters[i].writer)
        blame(&m.at.guilty, m.clusters[i].first_read)
        i = m.clusters[i].after
        if i == start:
            return


cdef int sweep(Monitor* m) noexcept nogil:
    """Find two zones each of which must come before the other."""
    cdef int32_t i
    cdef int64_t until = -2                         # where the last zone with f < s ends
    cdef Zone* z
    cdef Zone* wide = NULL
    sort_cells(&m.order, &m.scratch, m.n_zones)
    for i in range(m.n_zones):
        z = &m.zones[<uint32_t>(m.order[i] & 0xFFFFFFFFu)]
        if z.f < until:
            blame_between(m, wide.f_cluster, wide.s_cluster)
            blame_between(m, z.f_cluster, z.s_cluster)
            blame(&m.at.guilty, wide.f_op)
            blame(&m.at.guilty, wide.s_op)
            blame(&m.at.guilty, z.f_op)
            blame(&m.at.guilty, z.s_op)
            return CONTRADICTION
        if z.f < z.s:
            until = z.s
            wide = z
    return LINEARIZABLE


cdef int judge_key(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    cdef int found
    if not begin_key(m):
        return NO_MEMORY
    found = gather(m)
    if found == LINEARIZABLE:
        found = need(m)
    if found == LINEARIZABLE:
        found = connect(m)
    if found == LINEARIZABLE:
        found = walk_chains(m)
    return sweep(m) if found == LINEARIZABLE else found


def judge(operations, keys, int64_t initial, *, int jobs=1):
    """Judge keys: an array of verdicts (0 linearizable, 1 not, 2 not for this monitor), and for
    each key that is not linearizable the operations that show it.

    Operations are in the order of their invocations. jobs: how many threads.
    """
    return judge_keys(operations, keys, initial, jobs, sizeof(Monitor), judge_key, monitor_free)
