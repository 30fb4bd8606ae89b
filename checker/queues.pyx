"""Monitor for queues, unordered queues and stacks whose elements are all different.

For each element: it was added before it was seen, seen before it was taken; so its ``add`` took
effect by the first return of those that saw it, and its ``take`` not before the last invocation
of those. With times narrowed in this way a history is linearizable exactly when

- no element is taken twice, or taken without having been added, or gone before it was added;
- FIFO: there are no a, b with add(a) before add(b) and take(b) before take(a), where an element
  that nobody took is taken at the end of time;
- FIFO with ``peek``: nobody saw another element at the head between two who saw this one there
  (zones as those of registers: Gibbons & Korach, SICOMP 1997);
- stack: the times during which elements are in can be chosen so that they nest (stacks.pxd);
- stack with ``peek``: each operation has a moment at which nothing is in its way (layers.pxd);
- each answer "empty" overlaps a moment at which no element is certainly in.

Sources: Henzinger, Sezgin, Vafeiadis, "Aspect-oriented linearizability proofs", CONCUR 2013;
Bouajjani, Emmi, Enea, Hamza, "On reducing linearizability to state reachability", ICALP 2015.

A crashed ``add`` that nobody saw is dropped. A crashed ``take`` may have taken any element: without
it a queue can only hold more, so if all can be explained without those the verdict stands, else
the key is left to the frontier search; so are elements that are added twice.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from seatrial.checker.findings cimport (
    CONTRADICTION, LINEARIZABLE, NO_MEMORY, UNDECIDED, blame, sort_cells,
)
from seatrial.checker.keyed cimport Watch, judge_keys
from seatrial.checker.layers cimport Layer, Part, peel
from seatrial.checker.roles cimport ADD, PEEK, TAKE
from seatrial.checker.room cimport again, empty_table
from seatrial.checker.stacks cimport Stay, nest
from seatrial.checker.steps cimport FIFO, STACK
from seatrial.checker.tokens cimport ANY, INF, NIL

cdef enum:
    NOBODY = -1

cdef struct Element:
    int64_t value
    int64_t add_inv
    int64_t add_ret         # narrowed: seen by then
    int64_t take_inv        # narrowed: still in
    int64_t take_ret
    int32_t add
    int32_t take
    int64_t head_ret        # it was the next one by then: who saw or took it had returned
    int32_t by              # whose return, and whose invocation, the narrowed times are
    int32_t still
    bint seen

cdef struct Monitor:
    Watch at                # first: see keyed.pxd
    Element* elements
    int32_t n_elements
    int32_t room
    int32_t* table          # by hash of the value: element + 1
    size_t buckets
    uint64_t* starts        # position (high), element (low)
    uint64_t* ends
    uint64_t* empties       # position of the return, operation
    uint64_t* scratch
    int32_t n_starts
    int32_t n_ends
    int32_t n_empties
    int64_t cell_room
    bint unknown            # a crashed take may have taken anything
    bint peeks              # somebody looked at the next element


cdef void monitor_free(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    free(m.elements)
    free(m.table)
    free(m.starts)
    free(m.ends)
    free(m.empties)
    free(m.scratch)


cdef bint begin_key(Monitor* m) noexcept nogil:
    """Room for as many elements as there can be, and an empty table."""
    cdef size_t n = <size_t>m.at.n
    if not empty_table(&m.table, &m.buckets, n):
        return False
    if m.at.n > m.cell_room:
        m.cell_room = 0
        if not (again(&m.starts, n * 8) and again(&m.ends, n * 8) and again(&m.empties, n * 8)
                and again(&m.scratch, n * 8)):
            return False
        m.cell_room = m.at.n
    m.n_elements = m.n_starts = m.n_ends = m.n_empties = 0
    m.unknown = m.peeks = False
    return True


cdef Element* element_of(Monitor* m, int64_t value) noexcept nogil:
    """The element with a value, made now if need be; NULL without memory."""
    cdef size_t i = <size_t>((<uint64_t>value * <uint64_t>0x9E3779B97F4A7C15) >> 24)
    cdef void* moved
    cdef Element* e
    i &= m.buckets - 1
    while m.table[i]:
        if m.elements[m.table[i] - 1].value == value:
            return &m.elements[m.table[i] - 1]
        i = (i + 1) & (m.buckets - 1)
    if m.n_elements >= m.room:
        moved = realloc(m.elements, (2 * <size_t>m.room + 256) * sizeof(Element))
        if moved is NULL:
            return NULL
        m.elements = <Element*>moved
        m.room = 2 * m.room + 256
    e = &m.elements[m.n_elements]
    m.n_elements += 1
    m.table[i] = m.n_elements
    e.value = value
    e.add_inv, e.add_ret, e.take_inv, e.take_ret, e.head_ret = -1, INF, -1, INF, INF
    e.add = e.take = e.by = e.still = NOBODY
    e.seen = False
    return e


cdef int gather(Monitor* m) noexcept nogil:
    """Put every operation to its element."""
    cdef int64_t i
    cdef int32_t op
    cdef Element* e
    for i in range(m.at.n):
        op = m.at.ops[i]
        if m.at.a[op] == NIL:
            m.empties[m.n_empties] = (<uint64_t>m.at.ret[op] << 32) | <uint32_t>op
            m.n_empties += 1
            continue
        if m.at.a[op] == ANY:
            m.unknown = True
            continue
        m.peeks |= m.at.kind[op] == PEEK
        if m.at.kind[op] == TAKE and m.at.ret[op] == INF:
            return UNDECIDED
        e = element_of(m, m.at.a[op])
        if e is NULL:
            return NO_MEMORY
        if m.at.kind[op] == ADD:
            if e.add != NOBODY:
                return UNDECIDED
            e.add, e.add_inv = op, m.at.inv[op]
            if m.at.ret[op] < e.add_ret:
                e.add_ret, e.by = m.at.ret[op], op
            continue
        e.seen = True
        if m.at.kind[op] == TAKE:
            if e.take != NOBODY:
                return taken_twice(m, e, op)
            e.take, e.take_ret = op, m.at.ret[op]
        e.head_ret = min(e.head_ret, m.at.ret[op])
        if m.at.ret[op] < e.add_ret:
            e.add_ret, e.by = m.at.ret[op], op
        if m.at.inv[op] > e.take_inv:
            e.take_inv, e.still = m.at.inv[op], op
    return LINEARIZABLE


cdef int taken_twice(Monitor* m, const Element* e, int32_t op) noexcept nogil:
    """One element, taken twice: a violation, unless it was added twice, too."""
    cdef int64_t i
    cdef int adds = 0
    for i in range(m.at.n):
        if m.at.kind[m.at.ops[i]] == ADD and m.at.a[m.at.ops[i]] == e.value:
            adds += 1
            blame(&m.at.guilty, m.at.ops[i])
    blame(&m.at.guilty, e.take)
    blame(&m.at.guilty, op)
    return CONTRADICTION if adds < 2 else UNDECIDED


cdef int narrow(Monitor* m) noexcept nogil:
    """Judge each element alone, and sort those that have to have been in."""
    cdef int32_t i
    cdef Element* e
    for i in range(m.n_elements):
        e = &m.elements[i]
        if e.add != NOBODY and e.add_ret == INF:
            continue                                # crashed, and nobody saw it
        if e.add == NOBODY or e.add_ret < e.add_inv or e.take_ret < e.take_inv:
            blame(&m.at.guilty, e.add)
            blame(&m.at.guilty, e.take)
            blame(&m.at.guilty, e.by)
            blame(&m.at.guilty, e.still)
            return CONTRADICTION
        if e.add_inv > e.take_inv:
            e.take_inv, e.still = e.add_inv, e.add
        if e.take == NOBODY:
            e.take_inv, e.still = INF, NOBODY
        m.starts[m.n_starts] = (<uint64_t>e.add_ret << 32) | <uint32_t>i
        m.n_starts += 1
    return LINEARIZABLE


cdef int in_order(Monitor* m) noexcept nogil:
    """FIFO: what was added before must not be taken after. One sweep over the times of adds.

    ``starts`` is sorted by when adds had taken effect; ``ends`` by when they were invoked.
    """
    cdef int32_t i, j = 0, last = NOBODY
    cdef Element* b
    for i in range(m.n_starts):
        b = &m.elements[<uint32_t>m.starts[i]]
        m.ends[i] = (<uint64_t>b.add_inv << 32) | <uint32_t>m.starts[i]
    sort_cells(&m.ends, &m.scratch, m.n_starts)
    for i in range(m.n_starts):
        b = &m.elements[<uint32_t>m.ends[i]]
        while j < m.n_starts and m.starts[j] >> 32 < <uint64_t>b.add_inv:
            if last == NOBODY or (m.elements[<uint32_t>m.starts[j]].take_inv
                                  > m.elements[last].take_inv):
                last = <int32_t><uint32_t>m.starts[j]
            j += 1
        if last != NOBODY and m.elements[last].take_inv > b.head_ret:
            blame_element(m, &m.elements[last])
            blame_element(m, b)
            return CONTRADICTION
    return LINEARIZABLE


cdef void blame_element(Monitor* m, const Element* e) noexcept nogil:
    blame(&m.at.guilty, e.add)
    blame(&m.at.guilty, e.by)
    blame(&m.at.guilty, e.take)
    blame(&m.at.guilty, e.still)


cdef int one_at_the_head(Monitor* m) noexcept nogil:
    """FIFO with peeks: an element is the next one all the time from one who saw that to another.

    So these times are disjoint, and who could have been the next one within such a time of another
    was so before or after it: then only the order is left to judge. ``starts`` is in no order yet.
    """
    cdef int32_t i, n = 0
    cdef Element* e
    cdef Element* other
    for i in range(m.n_starts):
        e = &m.elements[<uint32_t>m.starts[i]]
        if e.head_ret < e.take_inv:
            m.ends[n] = (<uint64_t>e.head_ret << 32) | <uint32_t>m.starts[i]
            n += 1
    sort_cells(&m.ends, &m.scratch, n)
    for i in range(1, n):
        e, other = &m.elements[<uint32_t>m.ends[i - 1]], &m.elements[<uint32_t>m.ends[i]]
        if other.head_ret < e.take_inv:
            blame_all_of(m, e)
            blame_all_of(m, other)
            return CONTRADICTION
    for i in range(m.n_starts):
        e = &m.elements[<uint32_t>m.starts[i]]
        if e.head_ret < e.take_inv:
            continue
        other = at_the_head(m, e.take_inv, n)
        if other is not NULL:
            e.take_inv = other.take_inv
        other = at_the_head(m, e.head_ret, n)
        if other is not NULL:
            e.head_ret = other.head_ret
        if e.head_ret < e.take_inv:                 # within the time of that other
            blame_all_of(m, e)
            blame_all_of(m, other)
            return CONTRADICTION
        e.add_ret = min(e.add_ret, e.head_ret)
        m.starts[i] = (<uint64_t>e.add_ret << 32) | <uint32_t>m.starts[i]
    return LINEARIZABLE


cdef Element* at_the_head(Monitor* m, int64_t now, int32_t n) noexcept nogil:
    """Which element was certainly the next one at this time; NULL: who knows."""
    cdef int32_t low = 0, high = n, middle
    cdef Element* e
    while low < high:                               # the first that begins later
        middle = (low + high) >> 1
        if <int64_t>(m.ends[middle] >> 32) < now:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return NULL
    e = &m.elements[<uint32_t>m.ends[low - 1]]
    return e if now < e.take_inv else NULL


cdef void blame_all_of(Monitor* m, const Element* e) noexcept nogil:
    cdef int64_t i
    for i in range(m.at.n):
        if m.at.a[m.at.ops[i]] == e.value:
            blame(&m.at.guilty, m.at.ops[i])


cdef int nested(Monitor* m) noexcept nogil:
    """Stack: the times during which elements are in must nest."""
    cdef Stay* stays = <Stay*>malloc((<size_t>m.n_starts + 1) * sizeof(Stay))
    cdef Element* e
    cdef int32_t i, n = 0, first = 0
    if stays is NULL:
        return NO_MEMORY
    for i in range(m.n_starts):
        e = &m.elements[<uint32_t>m.starts[i]]
        if e.add_ret >= e.take_inv:
            continue                                # in and out in an instant
        stays[n].a, stays[n].b, stays[n].c, stays[n].d = (
            e.add_inv, e.add_ret, min(e.take_inv, INF - 1), e.take_ret)
        stays[n].element = <int32_t><uint32_t>m.starts[i]
        n += 1
    n = nest(stays, n, &first)
    for i in range(first, first + n):
        blame_element(m, &m.elements[stays[i].element])
    free(stays)
    return CONTRADICTION if n else LINEARIZABLE


cdef int32_t gap_of(const uint64_t* cells, int32_t n, int64_t position) noexcept nogil:
    """The gap behind the event at a position; the last one where that does not come."""
    cdef int32_t low = 0, high = n, middle
    while low < high:
        middle = (low + high) >> 1
        if <int64_t>(cells[middle] >> 32) < position:
            low = middle + 1
        else:
            high = middle
    return low


cdef int32_t add_part(Part* parts, int32_t n, int32_t element, int32_t first,
                      int32_t end) noexcept nogil:
    parts[n].element, parts[n].first, parts[n].end = element, first, end
    return n + 1


cdef int peeled(Monitor* m) noexcept nogil:
    """Stack with peeks: each operation needs a moment at which nothing is in the way.

    What is never taken is taken in one last gap, behind all events, which nothing covers.
    """
    cdef int32_t n = <int32_t>m.at.n, events = 0, n_parts = 0, i, j, op
    cdef int64_t left = -1
    cdef uint64_t* cells = <uint64_t*>malloc((2 * <size_t>n + 1) * 8)
    cdef uint64_t* scratch = <uint64_t*>malloc((2 * <size_t>n + 1) * 8)
    cdef Part* parts = <Part*>malloc((3 * <size_t>n + 1) * sizeof(Part))
    cdef Layer* layers = <Layer*>malloc((<size_t>m.n_elements + 1) * sizeof(Layer))
    cdef Layer* layer
    cdef Element* e
    if cells is not NULL and scratch is not NULL and parts is not NULL and layers is not NULL:
        for i in range(n):
            cells[events] = <uint64_t>m.at.inv[m.at.ops[i]] << 32
            events += 1
            if m.at.ret[m.at.ops[i]] != INF:
                cells[events] = <uint64_t>m.at.ret[m.at.ops[i]] << 32
                events += 1
        sort_cells(&cells, &scratch, events)
        memset(layers, 0, <size_t>m.n_elements * sizeof(Layer))
        for i in range(m.n_starts):
            j = <int32_t><uint32_t>m.starts[i]
            e, layer = &m.elements[j], &layers[j]
            layer.first = gap_of(cells, events, e.add_ret)
            layer.end = gap_of(cells, events, e.take_inv)
            layer.parts = 2
            n_parts = add_part(parts, n_parts, j, gap_of(cells, events, e.add_inv), layer.first)
            n_parts = add_part(parts, n_parts, j, layer.end, events + 1 if e.take == NOBODY
                               else gap_of(cells, events, e.take_ret))
        for i in range(n):
            op = m.at.ops[i]
            if m.at.kind[op] != PEEK or m.at.a[op] == NIL:
                continue
            e = element_of(m, m.at.a[op])
            j = <int32_t>(e - m.elements)
            layers[j].parts += 1
            n_parts = add_part(parts, n_parts, j,
                               gap_of(cells, events, max(e.add_inv, m.at.inv[op])),
                               gap_of(cells, events, min(e.take_ret, m.at.ret[op])))
        left = peel(parts, n_parts, layers, m.n_elements, events + 1)
        if left > 0:
            blame_pile(m, layers, &parts[0])
    free(cells)
    free(scratch)
    free(parts)
    free(layers)
    return NO_MEMORY if left < 0 else CONTRADICTION if left else LINEARIZABLE


cdef void blame_pile(Monitor* m, Layer* layers, const Part* part) noexcept nogil:
    """Blame the elements that are in an operation's way, and those in theirs."""
    cdef int32_t first = part.first, end = part.end, before = -1, i
    while before != end - first:
        before = end - first
        for i in range(m.n_elements):
            if layers[i].parts and layers[i].first < end and layers[i].end > first:
                first, end = min(first, layers[i].first), max(end, layers[i].end)
    for i in range(<int32_t>m.at.n):
        if m.at.a[m.at.ops[i]] == NIL or m.at.a[m.at.ops[i]] == ANY:
            continue
        before = <int32_t>(element_of(m, m.at.a[m.at.ops[i]]) - m.elements)
        if before == part.element or (layers[before].parts and layers[before].first < end
                                      and layers[before].end > first):
            blame(&m.at.guilty, m.at.ops[i])


