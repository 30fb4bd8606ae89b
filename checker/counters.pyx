"""Monitor for counters to which always the same is added: reads tell how often.

Additions are alike, so let each take effect as late as it may: when it returns, or when a read that
saw more of them does, those in flight that return first before the others (an exchange argument).
Then at every moment as few have taken effect as in any order that explains the history so far, and
a read can be explained exactly when it saw no fewer than there were when it was invoked, and no
more than had been invoked when it returned. One sweep, with a heap of what is in flight. An
addition that crashed is one that never returns.

Where different numbers are added, which of them a read saw is a question of subset sums, which is
NP-complete (Garey and Johnson 1979, SP13): such keys are left to the search, unless a read saw less
than all that may count against it, or more than all that may count for it, allows.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, llabs

from seatrial.checker.findings cimport (
    CONTRADICTION, LINEARIZABLE, NO_MEMORY, UNDECIDED, sort_cells,
)
from seatrial.checker.keyed cimport Watch, judge_keys
from seatrial.checker.roles cimport COUNT, INCREASE
from seatrial.checker.room cimport again
from seatrial.checker.tokens cimport INF, NIL

cdef int64_t LATE = 0xFFFFFFFF, MOST = <int64_t>1 << 62

cdef struct Monitor:
    Watch at                # first: see keyed.pxd
    uint64_t* begins        # position of the invocation (high), which operation of the key (low)
    uint64_t* ends          # position of the return (high), the same
    uint64_t* scratch
    uint64_t* flying        # a heap of additions, by their ends
    int64_t n_flying
    int64_t* least          # of a read: additions when it began; of those: whether it took effect
    int64_t* most
    int64_t room


cdef void monitor_free(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    free(m.begins)
    free(m.ends)
    free(m.scratch)
    free(m.flying)
    free(m.least)
    free(m.most)


cdef bint begin_key(Monitor* m) noexcept nogil:
    cdef size_t n = <size_t>m.at.n
    if m.at.n > m.room:
        m.room = 0
        if not (again(&m.begins, n * 8) and again(&m.ends, n * 8) and again(&m.scratch, n * 8)
                and again(&m.flying, n * 8) and again(&m.least, n * 8)
                and again(&m.most, n * 8)):
            return False
        m.room = m.at.n
    m.n_flying = 0
    return True


cdef inline void takes_off(Monitor* m, uint64_t addition) noexcept nogil:
    cdef int64_t at = m.n_flying
    m.n_flying += 1
    while at and m.flying[(at - 1) >> 1] > addition:
        m.flying[at] = m.flying[(at - 1) >> 1]
        at = (at - 1) >> 1
    m.flying[at] = addition


cdef inline int64_t lands(Monitor* m) noexcept nogil:
    """Which of those in flight ends first; the heap is not empty."""
    cdef uint64_t first = m.flying[0], last
    cdef int64_t at = 0, child = 1
    m.n_flying -= 1
    last = m.flying[m.n_flying]
    while child < m.n_flying:
        if child + 1 < m.n_flying and m.flying[child + 1] < m.flying[child]:
            child += 1
        if m.flying[child] >= last:
            break
        m.flying[at] = m.flying[child]
        at, child = child, 2 * child + 1
    m.flying[at] = last
    return <uint32_t>first


cdef int beyond_bounds(Monitor* m, int64_t start, int32_t n_ends) noexcept nogil:
    """Whether a read saw what no choice of additions makes, their sizes apart.

    All that ended before the read began count; those that began before it ended may. ``least``
    and ``most`` of a read: the sum of what had ended when it began, with the rest below 0 or above.
    """
    cdef int64_t ended_up = 0, ended_down = 0, begun_up = 0, begun_down = 0, next_ = 0, i, saw
    cdef int32_t j, op
    for j in range(n_ends):
        while next_ < m.at.n and m.begins[next_] >> 32 <= m.ends[j] >> 32:
            i = <uint32_t>m.begins[next_]
            op = m.at.ops[i]
            if m.at.kind[op] == COUNT:
                m.least[i], m.most[i] = ended_up, ended_down
            elif m.at.a[op] > 0:
                begun_up += m.at.a[op]
            else:
                begun_down += m.at.a[op]
            next_ += 1
        i = <uint32_t>m.ends[j]
        op = m.at.ops[i]
        saw = m.at.a[op]
        if m.at.kind[op] == COUNT:
            saw -= start
            if saw < m.least[i] + begun_down or saw > begun_up + m.most[i]:
                return CONTRADICTION
        elif saw > 0:
            ended_up += saw
        else:
            ended_down += saw
    return UNDECIDED


cdef int judge_key(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    cdef int64_t start = 0 if m.at.initial == NIL else m.at.initial
    cdef int64_t amount = 0, invoked = 0, now = 0, next_ = 0, saw, i, first
    cdef int32_t op, n_ends = 0, j
    cdef bint mixed = False
    cdef int64_t largest = 0
    if not begin_key(m):
        return NO_MEMORY
    for i in range(m.at.n):
        op = m.at.ops[i]
        m.begins[i] = (<uint64_t>m.at.inv[op] << 32) | <uint32_t>i
        if m.at.kind[op] == INCREASE and m.at.a[op] != 0:
            largest = max(largest, llabs(m.at.a[op]))
            mixed |= amount != 0 and m.at.a[op] != amount
            amount = m.at.a[op]
        if m.at.ret[op] != INF:
            m.ends[n_ends] = (<uint64_t>m.at.ret[op] << 32) | <uint32_t>i
            n_ends += 1
    sort_cells(&m.begins, &m.scratch, <int32_t>m.at.n)
    sort_cells(&m.ends, &m.scratch, n_ends)
    if mixed and largest > MOST // m.at.n:
        return UNDECIDED                            # their sum might not fit
    if mixed:
        return beyond_bounds(m, start, n_ends)
    for j in range(n_ends):
        while next_ < m.at.n and m.begins[next_] >> 32 <= m.ends[j] >> 32:
            i = <uint32_t>m.begins[next_]
            op = m.at.ops[i]
            if m.at.kind[op] == COUNT:
                m.least[i] = now
            else:
                m.least[i] = m.at.a[op] == 0
                if m.at.a[op] != 0:
                    invoked += 1
                    takes_off(m, <uint64_t>min(m.at.ret[op], LATE) << 32 | <uint32_t>i)
            next_ += 1
        op = m.at.ops[<uint32_t>m.ends[j]]
        if m.at.kind[op] == INCREASE:
            now += not m.least[<uint32_t>m.ends[j]]
            m.least[<uint32_t>m.ends[j]] = True
            continue
        saw = m.at.a[op] - start
        if amount != 0:
            if saw % amount != 0:
                return CONTRADICTION
            saw //= amount
        elif saw != 0:
            return CONTRADICTION
        if saw > invoked or saw < m.least[<uint32_t>m.ends[j]]:
            return CONTRADICTION
        while now < saw:
            first = lands(m)
            now += not m.least[first]
            m.least[first] = True
    return LINEARIZABLE


def judge(operations, keys, int64_t initial, *, int jobs=1):
    """Judge keys: an array of verdicts (0 linearizable, 1 not, 2 not for this monitor).

    jobs: how many threads.
    """
    return judge_keys(operations, keys, initial, jobs, sizeof(Monitor), judge_key,
                      monitor_free)[0]
