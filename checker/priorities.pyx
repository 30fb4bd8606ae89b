"""Monitor for priority queues whose elements are all different.

Who sees or takes an element needs a moment at which no larger one is in. So elements are judged
from the largest down, and each is given the shortest stay that it can have: it is added as late as
its ``add`` and all that saw it allow, and taken as early as they allow, at moments that larger ones
leave free. Then no choice could leave more to the smaller ones. Where it can be added and taken in
one moment it is in nobody's way. An answer "empty" needs a moment at which nothing is in at all.

Moments are gaps between neighbouring events; those that are taken are skipped by union-find, so
all is linear but for the sorting. After Lee and Mathur, "Efficient decrease-and-conquer
linearizability monitoring", OOPSLA 2025.

A crashed ``add`` that nobody saw is dropped. A crashed ``poll`` may have taken anything: if all can
be explained without those the verdict stands, else the key is left to the search, as are elements
that are added twice.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, qsort

from seatrial.checker.findings cimport (
    CONTRADICTION, LINEARIZABLE, NO_MEMORY, UNDECIDED, blame, sort_cells,
)
from seatrial.checker.keyed cimport Watch, judge_keys
from seatrial.checker.roles cimport ADD, TAKE
from seatrial.checker.room cimport again
from seatrial.checker.tokens cimport ANY, INF, NIL

cdef enum:
    NOBODY = -1

cdef struct Seer:
    int64_t value
    int32_t at              # which operation of the key

cdef struct Element:
    int64_t first           # of its seers, and how many there are: its add among them
    int64_t n
    int32_t add
    int32_t take
    int32_t into            # the gap in which it is added, and the one in which it is taken
    int32_t out

cdef struct Monitor:
    Watch at                # first: see keyed.pxd
    uint64_t* cells         # position (high), operation of the key and which of its events (low)
    uint64_t* scratch
    int32_t* from_          # the gap after an operation's invocation
    int32_t* until          # the gap after its return
    int32_t* after          # union-find: a free gap at or behind this one
    int32_t* before         # 1 + a free gap at or before the one before this
    Seer* seers             # by value, the largest first
    Element* elements
    int32_t gaps
    int64_t n_elements
    int64_t room
    bint unknown            # a crashed poll may have taken anything


cdef void monitor_free(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    free(m.cells)
    free(m.scratch)
    free(m.from_)
    free(m.until)
    free(m.after)
    free(m.before)
    free(m.seers)
    free(m.elements)


cdef bint begin_key(Monitor* m) noexcept nogil:
    cdef size_t n = <size_t>m.at.n
    if m.at.n > m.room:
        m.room = 0
        if not (again(&m.cells, 2 * n * 8) and again(&m.scratch, 2 * n * 8)
                and again(&m.from_, n * 4) and again(&m.until, n * 4)
                and again(&m.after, (2 * n + 2) * 4) and again(&m.before, (2 * n + 2) * 4)
                and again(&m.seers, n * sizeof(Seer))
                and again(&m.elements, n * sizeof(Element))):
            return False
        m.room = m.at.n
    m.n_elements = 0
    m.unknown = False
    return True


cdef void number_gaps(Monitor* m) noexcept nogil:
    """Gap g is what lies between the g-th event and the next one; all are free."""
    cdef int64_t i
    cdef int32_t n = 0, op
    for i in range(m.at.n):
        op = m.at.ops[i]
        m.cells[n] = (<uint64_t>m.at.inv[op] << 32) | <uint32_t>(2 * i)
        n += 1
        if m.at.ret[op] != INF:
            m.cells[n] = (<uint64_t>m.at.ret[op] << 32) | <uint32_t>(2 * i + 1)
            n += 1
    sort_cells(&m.cells, &m.scratch, n)
    m.gaps = n
    for i in range(m.at.n):
        m.until[i] = n
    for i in range(n):
        op = <int32_t>(<uint32_t>m.cells[i] >> 1)
        if m.cells[i] & 1:
            m.until[op] = <int32_t>i
        else:
            m.from_[op] = <int32_t>i
    for i in range(n + 2):
        m.after[i] = m.before[i] = <int32_t>i


cdef inline int32_t root(int32_t* links, int32_t i) noexcept nogil:
    while links[i] != i:
        links[i] = links[links[i]]
        i = links[i]
    return i


cdef inline int32_t free_from(Monitor* m, int32_t gap) noexcept nogil:
    """The first free gap at or behind this one; the number of gaps when there is none."""
    return root(m.after, gap)


cdef inline int32_t free_up_to(Monitor* m, int32_t gap) noexcept nogil:
    """The last free gap at or before this one; -1 when there is none."""
    return root(m.before, gap + 1) - 1


cdef void fill(Monitor* m, int32_t first, int32_t end) noexcept nogil:
    """Something is in during these gaps."""
    cdef int32_t gap = free_from(m, first)
    while gap < end:
        m.after[gap] = gap + 1
        m.before[gap + 1] = gap
        gap = free_from(m, gap + 1)


cdef int larger_first(const void* x, const void* y) noexcept nogil:
    cdef const Seer* a = <const Seer*>x
    cdef const Seer* b = <const Seer*>y
    if a.value != b.value:
        return -1 if a.value > b.value else 1
    return (a.at > b.at) - (a.at < b.at)


cdef int gather(Monitor* m) noexcept nogil:
    """Put every operation to its element, the largest first."""
    cdef int64_t i, n = 0
    cdef int32_t op
    cdef Element* e
    for i in range(m.at.n):
        op = m.at.ops[i]
        if m.at.a[op] == ANY:
            m.unknown = True
        elif m.at.kind[op] == TAKE and m.at.ret[op] == INF:
            return UNDECIDED
        elif m.at.a[op] != NIL:
            m.seers[n].value, m.seers[n].at = m.at.a[op], <int32_t>i
            n += 1
    qsort(m.seers, <size_t>n, sizeof(Seer), larger_first)
    for i in range(n):
        op = m.at.ops[m.seers[i].at]
        if i == 0 or m.seers[i].value != m.seers[i - 1].value:
            e = &m.elements[m.n_elements]
            m.n_elements += 1
            e.first, e.n, e.add, e.take = i, 0, NOBODY, NOBODY
        e.n += 1
        if m.at.kind[op] == ADD:
            if e.add != NOBODY:
                return UNDECIDED
            e.add = m.seers[i].at
    return taken_once(m)


cdef int taken_once(Monitor* m) noexcept nogil:
    cdef int64_t i, j
    cdef int32_t at
    cdef Element* e
    for i in range(m.n_elements):
        e = &m.elements[i]
        for j in range(e.first, e.first + e.n):
            at = m.seers[j].at
            if m.at.kind[m.at.ops[at]] == TAKE:
                if e.take != NOBODY:
                    blame_element(m, e)
                    return CONTRADICTION
                e.take = at
    return LINEARIZABLE


cdef void blame_element(Monitor* m, const Element* e) noexcept nogil:
    cdef int64_t i
    for i in range(e.first, e.first + e.n):
        blame(&m.at.guilty, m.at.ops[m.seers[i].at])


cdef bint place(Monitor* m, Element* e) noexcept nogil:
    """Give an element its shortest stay; False when there is none."""
    cdef int64_t i
    cdef int32_t at, soonest, latest
    if e.add == NOBODY:
        return False
    e.into, e.out = m.until[e.add] - 1, m.from_[e.add]
    for i in range(e.first, e.first + e.n):
        at = m.seers[i].at
        if at == e.add:
            continue
        soonest = free_from(m, max(m.from_[at], m.from_[e.add]))
        latest = free_up_to(m, m.until[at] - 1)
        if soonest > latest:
            return False
        e.into, e.out = min(e.into, latest), max(e.out, soonest)
    if e.take == NOBODY:
        e.out = m.gaps
    elif e.out >= m.until[e.take]:
        return False                                # seen when it had been taken
    fill(m, e.into + 1, e.out)
    return True


cdef int in_order(Monitor* m) noexcept nogil:
    """Place all elements, the largest first."""
    cdef int64_t i
    cdef Element* e
    for i in range(m.n_elements):
        e = &m.elements[i]
        if e.n == 1 and e.add != NOBODY and m.until[e.add] == m.gaps:
            e.into, e.out = m.gaps, m.gaps          # crashed, and nobody saw it
        elif not place(m, e):
            blame_above(m, i)
            return CONTRADICTION
    return LINEARIZABLE


cdef int empty_when_said(Monitor* m) noexcept nogil:
    """Each answer "empty" needs a gap in which nothing is in."""
    cdef int64_t i
    for i in range(m.at.n):
        if m.at.a[m.at.ops[i]] == NIL and free_from(m, m.from_[i]) >= m.until[i]:
            blame(&m.at.guilty, m.at.ops[i])
            blame_cover(m, m.n_elements, m.from_[i], m.until[i])
            return CONTRADICTION
    return LINEARIZABLE


cdef void blame_cover(Monitor* m, int64_t above, int32_t gap, int32_t end) noexcept nogil:
    """Blame some of the first elements that are in during these gaps, each as far as it reaches."""
    cdef int64_t i, best
    while gap < end:
        best = NOBODY
        for i in range(above):
            if m.elements[i].into < gap < m.elements[i].out and (
                    best == NOBODY or m.elements[i].out > m.elements[best].out):
                best = i
        if best == NOBODY:
            return
        blame_element(m, &m.elements[best])
        gap = m.elements[best].out


cdef void blame_above(Monitor* m, int64_t i) noexcept nogil:
    """Blame an element that has no place, and those that are in its way."""
    cdef Element* e = &m.elements[i]
    cdef int64_t j
    cdef int32_t at
    blame_element(m, e)
    if e.add == NOBODY:
        return
    for j in range(e.first, e.first + e.n):
        at = m.seers[j].at
        blame_cover(m, i, max(m.from_[at], m.from_[e.add]), m.until[at])


cdef int judge_key(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    cdef int found
    if not begin_key(m):
        return NO_MEMORY
    found = gather(m)
    if found != LINEARIZABLE:
        return found
    number_gaps(m)
    found = in_order(m)
    if found == LINEARIZABLE:
        found = empty_when_said(m)
    return UNDECIDED if found == CONTRADICTION and m.unknown else found


def judge(operations, keys, *, int jobs=1):
    """Judge keys: an array of verdicts (0 linearizable, 1 not, 2 not for this monitor), and for
    each key that is not linearizable operations that show it.

    jobs: how many threads.
    """
    return judge_keys(operations, keys, 0, jobs, sizeof(Monitor), judge_key, monitor_free)