cdef int empty_when_said(Monitor* m) noexcept nogil:
    """Each answer "empty" must overlap a moment at which nothing is certainly in."""
    cdef int32_t i, j, k, n = 0, inside = 0, op
    cdef Element* e
    cdef int64_t zero = -1, now                     # the last moment with nothing in
    for i in range(m.n_starts):
        e = &m.elements[<uint32_t>m.starts[i]]
        if e.add_ret < e.take_inv:
            m.starts[n] = m.starts[i]
            if e.take_inv != INF:
                m.ends[m.n_ends] = (<uint64_t>e.take_inv << 32) | <uint32_t>m.starts[i]
                m.n_ends += 1
            n += 1
    m.n_starts = n
    sort_cells(&m.ends, &m.scratch, m.n_ends)
    sort_cells(&m.empties, &m.scratch, m.n_empties)
    j = k = 0
    for i in range(m.n_empties):
        op = <int32_t><uint32_t>m.empties[i]
        now = m.at.ret[op]
        while True:                                 # all that begins or ends to be in before now
            if j < n and m.starts[j] >> 32 < <uint64_t>now and (
                    k >= m.n_ends or m.starts[j] >> 32 < m.ends[k] >> 32):
                if inside == 0:
                    zero = <int64_t>(m.starts[j] >> 32)
                inside += 1
                j += 1
            elif k < m.n_ends and m.ends[k] >> 32 < <uint64_t>now:
                inside -= 1
                k += 1
            else:
                break
        if inside and zero < m.at.inv[op]:
            blame_cover(m, op)
            return CONTRADICTION
    return LINEARIZABLE


