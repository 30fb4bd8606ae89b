"""The queue of a simulated world's events: earliest first, and in the order of their making."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <cstdint>
    #include <queue>
    #include <vector>

    struct Event {
        uint64_t time_ns;
        uint64_t order;
        void *payload;
        uint32_t number;
        uint16_t to;
        uint16_t from;
        uint8_t kind;
    };
    struct LaterEvent {
        bool operator()(const Event &x, const Event &y) const {
            return x.time_ns != y.time_ns ? x.time_ns > y.time_ns : x.order > y.order;
        }
    };
    typedef std::priority_queue<Event, std::vector<Event>, LaterEvent> EventQueue;
    """
    cppclass Event:
        uint64_t time_ns
        uint64_t order
        void* payload       # a Packet that belongs to the event, or NULL
        uint32_t number     # of the connection, the life or the timer that it belongs to
        uint16_t to         # where it happens
        uint16_t sender "from"
        uint8_t kind

    cppclass EventQueue:
        EventQueue() except +
        void push(const Event&) except + nogil
        const Event& top() nogil
        void pop() nogil
        bint empty() nogil
        size_t size() nogil
