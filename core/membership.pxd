from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    MAX_NODES = 32              # half as many as raft.pyx has places for
    MAX_ADDRESS_BYTES = 255
    CONFIGURATION_VERSION = 1

cdef enum:                      # NodeEntry.roles
    VOTER = 1
    OUTGOING = 2
    LEARNER = 4
    LEARNER_NEXT = 8

cdef enum:                      # ConfigurationHeader.flags
    AUTO_LEAVE = 1

cdef packed struct ConfigurationHeader:     # 8 bytes, then the nodes
    uint8_t version
    uint8_t flags
    uint16_t count
    uint32_t reserved

cdef packed struct NodeEntry:               # 8 bytes, then the address
    uint32_t node
    uint8_t roles
    uint8_t priority
    uint16_t address_length

cdef struct Members:            # a configuration in C; places in order of node ids
    int count
    uint32_t[64] nodes
    uint8_t[64] priorities
    uint64_t voters             # masks over the places
    uint64_t outgoing
    uint64_t learners
    uint64_t learners_next
    bint auto_leave

cdef class Configuration:
    cdef readonly frozenset voters
    cdef readonly frozenset outgoing
    cdef readonly frozenset learners
    cdef readonly frozenset learners_next
    cdef readonly bint auto_leave
    cdef readonly dict details  # node -> (address, priority)

    cdef Configuration _changed(self, changes)
    cdef int _demand(self) except -1

cdef const char* read_members(const char* payload, size_t size, Members* m) noexcept nogil
