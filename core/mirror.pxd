"""Root coordinates of one log: which entry of the root each local index holds."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from seatrial.core.buffer cimport Buffer
from seatrial.core.codec cimport Record
from seatrial.core.log cimport Log
from seatrial.core.tree cimport TreeView

cdef struct RootTerm:           # of a leader of the root; terms of a later epoch are later
    uint64_t epoch              # number << 16 | domain id
    uint64_t term

cdef struct Coordinates:        # of an entry of the root
    uint64_t rindex
    RootTerm rterm

cdef packed struct Adoption:    # 24 bytes: the payload of KIND_ADOPT
    RootTerm rterm              # the mirror is a prefix of this leader's log
    uint64_t keep               # and ends here: what it held beyond is void

cdef packed struct Base:        # 48 bytes, then a tree: the payload of KIND_BASE
    Coordinates end             # of the entry that the pieces before end with
    RootTerm rterm              # adopted
    uint64_t tree_rindex        # of the tree's entry

cdef packed struct PieceHead:   # 40 bytes, then a piece of the stream: the payload of KIND_PIECE
    Coordinates end             # of the snapshot that it belongs to
    uint64_t offset             # of the piece in the stream
    uint32_t crc                # CRC32C of the stream up to the piece's end
    uint32_t last               # 1: the stream ends with it

cdef struct Run:                # entries that follow each other in both coordinates
    uint64_t rindex
    uint64_t index
    uint64_t count

cdef struct Adopted:
    uint64_t index
    RootTerm rterm
    bint cuts                   # voids entries before it

cdef struct Planted:            # a tree in the mirror
    uint64_t rindex
    TreeView view

cdef struct Received:           # pieces of a snapshot at the log's end
    Coordinates end
    uint64_t size               # bytes of its stream
    uint64_t crc

cdef inline int compare_terms(RootTerm a, RootTerm b) noexcept nogil:
    """-1, 0 or 1: the epoch first."""
    if a.epoch != b.epoch:
        return -1 if a.epoch < b.epoch else 1
    if a.term != b.term:
        return -1 if a.term < b.term else 1
    return 0

cdef inline bint same(Coordinates a, Coordinates b) noexcept nogil:
    return a.rindex == b.rindex and compare_terms(a.rterm, b.rterm) == 0

cdef inline bint later_end(Coordinates a, Coordinates b) noexcept nogil:
    """Whether a log that ends with ``a`` is more up to date than one with ``b`` (paper, 5.4.1)."""
    cdef int c = compare_terms(a.rterm, b.rterm)
    return c > 0 or (c == 0 and a.rindex > b.rindex)

cdef class Mirror:
    cdef Log log
    cdef readonly uint64_t end  # rindex of the newest entry
    cdef uint64_t base_index    # the local entry after which the mirror is found in the log,
    cdef Coordinates base       # and the newest root entry then
    cdef RootTerm base_rterm    # adopted then
    cdef Buffer base_tree       # and the tree that held then, as an entry's payload
    cdef uint64_t base_tree_rindex
    cdef Coordinates floor      # before the first run: the base, or what a KIND_BASE put there
    cdef Buffer floor_tree
    cdef uint64_t floor_tree_rindex
    cdef Buffer runs            # of Run
    cdef Buffer adoptions       # of Adopted
    cdef Buffer trees           # of Planted: the floor's, then those in the runs
    cdef Received received
    cdef readonly uint64_t version      # counts changes of the newest tree

    cdef int appended(self, const Record* r) except -1 nogil
    cdef int truncated(self, uint64_t index) except -1 nogil
    cdef int compacted(self, uint64_t index) except -1 nogil
    cdef int rebase(self, uint64_t index, Coordinates base, RootTerm rterm, const char* tree,
                    size_t size, uint64_t tree_rindex) except -1 nogil
    cdef bint _floor_after(self, uint64_t index) noexcept nogil
    cdef int rescan(self) except -1 nogil
    cdef int _cut(self, uint64_t keep) except -1 nogil
    cdef int _plant(self, uint64_t rindex, const char* p, size_t size) except -1 nogil
    cdef int _take_base(self, const Record* r) except -1 nogil
    cdef int _begin(self) except -1 nogil

    cdef uint64_t index_of(self, uint64_t rindex) noexcept nogil
    cdef uint64_t end_at(self, uint64_t index) noexcept nogil
    cdef bint coordinates(self, uint64_t rindex, Coordinates* out) noexcept nogil
    cdef bint holds(self, Coordinates c) noexcept nogil
    cdef Coordinates newest(self) noexcept nogil
    cdef RootTerm adopted_at(self, uint64_t index) noexcept nogil
    cdef const TreeView* tree(self) noexcept nogil
    cdef const Planted* planted(self, uint64_t rindex) noexcept nogil
    cdef int number_at(self, uint64_t rindex) noexcept nogil
    cdef int tree_count(self) noexcept nogil
    cdef const Planted* tree_number(self, int number) noexcept nogil
    cdef const char* tree_bytes(self, uint64_t rindex, size_t* size, uint64_t* at) noexcept nogil
