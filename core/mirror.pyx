"""The mirror: the root's log as one domain's own log holds it.

Every domain's log holds two kinds of entries. A *root entry* carries root coordinates (rindex and
rterm, the epoch and term of the root's leader that assigned them), which are the same in every
domain that holds it. A *local entry* (a leader's no-op in a child, a child's own members, what is
listed below) has rindex 0 and means nothing elsewhere. The mirror is the sequence of the root
entries that hold: rindex 1, 2, 3, ... without a gap, since the log's beginning or a snapshot.

Three local entries change it:

* KIND_ADOPT: from here on the mirror is a prefix of the log of another leader of the root, and what
  it held beyond ``keep``, which that leader's log contradicts, is void. So T, the leader's term
  that a domain has *adopted*, is as durable as the log (a volatile one loses applied entries as
  the term of an entry would in figure 8 of the Raft paper).
* KIND_PIECE: a piece of a parent's snapshot. All of them together are the state at some rindex.
* KIND_BASE: the pieces are complete; the mirror goes on after that rindex, all before is void.

This class is what follows from a log: it is told what was appended and cut, and finds the local
index of an rindex, the tree of domains in force at one, and T. Looking up is binary search over
the runs of entries in which rindex and index differ by the same number.

``end_at`` and ``adopted_at`` tell the same of the log's part that is committed. While an entry
that cuts is not committed, ``end_at`` leaves out what it cuts: that is a prefix of the committed
mirror, which serves as well.
"""
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_size,
)
from seatrial.core.codec cimport (
    KIND_ADOPT,
    KIND_BASE,
    KIND_PIECE,
    KIND_TREE,
    RECORD_SIZE,
)
from seatrial.core.invariant cimport must
from seatrial.core.tree cimport read_tree


cdef inline Coordinates of_record(const Record* r) noexcept nogil:
    cdef Coordinates c
    c.rindex = r.rindex
    c.rterm.epoch = r.epoch
    c.rterm.term = r.rterm
    return c


cdef inline size_t items(const Buffer* b, size_t size) noexcept nogil:
    return buffer_size(b) // size


