# distutils: language = c++
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.deque cimport deque
from libcpp.string cimport string
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer
from seatrial.core.chunks cimport Chunks
from seatrial.core.codec cimport Response, SessionTerms
from seatrial.core.domain cimport Domain
from seatrial.core.kv cimport KeyValue
from seatrial.core.log_clock cimport LogClock
from seatrial.core.mirror cimport Coordinates
from seatrial.core.raft cimport Raft

cdef struct Connection:
    uint32_t id
    bint dirty              # has output that was not taken
    Buffer input
    Buffer output

cdef cppclass Read:         # a linearizable read on its way
    Coordinates token       # (of one that waits for it)
    uint32_t connection
    uint64_t request
    uint64_t term           # the leader's when it came
    uint64_t round          # leadership must be confirmed in this round or a later one
    uint64_t index          # and this root entry must be applied
    uint64_t deadline_ns    # 0: none
    uint64_t bound_ns       # of one that waits: how old its answer may be; 0: any age
    int way                 # who vouches for it
    uint64_t ticket         # at a follower: the READ_INDEX whose answer gives `index`; 0: we lead
    uint8_t op              # read, scan, holder
    string key
    string argument

cdef enum:                  # Read.way
    BY_LEADERSHIP = 0       # our leader does: it leads the root
    BY_DOMAIN_LEASE = 1     # our lease from the parent
    BY_ROOT = 2             # the root's leader, asked by way of our parents

cdef struct SnapshotWaiter:  # who asked for a snapshot, and waits until it is durable
    uint32_t connection
    uint64_t request
    uint64_t index              # what it must hold at least

cdef enum:                  # whose chunk is in the group write on its way
    NO_CHUNK = 0
    OWN_CHUNK = 1
    INCOMING_CHUNK = 2

cdef class ReplicaState:
    cdef readonly Raft raft
    cdef readonly KeyValue kv
    cdef readonly Domain domain     # our part in the tree of domains
    cdef readonly uint64_t applied  # index of the newest entry of our log that was dealt with
    cdef uint64_t answered          # the same of local entries, which wait for no other domain
    cdef uint64_t pieces_loaded     # bytes of a parent's snapshot that the state machine has read
    cdef uint64_t pieces_end        # rindex of that snapshot's end
    cdef deque[Read] waiting        # reads that want a session's token reached
    cdef LogClock clock
    # clients
    cdef unordered_map[uint32_t, Connection*] connections
    cdef vector[uint32_t] dirty
    cdef deque[Read] reads
    cdef uint64_t[2] seen_answer    # the newest tickets answered: of the root, of our leader
    cdef size_t answer_size         # of the frame that was answered last
    cdef list admin
    cdef list notices
    cdef readonly uint64_t served_reads
    cdef readonly uint64_t served_writes
    cdef readonly uint64_t refused
    # limits
    cdef size_t max_value_bytes
    cdef size_t max_key_bytes
    cdef SessionTerms session_terms
    cdef uint64_t max_uncommitted_bytes
    cdef size_t max_write_bytes     # of records written and synced at once, unless one is larger
    # snapshots
    cdef readonly Chunks making     # the snapshot that is being written; index 0: none
    cdef Coordinates making_end     # the newest root entry that it holds
    cdef uint64_t made_durable      # how many of its chunks are on disk
    cdef int chunk_written          # whose chunk is on its way to the disk,
    cdef uint64_t chunk_version     # and of which snapshot
    cdef uint64_t snapshot_bytes    # of log after a snapshot, before the next one is begun
    cdef size_t chunk_bytes         # of a snapshot, in one record: the same on all members
    cdef vector[SnapshotWaiter] snapshot_waiters
    cdef uint64_t snapshot_ns       # when this process came to have its newest snapshot
    cdef readonly uint64_t snapshots_made
    cdef readonly uint64_t snapshots_installed
    cdef public bint holds_chunks   # the disk would rather not be given chunks just now
    cdef public uint64_t keep_bytes     # of log before it, for members that are a little behind

    cdef Connection* _connection(self, uint32_t id) noexcept nogil
    cdef int _not_root(self, Connection* c, uint64_t request) except -1 nogil
    cdef int _not_leader(self, Connection* c, uint64_t request) except -1 nogil
    cdef void _coordinates(self, Response* r, uint64_t rindex) noexcept nogil
    cdef int _respond(self, Connection* c, uint64_t request, uint8_t status, bint has_value,
                      const char* value, size_t size, uint64_t rindex) except -1 nogil
