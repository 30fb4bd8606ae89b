# distutils: language = c++
"""A whole consensus machine as a few bytes, and back: to copy it, compare it and count it.

Exhaustive exploration (harness/sim/exhaustive) steps the real ``Raft`` from millions of states, so
it must be able to put one into any of them, and to see that two are the same. ``FIELDS`` says of
every field what becomes of it; a test compares it with the declarations.

*Two machines with the same bytes go on alike*, whatever they are given, as long as it is without
reads, leases and waiting clients (``encode`` refuses a machine that has any), for the bytes leave
out only what nobody looks at any more: a follower's notes of what it knew as a leader, votes when
no election is on, and counters for people.

*Time is left out but for one bit.* Whoever explores does not wait, it chooses: a machine's clock
stands still while it takes inputs, and jumps by several election timeouts when the explorer wants
its timer to ring. Then of all that a machine remembers of its clock only two things can differ: a
jump lies between them, or not. With that,

* whether it withholds its vote (``heard_ns`` within an election timeout) is the bit that is kept;
* ``contact_ns``, ``probe_ns``, ``snapshot_ns`` and the like: a leader's clock jumps only to depose
  it, and the next term begins with new ones: fresh as long as anybody looks;
* ``spoken_ns``, ``leader_durable_ns``: grow old together, and then the first word of a leader makes
  both fresh: a leader whose disk stands still is never seen;
* ``writing_since_ns``: fresh. A disk that takes an election timeout costs a leader its leadership,
  and a candidate its chance, which the explorer does anyway by deposing and by not electing it;
* deadlines are not needed: the explorer jumps beyond all of them;
* priorities never make a leader hand over, and a transfer of leadership never runs out: its clock
  does not go that far while it leads.

What is left out so is what the explorer does not cover, never a state that it takes for another.

*Names.* ``encode`` writes node ids as ``names[id]``, configurations in records included, and
members in the order of their names. So the bytes under other names are those of the machine that
would be there if the nodes had been numbered otherwise: of all numberings the explorer keeps one
(Clarke, Enders, Filkorn, Jha, "Exploiting symmetry in temporal logic model checking", 1996; Ip,
Dill, "Better verification through symmetry", 1996). Records, which are long and few, are written
as numbers that one ``RaftEncoding`` gave them.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_reserve,
    buffer_size,
)
from seatrial.core.codec cimport (
    APPEND,
    KIND_CONFIG,
    MESSAGE_SIZE,
    Message,
    RECORD_SIZE,
    SNAPSHOT,
    append_crc,
    plain_crc,
    record_crc,
    set_length,
)
from seatrial.core.invariant cimport must
from seatrial.core.raft_state cimport CANDIDATE, LEADER, PRE_CANDIDATE

from seatrial.core.membership import Configuration

cdef enum:
    LONG = 0xff                 # a number of more than one byte follows

cdef uint64_t NOW_NS = <uint64_t>1 << 50    # what a clock shows after ``decode``

KEPT, GIVEN, FRESH, DEAD, COUNTER, EMPTY, TABLE = (
    "written and read", "the shell gives it", "a time: see above", "nobody looks at it any more",
    "counts, for people or invariants", "refused unless there is nothing in it",
    "follows from the rest")

FIELDS = {
    "RaftState": {
        "node": GIVEN, "heartbeat_ns": GIVEN, "election_ns": GIVEN, "max_batch_bytes": GIVEN,
        "max_inflight_bytes": GIVEN, "lease_ns": EMPTY, "random_state": GIVEN,
        "me": TABLE, "places": TABLE, "peers": KEPT, "speaking": DEAD,
        "voters": KEPT, "outgoing": KEPT, "learners": KEPT, "former_voters": KEPT,
        "replicas": KEPT, "auto_leave": KEPT, "config_index": KEPT, "config_version": COUNTER,
        "configs": KEPT, "base_config": KEPT, "base_config_index": KEPT,
        "now_ns": FRESH, "term": KEPT, "vote": KEPT, "log": KEPT, "snapshot": KEPT,
        "incoming": KEPT, "incoming_durable": KEPT, "incoming_ack_owed": KEPT,
        "incoming_in_term": COUNTER, "incoming_again": COUNTER,
        "mirror": KEPT, "domain": GIVEN, "child": GIVEN, "assigning": TABLE,
        "quorum_lease_ns": GIVEN, "confirmed_ns": DEAD,
        "damaged_until": KEPT, "damaged_term": KEPT, "role": KEPT,
        "leader": KEPT, "commit": KEPT, "verified": KEPT, "acked": KEPT, "ack_owed": KEPT,
        "election_deadline_ns": FRESH, "heard_ns": KEPT, "spoken_ns": FRESH, "pre_round": KEPT,
        "heartbeat_deadline_ns": FRESH, "term_start": KEPT, "round_sent": KEPT,
        "round_wanted": EMPTY, "round_confirmed": DEAD, "round_ns": DEAD, "lease_end_ns": DEAD,
        "lease_void": DEAD, "transfer_to": KEPT, "transfer_deadline_ns": FRESH,
        "transfer_told": KEPT, "hand_over_ns": FRESH, "forced": KEPT, "leader_durable": DEAD,
        "leader_durable_ns": FRESH, "ticket": EMPTY, "ticket_index": DEAD,
        "ticket_asked": EMPTY, "ticket_answered": EMPTY, "ticket_ns": DEAD,
        "state_version": KEPT, "durable_version": KEPT, "durable_index": KEPT,
        "next_persist": KEPT, "write_seq": GIVEN, "writing": KEPT, "writing_last": KEPT,
        "writing_version": KEPT, "writing_since_ns": FRESH, "orphans": EMPTY,
        "elections": COUNTER, "conflicts": COUNTER,
        "chunks_sent": COUNTER, "transfers_resumed": COUNTER,
    },
    "Progress": {
        "node": KEPT, "priority": KEPT, "connected": KEPT, "state": KEPT, "probing": KEPT,
        "probe_ns": FRESH, "next_index": KEPT, "match_index": KEPT, "snapshot_index": KEPT,
        "snapshot_next": KEPT, "snapshot_held": KEPT, "snapshot_ns": FRESH,
        "snapshot_again_ns": FRESH, "round": DEAD, "contact_ns": FRESH,
        "ticket": EMPTY, "ticket_round": DEAD, "ticket_index": DEAD, "voted": KEPT,
        "granted": KEPT, "input": EMPTY, "out": EMPTY, "held": KEPT,
    },
    "Log": {
        "arena": KEPT, "arena_offset": TABLE, "slots": KEPT, "head": TABLE, "count": KEPT,
        "capacity": TABLE, "first": KEPT, "base_term": KEPT, "observed": COUNTER,
    },
    "Slot": {
        "offset": TABLE, "term": KEPT, "request": EMPTY, "connection": EMPTY, "length": KEPT,
    },
    "Chunks": {
        "index": KEPT, "term": KEPT, "size": TABLE, "crc": TABLE, "complete": TABLE,
        "version": GIVEN,
        "records": KEPT, "starts": TABLE,
    },
}


cdef int put(Buffer* out, uint64_t value) except -1 nogil:
    """Write a number: a byte, where it is small."""
    cdef uint8_t small = <uint8_t>value if value < LONG else LONG
    buffer_append(out, &small, 1)
    if small == LONG:
        buffer_append(out, &value, sizeof(value))
    return 0


cdef uint64_t get(const char** p) noexcept nogil:
    """Read a number, and go on behind it."""
    cdef uint64_t value = <uint8_t>p[0][0]
    p[0] += 1
    if value == LONG:
        memcpy(&value, p[0], sizeof(value))
        p[0] += sizeof(value)
    return value


cdef uint32_t named(uint32_t node, const uint32_t* names) noexcept nogil:
    return node if names is NULL else names[node]


cdef uint64_t named_set(Raft r, uint64_t places, const uint32_t* names) noexcept nogil:
    """A mask over places, as one over names."""
    cdef uint64_t found = 0
    cdef int i
    for i in range(r.places):
        if places >> i & 1:
            found |= <uint64_t>1 << named(r.peers[i].node, names)
    return found


cdef uint64_t places_of(Raft r, uint64_t nodes) noexcept nogil:
    cdef uint64_t found = 0
    cdef int i
    for i in range(r.places):
        if nodes >> r.peers[i].node & 1:
            found |= <uint64_t>1 << i
    return found


cdef class RaftEncoding:
    """Encodes and decodes the machines of one cluster; the bytes of another one are not its."""

    def encoded(self, Raft raft, names=None) -> bytes:
        """Return a machine's state. names: node -> its name; None: its id."""
        cdef Buffer out
        cdef uint32_t[MAX_NAMED] table
        cdef const uint32_t* chosen = NULL
        cdef int i
        for i in range(MAX_NAMED):
            table[i] = 0 if names is None else names.get(i, i)
        if names is not None:
            chosen = table
        buffer_init(&out)
        try:
            self.encode(raft, &out, chosen)
            return PyBytes_FromStringAndSize(out.data + out.start, buffer_size(&out))
        finally:
            buffer_free(&out)

    def decoded(self, Raft raft, bytes state) -> None:
        """Put a machine of the same node and settings into a state."""
        self.decode(raft, PyBytes_AS_STRING(state))

    # ---- records -------------------------------------------------------------------------

    cdef int number(self, const Record* r) except -1:
        """The number of a record, whose bytes are kept."""
        cdef string key = string(<const char*>r, r.length)
        cdef uint32_t* known = &self.numbers[key]
        if known[0] == 0:
            self.records.push_back(key)
            known[0] = <uint32_t>self.records.size()
        return <int>known[0] - 1

    cdef const Record* record(self, uint64_t number) noexcept nogil:
        return <const Record*>self.records[number].data()

    cdef int renamed(self, int number, const uint32_t* names) except -1:
        """The number of the same record with nodes of other names: of a configuration."""
        cdef const Record* r = self.record(number)
        cdef Record head = r[0]
        cdef bytes payload
        if names is NULL or r.kind != KIND_CONFIG:
            return number
        before = Configuration.decode((<const char*>r + RECORD_SIZE)[:r.length - RECORD_SIZE])
        rename = {node: names[node] for node in before.details}
        payload = Configuration(
            [rename[node] for node in before.voters],
            outgoing=[rename[node] for node in before.outgoing],
            learners=[rename[node] for node in before.learners],
            learners_next=[rename[node] for node in before.learners_next],
            auto_leave=before.auto_leave,
            details={rename[node]: details for node, details in before.details.items()},
        ).encode()
        return self._made(&head, payload)

    cdef int _made(self, Record* head, bytes payload) except -1:
        cdef bytes whole
        cdef Record* r
        head.length = <uint32_t>(RECORD_SIZE + len(payload))
        whole = PyBytes_FromStringAndSize(<const char*>head, RECORD_SIZE) + payload
        r = <Record*>PyBytes_AS_STRING(whole)
        r.crc = record_crc(r)
        return self.number(r)

    cdef int _put_record(self, Buffer* out, const Record* r, const uint32_t* names) except -1:
        return put(out, self.renamed(self.number(r), names))

    # ---- frames --------------------------------------------------------------------------

    cdef int encode_frame(self, const char* frame, Buffer* out, const uint32_t* names) except -1:
        """Write a member's frame, but for who sends it to whom."""
        cdef const Message* m = <const Message*>frame
        cdef const char* p = frame + MESSAGE_SIZE
        put(out, m.header.type)
        put(out, m.header.flags)
        put(out, m.term)
        put(out, m.index)
        put(out, m.log_term)
        put(out, m.commit)
        put(out, m.round)
        put(out, m.count)
        while p < frame + m.header.length:
            self._put_record(out, <const Record*>p, names)
            p += (<const Record*>p).length
        return 0

    cdef const char* decode_frame(self, const char* p, uint32_t sender, uint32_t receiver,
                                  Buffer* out) except NULL:
        """Append the frame at ``p``; return what is behind it."""
        cdef Message* m = <Message*>buffer_reserve(out, MESSAGE_SIZE)
        cdef size_t start = buffer_size(out), size = MESSAGE_SIZE
        cdef const Record* r
        memset(m, 0, MESSAGE_SIZE)
        m.header.type = <uint8_t>get(&p)
        m.header.flags = <uint8_t>get(&p)
        m.sender = sender
        m.receiver = receiver
        m.term = get(&p)
        m.index = get(&p)
        m.log_term = get(&p)
        m.commit = get(&p)
        m.round = get(&p)
        m.count = <uint32_t>get(&p)
        out.end += MESSAGE_SIZE
        for _ in range(m.count):
            r = self.record(get(&p))
            buffer_append(out, r, r.length)
            size += r.length
            m = <Message*>(out.data + out.start + start)
        set_length(&m.header, size)
        if m.header.type == APPEND or m.header.type == SNAPSHOT:
            m.header.crc = append_crc(<const char*>m, MESSAGE_SIZE)
        else:
            m.header.crc = plain_crc(<const char*>m)
        return p

    # ---- writing -------------------------------------------------------------------------

    cdef int encode(self, Raft r, Buffer* out, const uint32_t* names) except -1:
        """Append a machine's state."""
        cdef uint64_t i
        cdef bint written = r.durable_version == r.state_version
        must(r.lease_ns == 0 and r.round_wanted == 0 and buffer_size(&r.orphans) == 0
             and r.ticket == r.ticket_asked == r.ticket_answered,
             b"encodes a machine with reads, leases or clients", r.node)
        put(out, r.term)
        put(out, named(r.vote, names) if r.vote else 0)
        put(out, r.role)
        put(out, named(r.leader, names) if r.leader else 0)
        put(out, r.commit)
        put(out, r.verified)
        put(out, r.acked)
        put(out, r.ack_owed)
        put(out, r.now_ns < r.heard_ns + r.election_ns)
        put(out, r.pre_round)
        put(out, r.forced if r.role == CANDIDATE else 0)
        put(out, written)
        put(out, r.writing)
        put(out, r.writing_last if r.writing else 0)
        put(out, r.writing_version == r.state_version if r.writing and not written else 0)
        put(out, r.durable_index)
        put(out, r.next_persist)
        put(out, r.damaged_until)
        put(out, r.damaged_term)
        put(out, r.mirror.base.rindex)
        put(out, r.log.first)
        put(out, r.log.base_term)
        put(out, r.log.count)
        for i in range(r.log.first, r.log.last() + 1):
            must(r.log.slot(i).connection == 0, b"encodes an entry that a client waits for", i)
            self._put_record(out, r.log.record(i), names)
        if r.role == LEADER:
            put(out, r.term_start)
            put(out, r.round_sent)
            put(out, named(r.transfer_to, names) if r.transfer_to else 0)
            put(out, r.transfer_told if r.transfer_to else 0)
        self._put_configuration(r, out, names)
        self._put_chunks(r.snapshot, out, names)
        self._put_chunks(r.incoming, out, names)
        put(out, r.incoming_durable)
        put(out, r.incoming_ack_owed)
        return 0

    cdef int _put_configuration(self, Raft r, Buffer* out, const uint32_t* names) except -1:
        """Members in the order of their names, and what the configuration makes of them."""
        cdef Record head
        cdef uint64_t present = 0
        cdef const uint64_t* index = <const uint64_t*>(r.configs.data + r.configs.start)
        cdef size_t i
        cdef uint32_t name
        cdef int place
        memset(&head, 0, sizeof(head))
        head.kind = KIND_CONFIG
        put(out, self.renamed(self._made(&head, r.base_config.data[r.base_config.start:
                                                                   r.base_config.end]), names))
        put(out, r.base_config_index)
        put(out, buffer_size(&r.configs) // sizeof(uint64_t))
        for i in range(buffer_size(&r.configs) // sizeof(uint64_t)):
            put(out, index[i])
        put(out, r.config_index)
        put(out, r.auto_leave)
        for place in range(r.places):
            must(r.peers[place].node < MAX_NAMED, b"encodes a node of a large id",
                 r.peers[place].node)
            present |= <uint64_t>1 << named(r.peers[place].node, names)
        put(out, present)
        for name in range(<uint32_t>MAX_NAMED):
            if present >> name & 1:
                for place in range(r.places):
                    if named(r.peers[place].node, names) == name:
                        self._put_member(r, &r.peers[place], place == r.me, out, names)
        put(out, named_set(r, r.voters, names))
        put(out, named_set(r, r.outgoing, names))
        put(out, named_set(r, r.learners, names))
        put(out, named_set(r, r.former_voters, names))
        return put(out, named_set(r, r.replicas, names))

    cdef int _put_member(self, Raft r, Progress* p, bint me, Buffer* out,
                         const uint32_t* names) except -1:
        cdef const char* frame = p.held.data + p.held.start
        cdef const char* end = p.held.data + p.held.end
        must(buffer_size(&p.out) == 0 and buffer_size(&p.input) == 0 and p.ticket == 0,
             b"encodes a machine in the middle of a step", r.node, p.node)
        put(out, p.priority)
        put(out, p.connected)
        if r.role == CANDIDATE or r.role == PRE_CANDIDATE:
            put(out, p.voted)
            put(out, p.granted)
        if r.role == LEADER and not me:
            put(out, p.state)
            put(out, p.probing)
            put(out, p.next_index)
            put(out, p.match_index)
            put(out, p.snapshot_index)
            put(out, p.snapshot_next)
            put(out, p.snapshot_held)
        while frame < end:
            put(out, 1)
            self.encode_frame(frame, out, names)
            frame += (<const Message*>frame).header.length
        return put(out, 0)

    cdef int _put_chunks(self, Chunks chunks, Buffer* out, const uint32_t* names) except -1:
        cdef uint64_t i
        put(out, chunks.index)
        put(out, chunks.term)
        put(out, chunks.count())
        for i in range(chunks.count()):
            self._put_record(out, chunks.chunk(i), names)
        return 0

    # ---- reading -------------------------------------------------------------------------

    cdef int decode(self, Raft r, const char* p) except -1:
        """Put a machine into the state at ``p``, which was written under nodes' own names."""
        cdef bint withholds, written, same
        r.now_ns = r.spoken_ns = r.leader_durable_ns = r.writing_since_ns = NOW_NS
        r.election_deadline_ns = NOW_NS + r.election_ns + r.election_ns // 2
        r.heartbeat_deadline_ns = NOW_NS + r.heartbeat_ns
        r.transfer_deadline_ns = r.hand_over_ns = NOW_NS + r.election_ns
        r.term = get(&p)
        r.vote = <uint32_t>get(&p)
        r.role = <int>get(&p)
        r.leader = <uint32_t>get(&p)
        r.commit = get(&p)
        r.verified = get(&p)
        r.acked = get(&p)
        r.ack_owed = get(&p)
        withholds = get(&p)
        r.heard_ns = NOW_NS if withholds else NOW_NS - r.election_ns
        r.pre_round = get(&p)
        r.forced = get(&p)
        written = get(&p)
        r.writing = get(&p)
        r.writing_last = get(&p)
        same = get(&p)
        r.state_version = 2
        r.durable_version = 2 if written else 0
        r.writing_version = 2 if written or same else 1
        r.write_seq = 1
        r.durable_index = get(&p)
        r.next_persist = get(&p)
        r.damaged_until = get(&p)
        r.damaged_term = get(&p)
        r.mirror.base_index = 0
        r.mirror.base.rindex = get(&p)
        self._get_log(r, &p)
        r.mirror.rescan()
        r.assigning = r.role == LEADER and r.assigns()
        r.term_start = r.round_sent = r.transfer_to = r.transfer_told = 0
        if r.role == LEADER:
            r.term_start = get(&p)
            r.round_sent = get(&p)
            r.transfer_to = <uint32_t>get(&p)
            r.transfer_told = get(&p)
        r.round_wanted = r.round_confirmed = r.lease_end_ns = r.leader_durable = 0
        r.confirmed_ns = 0
        r.lease_void = False
        memset(r.round_ns, 0, sizeof(r.round_ns))
        r.ticket = r.ticket_asked = r.ticket_answered = r.ticket_index = r.ticket_ns = 0
        buffer_consume(&r.orphans, buffer_size(&r.orphans))
        self._get_configuration(r, &p)
        self._get_chunks(r.snapshot, &p)
        self._get_chunks(r.incoming, &p)
        r.incoming_durable = get(&p)
        r.incoming_ack_owed = get(&p)
        return 0

    cdef int _get_log(self, Raft r, const char** p) except -1:
        cdef uint64_t count
        buffer_consume(&r.log.arena, buffer_size(&r.log.arena))
        r.log.head = r.log.count = 0
        r.log.arena_offset = r.log.observed = 0
        r.log.first = get(p)
        r.log.base_term = get(p)
        count = get(p)
        while count:
            r.log.append(self.record(get(p)))
            count -= 1
        return 0

    cdef int _get_configuration(self, Raft r, const char** p) except -1:
        cdef const Record* base = self.record(get(p))
        cdef uint64_t count, index
        buffer_consume(&r.base_config, buffer_size(&r.base_config))
        buffer_append(&r.base_config, <const char*>base + RECORD_SIZE, base.length - RECORD_SIZE)
        r.base_config_index = get(p)
        buffer_consume(&r.configs, buffer_size(&r.configs))
        count = get(p)
        while count:
            index = get(p)
            buffer_append(&r.configs, &index, sizeof(index))
            count -= 1
        r.config_index = get(p)
        r.auto_leave = get(p)
        self._get_members(r, p)
        r.voters = places_of(r, get(p))
        r.outgoing = places_of(r, get(p))
        r.learners = places_of(r, get(p))
        r.former_voters = places_of(r, get(p))
        r.replicas = places_of(r, get(p))
        return 0

    cdef int _get_members(self, Raft r, const char** p) except -1:
        cdef uint64_t present = get(p)
        cdef Progress* peer
        cdef uint32_t node
        cdef int place
        for place in range(r.places):
            buffer_free(&r.peers[place].input)
            buffer_free(&r.peers[place].out)
            buffer_free(&r.peers[place].held)
        memset(r.peers, 0, r.places * sizeof(Progress))
        r.places = r.speaking = 0
        for node in range(<uint32_t>MAX_NAMED):
            if not present >> node & 1:
                continue
            peer = &r.peers[r.places]
            peer.node = node
            if node == r.node:
                r.me = r.places
            r.places += 1
            peer.contact_ns = peer.probe_ns = peer.snapshot_ns = peer.snapshot_again_ns = NOW_NS
            peer.priority = <uint8_t>get(p)
            peer.connected = get(p)
            if r.role == CANDIDATE or r.role == PRE_CANDIDATE:
                peer.voted = get(p)
                peer.granted = <int>get(p)
            if r.role == LEADER and node != r.node:
                peer.state = <int>get(p)
                peer.probing = get(p)
                peer.next_index = get(p)
                peer.match_index = get(p)
                peer.snapshot_index = get(p)
                peer.snapshot_next = get(p)
                peer.snapshot_held = get(p)
            while get(p):
                p[0] = self.decode_frame(p[0], r.node, node, &peer.held)
        return 0

    cdef int _get_chunks(self, Chunks chunks, const char** p) except -1:
        cdef uint64_t index = get(p), term = get(p), count = get(p)
        chunks.clear(index, term)
        while count:
            chunks.add(self.record(get(p)))
            count -= 1
        return 0
