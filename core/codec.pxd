"""Byte layouts shared by wire, WAL and memory. Little-endian; sizes are part of the format."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "seatrial's formats are little-endian and are read in place"
    #endif
    """

cdef packed struct Record:      # 72 bytes, then the payload
    uint32_t length             # of the whole record
    uint32_t crc                # CRC32C of bytes 24..length, computed once by the first leader
    uint64_t index              # local coordinates
    uint64_t term
    uint64_t rindex             # root coordinates; 0: a local entry
    uint64_t epoch              # number << 16 | domain id
    uint64_t rterm
    uint64_t client
    uint64_t sequence
    uint8_t kind
    uint8_t flags
    uint16_t reserved16
    uint32_t reserved32

cdef packed struct Command:     # 16 bytes, then key, value, expected
    uint8_t op
    uint8_t flags               # CAS: HAS_EXPECTED, else "expected absent"
    uint16_t key_length
    uint32_t value_length
    uint32_t expected_length
    uint32_t reserved

cdef packed struct Transaction:  # 8 bytes: a command's value; then the compares, then both branches
    uint16_t compares           # commands with OP_IS_...
    uint16_t then_count         # executed if all of them hold
    uint16_t else_count         # executed if one does not
    uint16_t reserved

cdef packed struct SessionTerms:  # 16 bytes: the payload of KIND_OPEN_SESSION
    uint64_t max_sessions       # over that number the one unused for the longest is forgotten
    uint64_t ttl_ns             # of log time that it lives unused; 0: for ever

cdef packed struct ClockTime:   # 24 bytes: the payload of KIND_CLOCK
    uint64_t log_time_ns
    uint64_t hashed_index       # a CLOCK that the leader had applied; 0: none
    uint64_t state_hash         # what its state hashed to then

cdef packed struct FrameHeader:  # 16 bytes
    uint32_t length             # of the whole frame
    uint32_t crc                # CRC32C of bytes 8..end (APPEND: see append_crc)
    uint8_t type
    uint8_t flags
    uint16_t length_check       # a wrong length is noticed now, not when so much has come
    uint32_t reserved32

cdef packed struct Message:     # 72 bytes: every frame between members; APPEND adds records
    FrameHeader header
    uint32_t sender
    uint32_t receiver
    uint64_t term
    uint64_t index
    uint64_t log_term
    uint64_t commit
    uint64_t round
    uint32_t count
    uint32_t reserved

cdef packed struct LinkMessage:     # 176 bytes: every frame between domains, and MARK
    FrameHeader header
    uint32_t sender             # node
    uint16_t domain             # the child's
    uint16_t root               # MARK: unused; LINK_REPORT: whom it is about
    uint64_t term               # the sender's, in its own domain
    uint64_t adopted_epoch      # T: of the prefix that is served, or acknowledged
    uint64_t adopted_term
    uint64_t rindex             # before the records; the mirror's end (ATTACH); acknowledged
    uint64_t epoch              # (LINK_ACK); or, if that one was refused, where to try
    uint64_t rterm
    uint64_t mark_rindex        # what the root has committed; LINK_ACK: committed in the child
    uint64_t mark_epoch
    uint64_t mark_term
    uint64_t end_rindex         # of the sender's mirror; LINK_ACK: verified on this link
    uint64_t end_epoch
    uint64_t end_term
    uint64_t sent_ns            # by the sender's clock
    uint64_t echo_ns            # `sent_ns` of the newest frame that was received
    uint64_t lease_ns           # granted, from `echo_ns` on; LINK_ACK: promised (later)
    uint64_t include_rindex     # what the lease rests on
    uint64_t age_ns             # of what `mark` tells: since the root's leader was sure to lead
    uint64_t round              # LINK_READ: number of the question; LINK_ACK: bytes of a snapshot
    uint32_t count
    uint32_t reserved

cdef packed struct Request:     # 40 bytes, then a Command with its key, value, expected
    FrameHeader header
    uint64_t request
    uint64_t client
    uint64_t sequence

cdef packed struct Response:    # 56 bytes, then the value
    FrameHeader header
    uint64_t request
    uint64_t rindex
    uint64_t epoch
    uint64_t term
    uint8_t status
    uint8_t flags
    uint16_t node
    uint32_t value_length

cdef enum:
    RECORD_SIZE = 72
    COMMAND_SIZE = 16
    HEADER_SIZE = 16
    MESSAGE_SIZE = 72
    REQUEST_SIZE = 40
    RESPONSE_SIZE = 56
    PREFIX_SIZE = 24            # length, crc, index, term: what a frame's own check covers
    LINK_SIZE = 176
    MAX_FRAME_BYTES = 1 << 25   # more than a full batch and the largest value

cdef enum:                      # Record.kind
    KIND_NOOP = 0
    KIND_COMMAND = 1
    KIND_OPEN_SESSION = 2
    KIND_CONFIG = 3             # the complete configuration (membership.pyx)
    KIND_CLOCK = 4              # log time (log_clock.pyx)
    KIND_SNAPSHOT = 5           # a piece of a snapshot: on disks and on the way, never in a log
    KIND_TREE = 6               # the complete tree of domains (tree.pyx), a root entry
    KIND_ADOPT = 7              # these three: local entries of a child's log (mirror.pyx)
    KIND_PIECE = 8
    KIND_BASE = 9

