from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    MAX_DOMAINS = 64            # a mask over the places fits 64 bits
    MAX_DOMAIN_NODES = 32
    MAX_NAME_BYTES = 32
    MAX_NODE_ADDRESS_BYTES = 255
    MAX_TREE_BYTES = 1 << 16
    TREE_VERSION = 1
    # how much longer a lease may last for its holder than for who gave it: one clock runs 15 % too
    # slow, the other 15 % too fast
    DRIFT_PERCENT = 36

cdef enum:                      # DomainView.any_k; else how many of the sync children
    EACH = 0                    # policy `all`
    NO_CHILD = 255              # policy `none`: no child counts

cdef enum:                      # DomainView.on_lag
    LAG_IS_NOTHING = 0
    LAG_THROTTLES = 1
    LAG_EXCLUDES = 2
    LAG_STALLS = 3

cdef enum:                      # DomainEntry.flags
    SYNC = 1
    INCLUDED = 2
    BLOCK = 4
    HELD = 8
    READMIT_THROTTLE = 16

cdef packed struct TreeHeader:  # 24 bytes, then the domains
    uint8_t version
    uint8_t flags
    uint16_t count
    uint16_t root
    uint16_t reserved
    uint64_t epoch
    uint64_t lease_ns

cdef packed struct DomainEntry:  # 48 bytes, then the name and the nodes
    uint16_t id
    uint16_t parent
    uint8_t flags
    uint8_t any_k
    uint8_t on_lag
    uint8_t name_length
    uint16_t nodes
    uint16_t max_lag_bytes_high
    uint32_t max_lag_bytes_low
    uint64_t include_rindex
    uint64_t exclude_after_ns
    uint64_t max_lag_entries
    uint64_t max_lag_ns

cdef packed struct DomainNode:  # 4 bytes, then the address
    uint16_t node
    uint16_t address_length

cdef struct DomainView:
    uint16_t id
    int parent                  # its place; -1: the root
    bint sync
    bint included
    bint block
    bint held                   # an operator excluded it: not included by itself
    bint readmit_throttle       # writers are slowed down while it does not catch up
    uint8_t any_k
    uint8_t on_lag
    uint64_t include_rindex
    uint64_t exclude_after_ns
    uint64_t max_lag_entries    # 0: no such bound
    uint64_t max_lag_ns
    uint64_t max_lag_bytes

cdef struct TreeView:           # a tree in C; places in order of ids
    int count
    int root                    # its place
    uint64_t epoch              # its number
    uint64_t lease_ns
    DomainView[64] domains

cdef class Tree:
    cdef readonly object domains    # id -> Domain
    cdef readonly int root
    cdef readonly object epoch
    cdef readonly object lease_ns

cdef bint read_tree(const char* p, size_t n, TreeView* out) noexcept nogil
cdef int place_of(const TreeView* tree, uint16_t id) noexcept nogil
cdef bint gates(const TreeView* tree, int place) noexcept nogil
