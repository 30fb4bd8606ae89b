# distutils: language = c++
"""The rest of a replica as a few bytes, and back: its part in a tree of domains, and its clock.

What raft_encoding.pyx leaves out, for exhaustive exploration of trees (harness/sim/exhaustive).
There *time is exact*: all nodes have one clock, that of whoever explores, which goes on by
nanoseconds (heartbeats) and by jumps that are longer than any timer. So whatever is a time is
written as it is, or as "gone by" where nothing but that can matter any more: the lease, the
promise not to vote, the wait before an exclusion. Both give the same answers from there on,
because clocks only go forward.

*Two replicas with the same bytes go on alike*, as long as they are without clients, reads,
snapshots and handed over leadership (``encode`` refuses those). How old what was applied is
matters to bounded reads only, and is left out; so is what is counted for people.

Of a link's frames the bytes leave out who sends it, which the connection tells, the check, how old
what it tells is, and whom a redirect names: whoever explores tries all of the parent's nodes.
"""
from libc.stdint cimport uint8_t
from libc.string cimport memset

from seatrial.core.buffer cimport (
    buffer_append,
    buffer_init,
    buffer_reserve,
    buffer_size,
)
from seatrial.core.codec cimport (
    append_crc,
    LINK_APPEND,
    LINK_REDIRECT,
    LINK_SIZE,
    LINK_SNAPSHOT,
    LinkMessage,
    plain_crc,
    Record,
    set_length,
)
from seatrial.core.downlinks cimport MAX_DOWNLINKS, SENDING_SNAPSHOT, WAITING
from seatrial.core.invariant cimport must
from seatrial.core.progress cimport Progress
from seatrial.core.raft_encoding cimport get, MAX_NAMED, put
from seatrial.core.raft_state cimport LEADER, ROUNDS
from seatrial.core.root_commit cimport ACKS

from seatrial.core.raft_encoding import COUNTER, DEAD, EMPTY, GIVEN, KEPT, TABLE

AGE = ("how old what was applied is: for bounded reads, and for a parent that is silent about the "
       "root for long: neither is explored")
GAP = "how an excluded child catches up: matters where a tree throttles writers for it; none does"
LAG = "when it was excluded for its lag: no explored tree bounds that"
NEAR = "whether a time may stand for few entries: there are few"

FIELDS = {
    "RootCommit": {
        "raft": KEPT, "mirror": TABLE, "domain": GIVEN, "led_term": KEPT, "elected_ns": KEPT,
        "elected_rindex": DEAD, "children": KEPT, "child_places": KEPT, "marks": KEPT,
        "mark_count": KEPT, "committed": KEPT, "applied": TABLE, "applied_at": TABLE,
        "told": KEPT, "now_ns": GIVEN,
    },
    "Child": {
        "domain": KEPT, "acks": KEPT, "ack_terms": KEPT, "next_ack": KEPT, "heard_ns": KEPT,
        "current_ns": KEPT, "granted_until_ns": KEPT, "sample_rindex": KEPT, "sample_ns": KEPT,
        "gap_ns": GAP, "gap": GAP, "stuck": GAP, "slowed": GAP,
        "lagged_ns": LAG, "measured": NEAR,
    },
    "Mark": {"at": KEPT, "rterm": KEPT},
    "Downlinks": {
        "downlinks": KEPT, "linked": TABLE, "link_places": TABLE,
        "max_batch_bytes": GIVEN, "max_inflight_bytes": GIVEN,
        "told_tree": EMPTY, "told_rindex": EMPTY, "told_view": EMPTY,
    },
    "Downlink": {
        "connection": KEPT, "domain": KEPT, "state": KEPT, "probing": KEPT, "probe_ns": KEPT,
        "next_rindex": KEPT, "verified": COUNTER, "committed": KEPT, "their_ns": KEPT,
        "owed": KEPT, "sent_ns": COUNTER, "told": KEPT, "snapshot_index": EMPTY,
        "piece_next": EMPTY, "piece_held": EMPTY, "piece_ns": EMPTY, "pieces": EMPTY,
        "piece_patience_ns": EMPTY, "piece_window": EMPTY, "replaced": EMPTY,
        "ticket": EMPTY, "ticket_round": EMPTY, "ticket_rindex": EMPTY, "ticket_up": EMPTY,
        "ticket_next": EMPTY, "input": EMPTY, "out": EMPTY,
    },
    "Uplink": {
        "state": KEPT, "up": KEPT, "parent_node": KEPT, "heard_ns": KEPT, "asked_ns": KEPT,
        "parent_age_ns": AGE, "sought_ns": AGE, "their_ns": KEPT, "ack_owed": KEPT,
        "refused": KEPT, "hint": KEPT, "verified": KEPT, "verified_any": KEPT,
        "begun_pieces": EMPTY, "offered_term": KEPT, "their_end": COUNTER,
        "their_end_ns": COUNTER,
        "lease_until_ns": KEPT, "lease_include": KEPT, "fresh_ns": AGE, "fresh_next_rindex": AGE,
        "fresh_next_ns": AGE, "sent": KEPT, "ticket": EMPTY, "ticket_asked": EMPTY,
        "ticket_answered": EMPTY, "ticket_ns": EMPTY, "ticket_rindex": EMPTY, "moving": GIVEN,
        "move_node": GIVEN, "move_address": GIVEN, "up_input": EMPTY,
        "up_out": EMPTY,
    },
    "Children": {
        "stalled_until_ns": EMPTY, "throttled_until_ns": EMPTY, "throttled": COUNTER,
        "exclusions": COUNTER, "inclusions": COUNTER,
    },
    "Domain": {
        "initial_tree": GIVEN, "initial_parent": GIVEN, "watched_ns": KEPT, "marked_ns": KEPT,
    },
}