cdef class Mirror:
    def __cinit__(self, Log log):
        self.log = log
        buffer_init(&self.base_tree)
        buffer_init(&self.floor_tree)
        buffer_init(&self.runs)
        buffer_init(&self.adoptions)
        buffer_init(&self.trees)
        memset(&self.base, 0, sizeof(Coordinates))
        memset(&self.base_rterm, 0, sizeof(RootTerm))
        self._begin()

    def __dealloc__(self):
        buffer_free(&self.base_tree)
        buffer_free(&self.floor_tree)
        buffer_free(&self.runs)
        buffer_free(&self.adoptions)
        buffer_free(&self.trees)

    # ---- what happens to the log ---------------------------------------------------------

    cdef int appended(self, const Record* r) except -1 nogil:
        """The log's newest entry is new."""
        cdef Run* last
        cdef Run run
        cdef Adopted adopted
        cdef Adoption adoption
        cdef PieceHead head
        if r.index <= self.base_index:
            return 0
        if r.rindex:
            must(r.rindex == self.end + 1, b"mirror: a root entry that is not the next", r.rindex,
                 self.end, r.index)
            last = NULL
            if buffer_size(&self.runs):
                last = <Run*>(self.runs.data + self.runs.end) - 1
            if last is not NULL and last.index + last.count == r.index:
                last.count += 1
            else:
                run.rindex, run.index, run.count = r.rindex, r.index, 1
                buffer_append(&self.runs, &run, sizeof(run))
            self.end = r.rindex
            if r.kind == KIND_TREE:
                self._plant(r.rindex, <const char*>r + RECORD_SIZE, r.length - RECORD_SIZE)
        elif r.kind == KIND_ADOPT:
            must(r.length == RECORD_SIZE + sizeof(adoption), b"mirror: an adoption's size", r.index)
            memcpy(&adoption, <const char*>r + RECORD_SIZE, sizeof(adoption))
            must(adoption.keep <= self.end and adoption.keep >= self.floor.rindex,
                 b"mirror: adopts what it does not hold", adoption.keep, self.end,
                 self.floor.rindex)
            adopted.index, adopted.rterm = r.index, adoption.rterm
            adopted.cuts = adoption.keep < self.end
            buffer_append(&self.adoptions, &adopted, sizeof(adopted))
            self._cut(adoption.keep)
        elif r.kind == KIND_PIECE:
            must(r.length >= RECORD_SIZE + sizeof(head), b"mirror: a piece's size", r.index)
            memcpy(&head, <const char*>r + RECORD_SIZE, sizeof(head))
            if head.offset and self.received.size == 0:
                return 0        # its first pieces are compacted away: it was overtaken long ago
            must(head.offset == 0 or (head.offset == self.received.size
                                      and same(head.end, self.received.end)),
                 b"mirror: a piece that does not fit", head.offset, self.received.size)
            self.received.end = head.end
            self.received.size = head.offset + r.length - RECORD_SIZE - sizeof(head)
            self.received.crc = head.crc
        elif r.kind == KIND_BASE:
            self._take_base(r)
        return 0

    cdef int _take_base(self, const Record* r) except -1 nogil:
        cdef Base base
        cdef Adopted adopted
        must(r.length >= RECORD_SIZE + sizeof(base), b"mirror: a base's size", r.index)
        memcpy(&base, <const char*>r + RECORD_SIZE, sizeof(base))
        must(same(base.end, self.received.end), b"mirror: a base without its pieces",
             base.end.rindex, self.received.end.rindex)
        adopted.index, adopted.rterm, adopted.cuts = r.index, base.rterm, True
        buffer_append(&self.adoptions, &adopted, sizeof(adopted))
        buffer_consume(&self.runs, buffer_size(&self.runs))
        buffer_consume(&self.floor_tree, buffer_size(&self.floor_tree))
        buffer_append(&self.floor_tree, <const char*>r + RECORD_SIZE + sizeof(base),
                      r.length - RECORD_SIZE - sizeof(base))
        self.floor = base.end
        self.floor_tree_rindex = base.tree_rindex
        memset(&self.received, 0, sizeof(self.received))
        return self._begin()

    cdef int truncated(self, uint64_t index) except -1 nogil:
        """The log's entries from ``index`` on were cut."""
        cdef Run* run
        cdef Adopted* adopted
        while buffer_size(&self.adoptions):
            adopted = <Adopted*>(self.adoptions.data + self.adoptions.end) - 1
            if adopted.index < index:
                break
            if adopted.cuts:            # what it made void holds again
                return self.rescan()
            self.adoptions.end -= sizeof(Adopted)
        if self.received.size:
            return self.rescan()
        while buffer_size(&self.runs):
            run = <Run*>(self.runs.data + self.runs.end) - 1
            if run.index < index:
                break
            self.runs.end -= sizeof(Run)
        if buffer_size(&self.runs) == 0:
            return self._cut(self.floor.rindex)
        if run.index + run.count > index:
            run.count = index - run.index
        return self._cut(run.rindex + run.count - 1)

    cdef int compacted(self, uint64_t index) except -1 nogil:
        """The log is about to drop its entries up to ``index``, all of them applied."""
        cdef Run* run
        cdef Coordinates end
        cdef uint64_t rindex = self.end_at(index), at, gone
        cdef size_t size
        cdef const char* tree
        cdef RootTerm adopted = self.adopted_at(index)
        if index <= self.base_index:
            return 0
        must(self.coordinates(rindex, &end), b"mirror: compacts what it does not hold", rindex)
        if self.tree_count():
            tree = self.tree_bytes(rindex, &size, &at)
            if at != self.base_tree_rindex or buffer_size(&self.base_tree) == 0:
                buffer_free(&self.base_tree)
                buffer_append(&self.base_tree, tree, size)
                self.base_tree_rindex = at
        self.base_index = index
        self.base = end
        self.base_rterm = adopted
        while (buffer_size(&self.adoptions)
               and (<Adopted*>(self.adoptions.data + self.adoptions.start)).index <= index):
            buffer_consume(&self.adoptions, sizeof(Adopted))
        while buffer_size(&self.runs):
            run = <Run*>(self.runs.data + self.runs.start)
            if run.index + run.count > index + 1:
                if run.index <= index:
                    gone = index + 1 - run.index
                    run.index += gone
                    run.rindex += gone
                    run.count -= gone
                break
            buffer_consume(&self.runs, sizeof(Run))
        # (a base beyond the index stays what the runs begin after)
        if self.floor.rindex <= rindex:
            self.floor = end
            self.floor_tree_rindex = self.base_tree_rindex
            buffer_free(&self.floor_tree)
            buffer_append(&self.floor_tree, self.base_tree.data + self.base_tree.start,
                          buffer_size(&self.base_tree))
            while (buffer_size(&self.trees) and self.tree_count() > 1
                   and (<Planted*>(self.trees.data + self.trees.start))[1].rindex <= rindex):
                buffer_consume(&self.trees, sizeof(Planted))
        return 0

    cdef int rebase(self, uint64_t index, Coordinates base, RootTerm rterm, const char* tree,
                    size_t size, uint64_t tree_rindex) except -1 nogil:
        """A snapshot holds the log up to ``index``, and ends with ``base``; see what is beyond."""
        cdef Buffer kept
        buffer_init(&kept)
        buffer_append(&kept, tree, size)        # (it may be our own, which goes)
        buffer_free(&self.base_tree)
        self.base_tree = kept
        self.base_index = index
        self.base = base
        self.base_rterm = rterm
        self.base_tree_rindex = tree_rindex
        return self.rescan()

    cdef int rescan(self) except -1 nogil:
        """Find everything anew: from the base and the log."""
        cdef uint64_t i
        buffer_consume(&self.runs, buffer_size(&self.runs))
        buffer_consume(&self.adoptions, buffer_size(&self.adoptions))
        buffer_consume(&self.floor_tree, buffer_size(&self.floor_tree))
        buffer_append(&self.floor_tree, self.base_tree.data + self.base_tree.start,
                      buffer_size(&self.base_tree))
        self.floor = self.base
        self.floor_tree_rindex = self.base_tree_rindex
        memset(&self.received, 0, sizeof(self.received))
        self._begin()
        for i in range(max(self.log.first, self.base_index + 1), self.log.last() + 1):
            self.appended(self.log.record(i))
        return 0

    cdef int _begin(self) except -1 nogil:
        """Nothing is held after the floor yet."""
        self.end = self.floor.rindex
        buffer_consume(&self.trees, buffer_size(&self.trees))
        if buffer_size(&self.floor_tree):
            self._plant(self.floor_tree_rindex, self.floor_tree.data + self.floor_tree.start,
                        buffer_size(&self.floor_tree))
        self.version += 1
        return 0

    cdef int _cut(self, uint64_t keep) except -1 nogil:
        """What is beyond ``keep`` is void, or gone."""
        cdef Run* run
        while buffer_size(&self.runs):
            run = <Run*>(self.runs.data + self.runs.end) - 1
            if run.rindex <= keep:
                run.count = min(run.count, keep - run.rindex + 1)
                break
            self.runs.end -= sizeof(Run)
        self.end = keep
        while (buffer_size(&self.trees)
               and ((<Planted*>(self.trees.data + self.trees.end)) - 1).rindex > keep):
            self.trees.end -= sizeof(Planted)
            self.version += 1
        return 0

    cdef int _plant(self, uint64_t rindex, const char* p, size_t size) except -1 nogil:
        cdef Planted planted
        planted.rindex = rindex
        must(read_tree(p, size, &planted.view), b"mirror: a tree that is none", rindex)
        buffer_append(&self.trees, &planted, sizeof(planted))
        self.version += 1
        return 0

    # ---- questions -----------------------------------------------------------------------

    cdef uint64_t index_of(self, uint64_t rindex) noexcept nogil:
        """The local index of a root entry; 0 where the log does not hold it."""
        cdef const Run* runs = <const Run*>(self.runs.data + self.runs.start)
        cdef size_t low = 0, high = items(&self.runs, sizeof(Run)), middle
        while low < high:               # how many runs begin at or before it
            middle = (low + high) // 2
            if runs[middle].rindex <= rindex:
                low = middle + 1
            else:
                high = middle
        if low == 0 or rindex - runs[low - 1].rindex >= runs[low - 1].count:
            return 0
        return runs[low - 1].index + (rindex - runs[low - 1].rindex)

    cdef uint64_t end_at(self, uint64_t index) noexcept nogil:
        """How far the mirror goes in the log up to and with ``index``."""
        cdef const Run* runs = <const Run*>(self.runs.data + self.runs.start)
        cdef size_t low = 0, high = items(&self.runs, sizeof(Run)), middle
        while low < high:
            middle = (low + high) // 2
            if runs[middle].index <= index:
                low = middle + 1
            else:
                high = middle
        if low == 0:
            return min(self.floor.rindex, self.base.rindex) if self._floor_after(index) \
                else self.floor.rindex
        return runs[low - 1].rindex + min(runs[low - 1].count, index - runs[low - 1].index + 1) - 1

    cdef bint _floor_after(self, uint64_t index) noexcept nogil:
        """Whether the base that the runs begin after is an entry behind ``index``."""
        cdef const Adopted* adopted = <const Adopted*>(self.adoptions.data + self.adoptions.start)
        cdef size_t i = items(&self.adoptions, sizeof(Adopted))
        while i > 0 and adopted[i - 1].index > index:
            i -= 1
            if self.log.record(adopted[i].index).kind == KIND_BASE:
                return True
        return False

    cdef bint coordinates(self, uint64_t rindex, Coordinates* out) noexcept nogil:
        """The coordinates of the mirror's entry at ``rindex``; False where it is not known."""
        cdef uint64_t index
        if rindex == self.floor.rindex:
            out[0] = self.floor
            return True
        if rindex == self.base.rindex:
            out[0] = self.base
            return True
        index = self.index_of(rindex)
        if index == 0:
            return False
        out[0] = of_record(self.log.record(index))
        return True

    cdef bint holds(self, Coordinates c) noexcept nogil:
        """Whether the mirror is known to hold exactly this entry."""
        cdef Coordinates mine
        return self.coordinates(c.rindex, &mine) and same(mine, c)

    cdef Coordinates newest(self) noexcept nogil:
        """The coordinates of the mirror's end."""
        cdef Coordinates c
        self.coordinates(self.end, &c)
        return c

    cdef RootTerm adopted_at(self, uint64_t index) noexcept nogil:
        """T of the mirror in the log up to and with ``index``."""
        cdef const Adopted* adopted = <const Adopted*>(self.adoptions.data + self.adoptions.start)
        cdef size_t i = items(&self.adoptions, sizeof(Adopted))
        cdef Coordinates end
        cdef RootTerm found = self.base_rterm
        while i > 0 and adopted[i - 1].index > index:
            i -= 1
        if i > 0:
            found = adopted[i - 1].rterm
        # the root's own leaders adopt nothing: what they assign says whose it is
        if self.coordinates(self.end_at(index), &end) and compare_terms(end.rterm, found) > 0:
            found = end.rterm
        return found

    cdef const TreeView* tree(self) noexcept nogil:
        """The newest tree; NULL: this log knows of no other domain."""
        if buffer_size(&self.trees) == 0:
            return NULL
        return &((<Planted*>(self.trees.data + self.trees.end)) - 1).view

    cdef int tree_count(self) noexcept nogil:
        return <int>items(&self.trees, sizeof(Planted))

    cdef const Planted* tree_number(self, int number) noexcept nogil:
        """The trees from the floor's on, the oldest first."""
        return <const Planted*>(self.trees.data + self.trees.start) + number

    cdef const Planted* planted(self, uint64_t rindex) noexcept nogil:
        """The tree in force at ``rindex``, that entry included; NULL: none is known."""
        cdef int i = self.number_at(rindex)
        return self.tree_number(i) if i >= 0 else NULL

    cdef int number_at(self, uint64_t rindex) noexcept nogil:
        """That tree's number; -1: none is known."""
        cdef int i = self.tree_count() - 1
        while i >= 0 and self.tree_number(i).rindex > rindex:
            i -= 1
        return i

    cdef const char* tree_bytes(self, uint64_t rindex, size_t* size, uint64_t* at) noexcept nogil:
        """The same tree as its entry's payload, and that entry's rindex; NULL: none is known."""
        cdef const Planted* found = self.planted(rindex)
        cdef const Record* r
        cdef uint64_t index
        size[0] = 0
        at[0] = 0
        if found is NULL:
            return NULL
        at[0] = found.rindex
        index = self.index_of(found.rindex)
        if index == 0:
            size[0] = buffer_size(&self.floor_tree)
            return self.floor_tree.data + self.floor_tree.start
        r = self.log.record(index)
        size[0] = r.length - RECORD_SIZE
        return <const char*>r + RECORD_SIZE

    # ---- for tests and tools -------------------------------------------------------------

    def begin_after(self, index: int, rindex: int) -> None:
        """Go on after this entry, as after a snapshot that ends with it."""
        cdef Coordinates base
        base.rindex = rindex
        base.rterm.epoch = base.rterm.term = 0
        self.rebase(index, base, base.rterm, NULL, 0, 0)

    @property
    def adopted(self) -> tuple:
        """T of the whole mirror: (epoch, term)."""
        cdef RootTerm found = self.adopted_at(self.log.last())
        return found.epoch, found.term

    def entry(self, rindex: int) -> tuple | None:
        """Return (rindex, epoch, term) of the entry there, None where it is not known."""
        cdef Coordinates c
        return (c.rindex, c.rterm.epoch, c.rterm.term) if self.coordinates(rindex, &c) else None

    def index(self, rindex: int) -> int:
        """Return the local index of a root entry, 0 where the log does not hold it."""
        return self.index_of(rindex)

    def until(self, index: int) -> int:
        """Return how far the mirror goes in the log up to a local index."""
        return self.end_at(index)

    def tree_payload(self, rindex: int | None = None) -> bytes | None:
        """Return the tree in force at ``rindex`` (None: the newest) as its entry holds it, None
        where there is none."""
        cdef size_t size
        cdef uint64_t at
        cdef const char* p = self.tree_bytes(self.end if rindex is None else rindex, &size, &at)
        return p[:size] if p is not NULL else None
