"""What the online monitor of registers remembers (registers.pyx says what it does with it)."""
from libc.stdint cimport int8_t, int32_t, int64_t

from seatrial.checker.online.young cimport Young
from seatrial.checker.pairs cimport Pairs

cdef extern from *:
    """
    #define SEATRIAL_GONE (INT64_MIN + 3)
    """
    const int64_t GONE "SEATRIAL_GONE"      # and those above it: values that nobody ever reads

cdef enum:
    NOBODY = -1
    AT_START = -2           # in place of the process that wrote the initial value

cdef enum Status:
    WATCHED = 0             # a key that the monitor judges
    KEPT = 1                # one that it doesn't: its operations are handed on
    BROKEN = 2              # one that is not linearizable

cdef enum Trouble:
    FINE = 0
    NEVER_THERE = 1         # saw a value that nobody wrote, or that can't be there any more
    REPLACED = 2            # saw a value after a compare-and-set had replaced it
    BOTH_WAYS = 3           # of two values each was there before the other
    LEFT_TWICE = 4          # two compare-and-sets replaced the same value
    CIRCLE = 5              # compare-and-sets that expect each other's results
    FAILED_SEEN = 6         # somebody saw what a failed operation would have written
    TWICE_INVOKED = 7       # a process that invokes again: not a history
    NEVER_INVOKED = 8
    OTHER_ENDED = 9         # an operation that ends as another than it was invoked as
    NO_MEMORY = 10

cdef struct Call:
    int64_t a
    int64_t b
    int64_t inv
    int64_t ret             # INF: not yet, or never
    int32_t process
    int8_t role

cdef struct Row:
    # An operation handed on; its positions are four times those of the events.
    int64_t a
    int64_t b
    int64_t inv
    int64_t ret
    int64_t row
    int64_t done
    int32_t process
    int32_t key
    int8_t role

cdef struct Rows:
    Row* rows
    size_t n
    size_t room

cdef struct Flight:
    Call call
    int32_t key
    int32_t cluster         # of the value that it writes
    int32_t before          # on its key, by invocation
    int32_t after

cdef struct Cluster:
    # One value: who wrote it, and of its reads the first to return and the last to be invoked.
    int64_t value
    int64_t left            # when a compare-and-set that replaced it was known to have happened
    Call writer
    Call first_read
    Call last_read
    int32_t zone            # NOBODY: nobody knows yet whether it was ever there
    int32_t before          # on its key
    int32_t after
    int32_t result          # the cluster whose writer expects this one: known to have, once left
    int32_t expected        # the cluster that its writer expected; NOBODY: forgotten
    bint visited            # scratch

cdef struct Zone:
    # A chain of clusters: the first return, and the last invocation.
    int64_t f
    int64_t s
    Call f_call
    Call s_call
    int64_t lost_first      # of clusters of it that were forgotten: first return,
    int64_t lost_last       # last invocation
    int32_t clusters
    int32_t place           # among the young; NOBODY: it is old

cdef struct Key:
    int32_t first           # in flight, by invocation
    int32_t last
    int32_t clusters
    int32_t n_clusters
    int32_t sweep_at
    Young young
    int64_t latest          # last invocation of an old zone, whose that is,
    int64_t second          # and the last one of all the others
    int32_t latest_zone
    int8_t status

cdef struct Pool:
    # Cells of one size, numbered; free ones are used again.
    char* cells
    int32_t* free
    int32_t n
    int32_t n_free
    int32_t room
    size_t size

cdef struct Found:
    int32_t key
    int32_t trouble
    int64_t event
    Call culprit
    size_t first_row        # of its evidence
    size_t end_row

cdef struct Engine:
    int64_t initial
    bint observes           # a failed compare-and-set that doesn't say what it saw saw another
    Pairs processes         # process -> flight
    Pairs values            # key and value -> cluster
    Pool flights
    Pool clusters
    Pool zones
    Key* keys
    int32_t n_keys
    int32_t key_room
    Rows kept
    Rows evidence
    Found* found
    size_t n_found
    size_t found_room
    int64_t operations
    int64_t synthetic       # values that were made up for summaries