cdef uint32_t named(uint32_t node, const uint32_t* names) noexcept:
    return names[node] if names is not NULL and node else node


cdef int put_coordinates(Buffer* out, Coordinates c) except -1:
    put(out, c.rindex)
    put(out, c.rterm.epoch)
    return put(out, c.rterm.term)


cdef Coordinates get_coordinates(const char** p) noexcept:
    cdef Coordinates c
    c.rindex = get(p)
    c.rterm.epoch = get(p)
    c.rterm.term = get(p)
    return c


cdef class DomainEncoding:
    """Encodes and decodes the replicas of one tree. jump_ns: how far the clock jumps, at least
    eight election timeouts."""

    def __cinit__(self, RaftEncoding states, uint64_t begin_ns, uint64_t jump_ns):
        self.states = states
        self.begin_ns = begin_ns
        self.jump_ns = jump_ns

    cdef int put_time(self, Buffer* out, uint64_t at_ns, bint gone) except -1:
        return put(out, 0 if gone or at_ns < self.begin_ns else at_ns - self.begin_ns + 1)

    cdef uint64_t get_time(self, const char** p) noexcept:
        cdef uint64_t at = get(p)
        return at - 1 + self.begin_ns if at else 0

    # ---- replicas ------------------------------------------------------------------------

    cdef int encode(self, Replica r, uint64_t now_ns, Buffer* out,
                    const uint32_t* names) except -1:
        """Append what RaftEncoding leaves out of a replica."""
        cdef Domain d = r.domain
        cdef int i
        must(r.connections.empty() and r.reads.empty() and r.waiting.empty()
             and r.raft.snapshot.index == 0 and r.raft.log.first == 1 and r.raft.transfer_to == 0
             and d.told_rindex == 0 and d.stalled_until_ns == 0 and d.throttled_until_ns == 0
             and d.ticket == d.ticket_asked == d.ticket_answered,
             b"encodes a domain's node with clients, reads, snapshots or another parent",
             r.raft.node)
        self._put_raft(r.raft, now_ns, out, names)
        put(out, r.applied)
        put(out, r.answered)
        put(out, r.kv.applied)
        put(out, d.committed)
        put(out, d.mark_count)
        for i in range(d.mark_count):
            put_coordinates(out, d.marks[i].at)
            put(out, d.marks[i].rterm.epoch)
            put(out, d.marks[i].rterm.term)
        put(out, d.told.rindex)
        self.put_time(out, d.marked_ns, d.marked_ns + r.raft.heartbeat_ns <= now_ns)
        self.put_time(out, d.watched_ns, d.watched_ns + r.raft.heartbeat_ns <= now_ns)
        put(out, d.led_term)
        if d.led_term:
            self._put_children(d, now_ns, out)
        self._put_downlinks(d, now_ns, out, names)
        return self._put_uplink(d, now_ns, out, names)

    cdef int decode(self, Replica r, uint64_t now_ns, const char* p) except -1:
        """Put a replica, whose Raft was read already, into the state at ``p``."""
        cdef Domain d = r.domain
        cdef int i
        r.raft.now_ns = d.now_ns = now_ns
        self._get_raft(r.raft, &p)
        r.applied = get(&p)
        r.answered = get(&p)
        r.kv.applied = d.applied = get(&p)
        d.committed = get(&p)
        d.mark_count = <int>get(&p)
        for i in range(d.mark_count):
            d.marks[i].at = get_coordinates(&p)
            d.marks[i].rterm.epoch = get(&p)
            d.marks[i].rterm.term = get(&p)
        memset(&d.told, 0, sizeof(d.told))
        d.told.rindex = get(&p)
        d.marked_ns = self.get_time(&p)
        d.watched_ns = self.get_time(&p)
        d.led_term = get(&p)
        memset(d.children, 0, sizeof(d.children))
        memset(&d.applied_at, 0, sizeof(d.applied_at))  # (it follows from mirror and applied)
        d.child_places = 0
        d.elected_ns = d.elected_rindex = 0
        if d.led_term:
            self._get_children(d, &p)
        self._get_downlinks(d, &p)
        return self._get_uplink(d, &p)

    cdef int _put_raft(self, Raft r, uint64_t now_ns, Buffer* out,
                       const uint32_t* names) except -1:
        """Its times, and a leader's rounds."""
        cdef uint64_t i
        cdef uint32_t name
        cdef int place
        cdef Progress* p
        self.put_time(out, r.heard_ns, now_ns >= r.heard_ns + r.election_ns)
        self.put_time(out, r.writing_since_ns,
                      not r.writing or now_ns > r.writing_since_ns + r.election_ns)
        if r.role != LEADER:            # (it was set between two jumps, and is due after the next)
            put(out, 0 if r.election_deadline_ns <= now_ns else
                (r.election_deadline_ns - self.begin_ns - r.election_ns) // self.jump_ns + 1)
            return 0
        must(not r.lease_void, b"encodes a leader that hands over", r.node)
        self.put_time(out, r.heartbeat_deadline_ns, r.heartbeat_deadline_ns <= now_ns)
        self.put_time(out, r.confirmed_ns, r.confirmed_ns + r.quorum_lease_ns <= now_ns)
        put(out, r.round_confirmed)
        for i in range(r.round_confirmed, r.round_sent + 1):
            self.put_time(out, r.round_ns[i % ROUNDS],
                          i == 0 or r.round_ns[i % ROUNDS] + r.quorum_lease_ns <= now_ns)
        for name in range(<uint32_t>MAX_NAMED):
            for place in range(r.places):
                p = &r.peers[place]
                if named(p.node, names) != name or place == r.me:
                    continue
                put(out, p.round)
                self.put_time(out, p.contact_ns, p.contact_ns + 2 * r.election_ns < now_ns)
                self.put_time(out, p.probe_ns,
                              not p.probing or now_ns >= p.probe_ns + r.election_ns)
        return 0

    cdef int _get_raft(self, Raft r, const char** p) except -1:
        cdef uint64_t i, due
        cdef int place
        r.heard_ns = self.get_time(p)
        r.writing_since_ns = self.get_time(p)
        if r.role != LEADER:
            due = get(p)
            r.election_deadline_ns = self.begin_ns + due * self.jump_ns if due else 0
            return 0
        r.heartbeat_deadline_ns = self.get_time(p)
        r.confirmed_ns = self.get_time(p)
        r.round_confirmed = get(p)
        for i in range(r.round_confirmed, r.round_sent + 1):
            r.round_ns[i % ROUNDS] = self.get_time(p)
        for place in range(r.places):   # (RaftEncoding puts them in the order of their ids)
            if place != r.me:
                r.peers[place].round = get(p)
                r.peers[place].contact_ns = self.get_time(p)
                r.peers[place].probe_ns = self.get_time(p)
        return 0

    # ---- children and links ----------------------------------------------------------------

    cdef int _put_children(self, Domain d, uint64_t now_ns, Buffer* out) except -1:
        """What a leader knows of them, in the order of their ids."""
        cdef const Child* c
        cdef uint64_t wait_ns = d._wait_ns(d.mirror.tree()) if d.mirror.tree() is not NULL else 0
        cdef int i, k
        cdef uint16_t id
        self.put_time(out, d.elected_ns, d.mirror.tree() is not NULL
                      and d.elected_ns + wait_ns <= now_ns)
        for id in range(1, MAX_NAMED):
            for i in range(d.child_places):
                c = &d.children[i]
                if c.domain != id:
                    continue
                put(out, id)
                put(out, c.next_ack if c.next_ack < ACKS else ACKS + c.next_ack % ACKS)
                for k in range(ACKS):
                    put_coordinates(out, c.acks[k])
                    put(out, c.ack_terms[k].epoch)
                    put(out, c.ack_terms[k].term)
                self.put_time(out, c.heard_ns, c.heard_ns + 2 * d.raft.election_ns <= now_ns)
                self.put_time(out, c.current_ns, False)
                self.put_time(out, c.granted_until_ns, c.granted_until_ns <= now_ns)
                put(out, c.sample_rindex)
                self.put_time(out, c.sample_ns, False)
        return put(out, 0)

    cdef int _get_children(self, Domain d, const char** p) except -1:
        cdef Child* c
        cdef int i = 0, k
        cdef uint16_t id
        d.elected_ns = self.get_time(p)
        while True:
            id = <uint16_t>get(p)
            if id == 0:
                d.child_places = i
                return 0
            c = &d.children[i]
            i += 1
            c.domain = id
            c.next_ack = <uint32_t>get(p)
            for k in range(ACKS):
                c.acks[k] = get_coordinates(p)
                c.ack_terms[k].epoch = get(p)
                c.ack_terms[k].term = get(p)
            c.heard_ns = self.get_time(p)
            c.current_ns = self.get_time(p)
            c.granted_until_ns = self.get_time(p)
            c.sample_rindex = get(p)
            c.sample_ns = self.get_time(p)

    cdef int _put_downlinks(self, Domain d, uint64_t now_ns, Buffer* out,
                            const uint32_t* names) except -1:
        """In the order of the names of the nodes at the other ends: a connection is numbered as
        the node that made it."""
        cdef uint32_t name
        cdef int i
        if d.linked:
            for name in range(<uint32_t>1, <uint32_t>MAX_NAMED):
                for i in range(MAX_DOWNLINKS):
                    if d.downlinks[i].connection and named(d.downlinks[i].connection,
                                                           names) == name:
                        put(out, name)
                        self._put_downlink(d, &d.downlinks[i], now_ns, out)
        return put(out, 0)

    cdef int _put_downlink(self, Domain d, const Downlink* link, uint64_t now_ns,
                           Buffer* out) except -1:
        must(link.state != SENDING_SNAPSHOT and link.ticket == link.ticket_next == 0
             and link.pieces[1] == 0 and buffer_size(&link.input) == 0
             and buffer_size(&link.out) == 0,
             b"encodes a link in the middle of a step, or with reads or snapshots", d.raft.node)
        put(out, link.domain)
        put(out, link.state)
        put(out, link.told.rindex)
        if link.state == WAITING:       # (the rest begins anew with what the child says next)
            return 0
        put(out, link.probing)
        self.put_time(out, link.probe_ns, not link.probing
                      or now_ns >= link.probe_ns + d.raft.election_ns)
        put(out, link.next_rindex)
        put(out, link.committed)
        self.put_time(out, link.their_ns, False)
        return put(out, link.owed)

    cdef int _get_downlinks(self, Domain d, const char** p) except -1:
        cdef Downlink* link
        cdef uint32_t connection
        cdef int i
        if d.linked:
            for i in range(MAX_DOWNLINKS):
                if d.downlinks[i].connection:
                    d.link_down(d.downlinks[i].connection)
        i = 0
        while True:
            connection = <uint32_t>get(p)
            if connection == 0:
                d.linked = d.link_places = i
                return 0
            link = &d.downlinks[i]
            i += 1
            memset(link, 0, sizeof(Downlink))
            buffer_init(&link.input)
            buffer_init(&link.out)
            link.connection = connection
            link.domain = <uint16_t>get(p)
            link.state = <int>get(p)
            link.told.rindex = get(p)
            if link.state == WAITING:
                continue
            link.probing = get(p)
            link.probe_ns = self.get_time(p)
            link.next_rindex = get(p)
            link.committed = get(p)
            link.their_ns = self.get_time(p)
            link.owed = get(p)

    cdef int _put_uplink(self, Domain d, uint64_t now_ns, Buffer* out,
                         const uint32_t* names) except -1:
        cdef bint gone = d.lease_until_ns <= now_ns
        cdef int i
        must(buffer_size(&d.up_out) == 0 and buffer_size(&d.up_input) == 0 and not d.begun_pieces,
             b"encodes an uplink in the middle of a step, or with snapshots", d.raft.node)
        self.put_time(out, d.lease_until_ns, gone)
        put(out, 0 if gone else d.lease_include)
        put(out, d.up)
        if not d.up:
            return 0
        put(out, named(d.parent_node, names))
        put(out, d.state)
        self.put_time(out, d.heard_ns, now_ns > d.heard_ns + 4 * d.raft.election_ns)
        self.put_time(out, d.asked_ns, now_ns >= d.asked_ns + d.raft.heartbeat_ns)
        self.put_time(out, d.their_ns, False)
        put(out, d.ack_owed)
        put(out, d.refused)
        if d.refused:
            put_coordinates(out, d.hint)
        put(out, d.verified)
        put(out, d.verified_any)
        put(out, d.offered_term.epoch)
        put(out, d.offered_term.term)
        for i in range(3):
            put(out, d.sent[i])
        return 0

    cdef int _get_uplink(self, Domain d, const char** p) except -1:
        cdef int i
        d.uplink_down()
        d.lease_until_ns = self.get_time(p)
        d.lease_include = get(p)
        d.fresh_ns = d.fresh_next_ns = d.fresh_next_rindex = d.asked_ns = d.heard_ns = 0
        d.parent_age_ns = d.sought_ns = 0
        memset(&d.their_end, 0, sizeof(d.their_end))
        d.moving = False
        d.parent_node = 0
        d.up = get(p)
        if not d.up:
            return 0
        d.parent_node = <uint32_t>get(p)
        d.state = <int>get(p)
        d.heard_ns = self.get_time(p)
        d.asked_ns = self.get_time(p)
        d.their_ns = self.get_time(p)
        d.ack_owed = get(p)
        d.refused = get(p)
        if d.refused:
            d.hint = get_coordinates(p)
        d.verified = get(p)
        d.verified_any = get(p)
        d.offered_term.epoch = get(p)
        d.offered_term.term = get(p)
        for i in range(3):
            d.sent[i] = get(p)
        return 0

    # ---- frames ------------------------------------------------------------------------------

    cdef int encode_frame(self, const char* frame, Buffer* out,
                          const uint32_t* names) except -1:
        """Write a frame of a link, or a MARK."""
        cdef const LinkMessage* m = <const LinkMessage*>frame
        cdef const char* p = frame + LINK_SIZE
        cdef const char* end = frame + m.header.length
        put(out, m.header.type)
        put(out, m.header.flags)
        put(out, m.domain)
        put(out, m.root)
        put(out, m.term)
        put(out, m.adopted_epoch)
        put(out, m.adopted_term)
        put(out, m.rindex)
        put(out, m.epoch)
        put(out, m.rterm)
        put(out, m.mark_rindex)
        put(out, m.mark_epoch)
        put(out, m.mark_term)
        put(out, m.end_rindex)
        put(out, m.end_epoch)
        put(out, m.end_term)
        self.put_time(out, m.sent_ns, False)
        self.put_time(out, m.echo_ns, False)
        put(out, m.lease_ns)
        put(out, m.include_rindex)
        put(out, 0 if m.header.type == LINK_REDIRECT else m.round)
        put(out, m.count)
        if m.header.type == LINK_APPEND or m.header.type == LINK_SNAPSHOT:
            while p < end:
                put(out, self.states.renamed(self.states.number(<const Record*>p), names))
                p += (<const Record*>p).length
            return 0
        put(out, end - p)
        return buffer_append(out, p, end - p)

    cdef int decode_frame(self, const char* p, uint32_t sender, Buffer* out) except -1:
        """Append the frame at ``p``."""
        cdef size_t start = buffer_size(out), size = LINK_SIZE, more
        cdef LinkMessage* m = <LinkMessage*>buffer_reserve(out, LINK_SIZE)
        cdef const Record* r
        memset(m, 0, LINK_SIZE)
        m.header.type = <uint8_t>get(&p)
        m.header.flags = <uint8_t>get(&p)
        m.sender = sender
        m.domain = <uint16_t>get(&p)
        m.root = <uint16_t>get(&p)
        m.term = get(&p)
        m.adopted_epoch = get(&p)
        m.adopted_term = get(&p)
        m.rindex = get(&p)
        m.epoch = get(&p)
        m.rterm = get(&p)
        m.mark_rindex = get(&p)
        m.mark_epoch = get(&p)
        m.mark_term = get(&p)
        m.end_rindex = get(&p)
        m.end_epoch = get(&p)
        m.end_term = get(&p)
        m.sent_ns = self.get_time(&p)
        m.echo_ns = self.get_time(&p)
        m.lease_ns = get(&p)
        m.include_rindex = get(&p)
        m.round = get(&p)
        m.count = <uint32_t>get(&p)
        out.end += LINK_SIZE
        if m.header.type == LINK_APPEND or m.header.type == LINK_SNAPSHOT:
            for _ in range(m.count):
                r = self.states.record(get(&p))
                buffer_append(out, r, r.length)
                size += r.length
                m = <LinkMessage*>(out.data + out.start + start)
            set_length(&m.header, size)
            m.header.crc = append_crc(<const char*>m, LINK_SIZE)
            return 0
        more = get(&p)
        buffer_append(out, p, more)
        m = <LinkMessage*>(out.data + out.start + start)
        set_length(&m.header, size + more)
        m.header.crc = plain_crc(<const char*>m)
        return 0
