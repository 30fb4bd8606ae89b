# distutils: language = c++
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libcpp.string cimport string
from libcpp.vector cimport vector

from seatrial.core.codec cimport Command
from seatrial.core.frozen_map cimport FrozenMap
from seatrial.core.outcome cimport Outcome

cdef enum:
    MAX_VALUE_BYTES = 1 << 24   # part of the format: every member must refuse alike
    MAX_ANSWER_BYTES = 1 << 20  # of a scan or a transaction, unless one item is larger
    MAX_SCANNED_KEYS = 10_000

cdef cppclass Item:
    string value
    uint64_t guard          # newest token that wrote it; 0: none ever did
    uint64_t words          # hash of the value's whole words
    uint64_t hash
    bint present            # a guarded key that was deleted stays, for its guard

cdef cppclass Undo:
    string key
    bint existed
    Item item

cdef class Keys:
    cdef FrozenMap[string, Item] items
    cdef uint64_t sum           # of the hashes
    cdef bint undoable          # a transaction is under way
    cdef vector[Undo] undo
    cdef string name
    cdef string said            # holds an Outcome's value
    cdef int64_t counted        # so does this

    cdef void execute(self, const Command* c, Outcome* out) noexcept nogil
    cdef void read(self, const char* key, size_t size, Outcome* out) noexcept nogil
    cdef void scan(self, const char* begin, size_t begin_size, const char* argument,
                   size_t size, Outcome* out) noexcept nogil
    cdef bint holds(self, const Command* compare) noexcept nogil
    cdef void roll_back(self) noexcept nogil
    cdef int restore(self, const string& key, const char* value, size_t size, uint64_t guard,
                     bint present) except -1 nogil
    cdef Item* _present(self) noexcept nogil
    cdef void _note(self) noexcept nogil
    cdef void _set(self, const char* p, size_t size, size_t kept, uint64_t guard) noexcept nogil
    cdef void _delete(self) noexcept nogil
    cdef void _settle(self, const string& key, Item* item, size_t kept) noexcept nogil
    cdef void _saw(self, Item* item, uint8_t status, Outcome* out) noexcept nogil
    cdef void _append(self, const char* p, size_t size, Outcome* out) noexcept nogil
    cdef void _cas(self, const Command* c, const char* p, Outcome* out) noexcept nogil
    cdef void _add(self, const Command* c, const char* p, Outcome* out) noexcept nogil
    cdef void _write_if_token(self, const Command* c, const char* p, Outcome* out) noexcept nogil
