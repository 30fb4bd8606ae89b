"""Monitor for sets that only grow, and logs that are appended to, with reads of the whole.

What reads show must grow: of two reads one shows all that the other does (a log: begins with it).
So reads and the elements that they show lie on levels, and an order must go level by level:

==== ============================================= ===========================================
     element                                       read
==== ============================================= ===========================================
log  at position p: 2p + 1                         of length k: 2k
set  first shown by the k-th larger read: 2k - 1   the k-th larger one: 2k
==== ============================================= ===========================================

An element that no read shows came after all reads; if it crashed it is left out. The history is
linearizable exactly when no operation ended before one of a lower level began.

Left to the frontier search: elements that are added twice, removed, or asked for one by one, and
strings that grow.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp

from seatrial.checker.findings cimport (
    CONTRADICTION, LINEARIZABLE, NO_MEMORY, UNDECIDED, blame, sort_cells,
)
from seatrial.checker.keyed cimport Watch, judge_keys
from seatrial.checker.problem cimport LIST
from seatrial.checker.roles cimport ADD, ALL, APPEND, READ, Role
from seatrial.checker.room cimport again, empty_table
from seatrial.checker.steps cimport SET
from seatrial.checker.tokens cimport INF, NIL, OBJECTS

cdef enum:
    NOBODY = -1

cdef struct Member:
    int64_t value
    int32_t add
    int32_t level           # 0: not shown yet

cdef struct Level:
    int64_t ends            # the first return, and the last invocation on this level
    int64_t begins
    int32_t ending
    int32_t beginning

cdef struct Monitor:
    Watch at                # first: see keyed.pxd
    bint is_set
    Member* members
    int32_t n_members
    int32_t room
    int32_t* table          # by hash of the value: member + 1
    size_t buckets
    uint64_t* reads         # length (high), operation (low)
    uint64_t* scratch
    int32_t n_reads
    int64_t read_room
    Level* levels
    int64_t level_room
    int64_t n_levels


cdef void monitor_free(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    free(m.members)
    free(m.table)
    free(m.reads)
    free(m.scratch)
    free(m.levels)


cdef bint begin_key(Monitor* m) noexcept nogil:
    cdef size_t n = <size_t>m.at.n
    if not empty_table(&m.table, &m.buckets, n):
        return False
    if m.at.n > m.read_room:
        m.read_room = 0
        if not (again(&m.reads, n * 8) and again(&m.scratch, n * 8)):
            return False
        m.read_room = m.at.n
    m.n_members = m.n_reads = 0
    return True


cdef Member* member(Monitor* m, int64_t value, bint make) noexcept nogil:
    """The member with a value; NULL when there is none (or no memory to make it)."""
    cdef size_t i = <size_t>((<uint64_t>value * <uint64_t>0x9E3779B97F4A7C15) >> 24)
    cdef void* moved
    i &= m.buckets - 1
    while m.table[i]:
        if m.members[m.table[i] - 1].value == value:
            return &m.members[m.table[i] - 1]
        i = (i + 1) & (m.buckets - 1)
    if not make:
        return NULL
    if m.n_members >= m.room:
        moved = realloc(m.members, (2 * <size_t>m.room + 256) * sizeof(Member))
        if moved is NULL:
            return NULL
        m.members = <Member*>moved
        m.room = 2 * m.room + 256
    m.members[m.n_members].value = value
    m.members[m.n_members].add = NOBODY
    m.members[m.n_members].level = 0
    m.n_members += 1
    m.table[i] = m.n_members
    return &m.members[m.n_members - 1]


cdef const int64_t* shown(const Monitor* m, int32_t read, int64_t* length) noexcept nogil:
    cdef int64_t i = m.at.a[read]
    length[0] = 0
    if i == NIL:
        return NULL
    i -= OBJECTS
    length[0] = m.at.path_start[i + 1] - m.at.path_start[i]
    return m.at.symbols + m.at.path_start[i]


cdef int gather(Monitor* m) noexcept nogil:
    cdef int64_t i, length, most = 0
    cdef int32_t op
    cdef Role role
    cdef Member* e
    cdef void* moved
    for i in range(m.at.n):
        op = m.at.ops[i]
        role = <Role>m.at.kind[op]
        if role == (ALL if m.is_set else READ):
            if m.at.a[op] != NIL and (m.at.a[op] < OBJECTS
                                      or m.at.shape[m.at.a[op] - OBJECTS] != LIST):
                return UNDECIDED
            shown(m, op, &length)
            most = max(most, length)
            m.reads[m.n_reads] = (<uint64_t>length << 32) | <uint32_t>op
            m.n_reads += 1
            continue
        if role != (ADD if m.is_set else APPEND) or m.at.a[op] == NIL or (
                m.at.a[op] >= OBJECTS and m.at.shape[m.at.a[op] - OBJECTS] == LIST):
            return UNDECIDED
        e = member(m, m.at.a[op], True)
        if e is NULL:
            return NO_MEMORY
        if e.add != NOBODY:
            return UNDECIDED
        e.add = op
    m.n_levels = 2 * most + 2
    if m.n_levels > m.level_room:
        moved = realloc(m.levels, <size_t>m.n_levels * sizeof(Level))
        if moved is NULL:
            return NO_MEMORY
        m.levels = <Level*>moved
        m.level_room = m.n_levels
    for i in range(m.n_levels):
        m.levels[i].ends, m.levels[i].begins = INF, -1
        m.levels[i].ending = m.levels[i].beginning = NOBODY
    return LINEARIZABLE


cdef void enter(Monitor* m, int64_t level, int32_t op) noexcept nogil:
    cdef Level* at = &m.levels[level]
    if m.at.ret[op] < at.ends:
        at.ends, at.ending = m.at.ret[op], op
    if m.at.inv[op] > at.begins:
        at.begins, at.beginning = m.at.inv[op], op


cdef int grow(Monitor* m) noexcept nogil:
    """Take the reads, the shortest first: each must show all that the one before showed."""
    cdef int32_t i, op, known, before = NOBODY, group = 0
    cdef int64_t length, j, last = 0
    cdef const int64_t* path
    cdef const int64_t* old = NULL
    cdef Member* e
    for i in range(m.n_reads):
        op = <int32_t><uint32_t>m.reads[i]
        path = shown(m, op, &length)
        if not m.is_set and last and memcmp(path, old, <size_t>last * 8) != 0:
            return apart(m, before, op)
        group += length > last
        known = 0
        for j in range(0 if m.is_set else last, length):
            e = member(m, path[j], False)
            if e is NULL:
                blame(&m.at.guilty, op)
                return CONTRADICTION
            if e.level:
                known += 1
                continue
            e.level = <int32_t>(2 * group - 1 if m.is_set else 2 * j + 1)
            enter(m, e.level, e.add)
        if m.is_set and known != last:
            return apart(m, before, op)
        if not m.is_set and known:                  # appended once, shown twice
            blame(&m.at.guilty, op)
            return CONTRADICTION
        enter(m, 2 * group if m.is_set else 2 * length, op)
        before, old, last = op, path, length
    for i in range(m.n_members):
        e = &m.members[i]
        if e.level == 0 and m.at.ret[e.add] != INF:
            enter(m, m.n_levels - 1, e.add)
    return LINEARIZABLE


cdef int apart(Monitor* m, int32_t x, int32_t y) noexcept nogil:
    blame(&m.at.guilty, x)
    blame(&m.at.guilty, y)
    return CONTRADICTION


cdef int sweep(Monitor* m) noexcept nogil:
    """Nothing may end before something of a lower level began."""
    cdef int64_t i, begun = -1
    cdef int32_t beginning = NOBODY
    for i in range(m.n_levels):
        if m.levels[i].ends < begun:
            return apart(m, beginning, m.levels[i].ending)
        if m.levels[i].begins > begun:
            begun, beginning = m.levels[i].begins, m.levels[i].beginning
    return LINEARIZABLE


cdef bint shows_twice(Monitor* m) noexcept nogil:
    """Whether some read of a set names an element twice: sets are told by their sizes here."""
    cdef int32_t i
    cdef int64_t length, j
    cdef const int64_t* path
    cdef Member* e
    for i in range(m.n_reads):
        path = shown(m, <int32_t><uint32_t>m.reads[i], &length)
        for j in range(length):
            e = member(m, path[j], False)
            if e is not NULL:
                if e.level == -i - 1:
                    return True
                e.level = -i - 1
    for i in range(m.n_members):
        m.members[i].level = 0
    return False


cdef int judge_key(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    cdef int found
    m.is_set = m.at.family == SET
    if not m.is_set and m.at.mode != 1:
        return UNDECIDED                            # no list is appended to
    if not begin_key(m):
        return NO_MEMORY
    found = gather(m)
    if found != LINEARIZABLE:
        return found
    if m.is_set and shows_twice(m):
        return UNDECIDED
    sort_cells(&m.reads, &m.scratch, m.n_reads)
    found = grow(m)
    return sweep(m) if found == LINEARIZABLE else found


def judge(operations, keys, *, int jobs=1):
    """Judge keys: an array of verdicts (0 linearizable, 1 not, 2 not for this monitor), and for
    each key that is not linearizable the operations that show it.

    Operations are in the order of their invocations. jobs: how many threads.
    """
    return judge_keys(operations, keys, 0, jobs, sizeof(Monitor), judge_key, monitor_free)