cdef enum:                      # frame types
    VOTE = 1
    VOTE_REPLY = 2
    APPEND = 3
    APPEND_REPLY = 4
    HEARTBEAT = 5
    HEARTBEAT_REPLY = 6
    PRE_VOTE = 7
    PRE_VOTE_REPLY = 8
    TIMEOUT_NOW = 9
    READ_INDEX = 10
    READ_INDEX_REPLY = 11
    NOTICE = 31                 # from shell to shell (notice.py), since protocol 2
    SNAPSHOT = 12               # with one SNAPSHOT record
    SNAPSHOT_REPLY = 13
    MARK = 14                   # a domain's leader to its members: what the root has committed
    REQUEST = 32
    RESPONSE = 33
    ATTACH = 40                 # from here on between domains: a child's leader to the parent
    LINK_APPEND = 41            # parent to child
    LINK_ACK = 42               # child to parent
    LINK_SNAPSHOT = 43          # parent to child: a SNAPSHOT record; with the last one the tree
    LINK_REDIRECT = 44          # parent to child: somebody else leads here
    LINK_REFUSED = 45           # parent to child: no child of this domain; with the tree
    LINK_READ = 46              # child to parent: READ_INDEX of the root
    LINK_READ_REPLY = 47
    LINK_REPORT = 48            # child to parent: about a child of its own
    LINK_BASE = 49              # parent to child: the snapshot is whole; with the tree

cdef enum:                      # Command.op
    OP_READ = 1
    OP_WRITE = 2
    OP_CAS = 3
    OP_APPEND = 4
    OP_DELETE = 5
    OP_ADD = 6
    OP_WRITE_IF_TOKEN = 7
    OP_TRANSACT = 8
    OP_ACQUIRE = 9
    OP_KEEP_ALIVE = 10
    OP_RELEASE = 11             # the last that writes
    OP_SCAN = 12
    OP_HOLDER = 13              # the last that reads
    OP_OPEN_SESSION = 16
    OP_PING = 32
    OP_STATUS = 33              # this and the four that follow: for the shell
    OP_CHANGE = 34
    OP_TRANSFER = 35
    OP_SNAPSHOT = 36
    OP_TREE = 37
    OP_IS_VALUE = 64            # compares, in a transaction only
    OP_IS_ABSENT = 65
    OP_IS_PRESENT = 66

cdef enum:                      # Response.status
    STATUS_OK = 0
    STATUS_CAS_MISMATCH = 1
    STATUS_NOT_LEADER = 2
    STATUS_SESSION_LOST = 3
    STATUS_BAD_REQUEST = 4
    STATUS_TOO_LARGE = 5
    STATUS_BUSY = 6
    STATUS_UNKNOWN = 7
    STATUS_NOT_A_COUNTER = 8
    STATUS_OVERFLOW = 9
    STATUS_STALE_TOKEN = 10
    STATUS_LOCK_HELD = 11
    STATUS_LOCK_LOST = 12
    STATUS_NOT_TRANSACTED = 13
    STATUS_NOT_ROOT = 14        # writes go to another domain; value: its id and nodes
    STATUS_FENCED = 15          # this domain can't answer linearizable reads now
    STATUS_TOO_OLD = 16         # what this node holds is older than asked for
    STATUS_LOST = 17            # the session's token names what this mirror does not hold

cdef enum:
    HAS_VALUE = 1               # Response.flags
    HAS_EXPECTED = 1            # Command.flags
    REJECTED = 1                # Message.flags of an APPEND_REPLY
    DAMAGED = 2                 # and of a rejecting one: it lost what it had acknowledged
    LINK_ASKS = 4               # LinkMessage.flags of a child: the parent shall answer
    GRANTED = 1                 # Message.flags of a VOTE_REPLY or PRE_VOTE_REPLY
    FORCED = 1                  # Message.flags of a VOTE: its leader asked for it (transfer)
    ANY_NODE = 1                # Request.flags of a read: a follower may answer it, too
    PREFIX = 2                  # any node may, from what it has applied; `expected`: a token
    BOUNDED = 4                 # the same, if that is not too old; `expected`: a token, max_lag_ns

cdef inline bint op_writes(uint8_t op) noexcept nogil:
    """Whether an entry of the log executes it, under a session and once."""
    return OP_WRITE <= op <= OP_RELEASE

cdef inline bint op_reads(uint8_t op) noexcept nogil:
    """Whether any member can answer it from its state, once a leader confirmed it."""
    return op == OP_READ or op == OP_SCAN or op == OP_HOLDER

cdef inline uint16_t folded(uint32_t length) noexcept nogil:
    return <uint16_t>~(length ^ length >> 16)

cdef inline void set_length(FrameHeader* h, size_t length) noexcept nogil:
    h.length = <uint32_t>length
    h.length_check = folded(h.length)

cdef uint32_t record_crc(const Record* r) noexcept nogil
cdef uint32_t plain_crc(const char* frame) noexcept nogil
cdef uint32_t append_crc(const char* frame, size_t fixed) noexcept nogil
cdef size_t records_fit(const char* data, size_t size, uint32_t* count) noexcept nogil
cdef size_t records_sound(const char* data, size_t size, uint32_t* count) noexcept nogil
cdef size_t command_size(const Command* c) noexcept nogil
cdef Py_ssize_t next_frame(const char* data, size_t size) except -1 nogil