cdef void blame_cover(Monitor* m, int32_t op) noexcept nogil:
    """Elements one of which was in at every moment of an operation: each as far as it reaches."""
    cdef int64_t now = m.at.inv[op], far
    cdef int32_t i, best
    cdef Element* e
    blame(&m.at.guilty, op)
    while now < m.at.ret[op]:
        far, best = now, NOBODY
        for i in range(m.n_starts):
            e = &m.elements[<uint32_t>m.starts[i]]
            if e.add_ret <= now and e.take_inv > far:
                far, best = e.take_inv, <int32_t><uint32_t>m.starts[i]
        if best == NOBODY:
            return
        blame_element(m, &m.elements[best])
        now = far


cdef int judge_key(void* monitor) noexcept nogil:
    cdef Monitor* m = <Monitor*>monitor
    cdef int found
    if not begin_key(m):
        return NO_MEMORY
    found = gather(m)
    if found == LINEARIZABLE:
        found = narrow(m)
    if found == CONTRADICTION:
        return found                                # of one element: whatever else was taken
    if found == LINEARIZABLE and m.at.family == FIFO and m.peeks:
        found = one_at_the_head(m)
    if found == LINEARIZABLE:
        sort_cells(&m.starts, &m.scratch, m.n_starts)
        if m.at.family == FIFO:
            found = in_order(m)
        elif m.at.family == STACK:
            found = peeled(m) if m.peeks else nested(m)
    if found == LINEARIZABLE and m.n_empties:
        found = empty_when_said(m)
    return UNDECIDED if found == CONTRADICTION and m.unknown else found


def judge(operations, keys, *, int jobs=1):
    """Judge keys: an array of verdicts (0 linearizable, 1 not, 2 not for this monitor), and for
    each key that is not linearizable the operations that show it.

    Operations are in the order of their invocations. jobs: how many threads.
    """
    return judge_keys(operations, keys, 0, jobs, sizeof(Monitor), judge_key, monitor_free)
