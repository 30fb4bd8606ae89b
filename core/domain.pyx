"""One node's part in the tree of domains: the doors to links, and what members are told.

A cluster of domains is a tree of Raft groups. The root assigns an order to writes, each leader
passes it on to the leaders of its children, and what must be held by whom before a write is
acknowledged follows from the tree (root_commit.pyx). The chapters, each building on the one before:

    root_commit     what the root has committed; what we may acknowledge; marks
    downlinks       the parent's end of links, leases given
    uplink          the child's end, leases held
    children        the watch over children, the root's decisions
    domain          this: frames in and out, what members are told, who confirmed

Pure, as Raft is: bytes and times go in; proposals to our own Raft and frames come out. ``begin``
comes once an iteration before Raft's ``pump``, ``finish`` after what is committed was applied.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

from seatrial.core.buffer cimport (
    Buffer,
    buffer_append,
    buffer_consume,
    buffer_free,
    buffer_init,
    buffer_reserve,
    buffer_size,
)
from seatrial.core.codec cimport (
    KIND_TREE,
    LINK_READ_REPLY,
    LINK_REPORT,
    LINK_SIZE,
    MARK,
    next_frame,
    plain_crc,
    Record,
    set_length,
)
from seatrial.core.downlinks cimport Downlink, MAX_DOWNLINKS
from seatrial.core.mutant cimport (
    CONFIRMERS_FROM_TREE,
    MUTANT,
    ROOT_READ_BEFORE_ELECTED_END,
    seatrial_arm,
)
from seatrial.core.raft cimport Raft
from seatrial.core.raft_state cimport LEADER
from seatrial.core.root_commit cimport Mark, MAX_CHILDREN
from seatrial.core.tree cimport place_of, TreeView

from seatrial.core.errors import ProtocolError
from seatrial.core.tree import BadTree, Tree

cdef enum:
    PATIENCE = 8                # election timeouts without a parent

UPLINK_STATES = ("detached", "attaching", "catching-up", "streaming", "snapshot")


def _arm(int mutant) -> None:
    seatrial_arm(mutant)


cdef class Domain(Children):
    def __cinit__(self, Raft raft, uint16_t domain, tree, parent, size_t max_batch_bytes,
                  size_t max_inflight_bytes):
        self.raft = raft
        self.mirror = raft.mirror
        self.domain = domain
        self.initial_tree = tree.encode() if tree is not None else None
        self.initial_parent = tuple(parent)
        self.max_batch_bytes = max_batch_bytes
        self.max_inflight_bytes = max_inflight_bytes
        self.move_address = ""
        memset(self.downlinks, 0, sizeof(self.downlinks))
        memset(self.children, 0, sizeof(self.children))
        buffer_init(&self.up_input)
        buffer_init(&self.up_out)
        # answers to what an earlier life of this node asked must not fit a question of this one
        if domain:
            self.ticket = self.ticket_asked = self.ticket_answered = raft.draw() >> 1

    def __dealloc__(self):
        cdef int i
        for i in range(MAX_DOWNLINKS):
            buffer_free(&self.downlinks[i].input)
            buffer_free(&self.downlinks[i].out)
        buffer_free(&self.up_input)
        buffer_free(&self.up_out)

    # ---- bytes in --------------------------------------------------------------------------

    cdef int receive_link(self, uint32_t connection, const char* p, size_t size,
                          uint64_t now_ns) except -1:
        """Take bytes of a child's link. Raises ProtocolError: close it."""
        cdef Downlink* link = self.downlink(connection)
        cdef const LinkMessage* m
        cdef Py_ssize_t n
        if link is NULL or connection == 0:
            raise ProtocolError("a link that is not known")
        self.now_ns = now_ns
        buffer_append(&link.input, p, size)
        while True:
            p = link.input.data + link.input.start
            n = next_frame(p, buffer_size(&link.input))
            if n == 0:
                break
            m = <const LinkMessage*>p
            if n != LINK_SIZE or plain_crc(p) != m.header.crc:
                raise ProtocolError("child's frame: check failed: bytes were altered on the way")
            if m.header.type == LINK_REPORT and self._is_above(link.domain, m.root):
                self.conclude(m.header.flags, m.root)
            self.from_child(link, m)
            buffer_consume(&link.input, n)
        return 0

    cdef int receive_uplink(self, const char* p, size_t size, uint64_t now_ns) except -1:
        """Take bytes of the link to our parent. Raises ProtocolError: close it."""
        cdef Py_ssize_t n
        self.now_ns = self.heard_ns = now_ns    # (a large frame may take long to be whole)
        buffer_append(&self.up_input, p, size)
        while self.up:
            p = self.up_input.data + self.up_input.start
            n = next_frame(p, buffer_size(&self.up_input))
            if n == 0:
                break
            self.from_parent(p)
            buffer_consume(&self.up_input, min(<size_t>n, buffer_size(&self.up_input)))
        return 0

    cdef bint _is_above(self, uint16_t domain, uint16_t below) noexcept nogil:
        """Whether a child of ours is another domain's parent, or further above it."""
        cdef const TreeView* tree = self.mirror.tree()
        cdef int at
        if not self.is_child(domain):
            return False
        at = place_of(tree, below)
        while at >= 0:
            at = tree.domains[at].parent
            if at >= 0 and tree.domains[at].id == domain:
                return True
        return False

    cdef int on_mark(self, uint32_t sender, const char* frame) except -1 nogil:
        """Our leader tells what the root has committed."""
        cdef const LinkMessage* m = <const LinkMessage*>frame
        cdef Mark mark
        if m.header.length != LINK_SIZE or plain_crc(frame) != m.header.crc \
                or m.sender != sender:
            with gil:
                raise ProtocolError("MARK: check failed: bytes were altered on the way")
        mark.at.rindex = m.mark_rindex
        mark.at.rterm.epoch, mark.at.rterm.term = m.mark_epoch, m.mark_term
        mark.rterm.epoch, mark.rterm.term = m.adopted_epoch, m.adopted_term
        return self.note_mark(mark)

    # ---- once an iteration -------------------------------------------------------------------

    cdef int begin(self, uint64_t now_ns) except -1 nogil:
        """Before Raft's pump: see what is committed, and propose what is due."""
        cdef bint led = self.led_term != 0
        self.advance(now_ns)
        if led and self.led_term == 0:
            with gil:
                self.dismiss()
        self._ask_for_tickets()
        if self.raft.role != LEADER or self.raft.transfer_to:
            return 0
        if self.initial_tree is not None and self.raft.assigning and self.mirror.tree() is NULL:
            with gil:
                self._plant_first()
        if now_ns >= self.watched_ns + self.raft.heartbeat_ns:
            self.watched_ns = now_ns
            self.watch()
        return 0

    cdef int finish(self, uint64_t applied, uint64_t now_ns) except -1 nogil:
        """After applying: tell parent, children and members."""
        self.applied = applied
        if applied != self.applied_at.rindex:
            self._note_applied()
        self.freshen()
        self.acknowledge()
        if self.plain():        # (a member may still hold older trees, in which it is not)
            return self._tell_members() if self.mirror.tree() is not NULL else 0
        self._answer_tickets()
        self.serve()
        return self._tell_members()

    cdef int _note_applied(self) noexcept nogil:
        """Keep the coordinates of what is applied: as the mirror knows them, or our snapshot, of
        what our log begins with again after a restart."""
        cdef const Record* r
        if (self.mirror.coordinates(self.applied, &self.applied_at)
                or not self.raft.snapshot.complete):
            return 0
        r = self.raft.snapshot.chunk(0)
        if r.rindex == self.applied:
            self.applied_at.rindex = r.rindex
            self.applied_at.rterm.epoch, self.applied_at.rterm.term = r.epoch, r.rterm
        return 0

    cdef int _plant_first(self) except -1:
        """The root's first leader says in the log what until now only its members' files did."""
        self.raft.propose(KIND_TREE, 0, 0, self.initial_tree, len(self.initial_tree), 0, 0)
        return 0

    cdef int _tell_members(self) except -1 nogil:
        """Send the members of our own domain what is applied here, when it is news and, in case it
        was lost, with every heartbeat."""
        cdef Mark mark
        cdef LinkMessage* m
        cdef Buffer* out
        cdef int i
        if self.raft.role != LEADER or self.applied == 0:
            return 0
        if self.applied == self.told.rindex and (
                self.now_ns < self.marked_ns + self.raft.heartbeat_ns):
            return 0
        if not self.mirror.coordinates(self.applied, &mark.at):
            return 0
        self.told = mark.at
        self.marked_ns = self.now_ns
        mark.rterm = self.mirror.adopted_at(self.raft.commit)
        for i in range(self.raft.places):
            if i == self.raft.me or not self.raft.replicas >> i & 1 \
                    or not self.raft.peers[i].connected:
                continue
            out = &self.raft.peers[i].out
            m = <LinkMessage*>buffer_reserve(out, LINK_SIZE)
            memset(m, 0, LINK_SIZE)
            set_length(&m.header, LINK_SIZE)
            m.header.type = MARK
            m.sender = self.raft.node
            m.domain = self.domain
            m.term = self.raft.term
            m.mark_rindex = mark.at.rindex
            m.mark_epoch, m.mark_term = mark.at.rterm.epoch, mark.at.rterm.term
            m.adopted_epoch, m.adopted_term = mark.rterm.epoch, mark.rterm.term
            m.header.crc = plain_crc(<const char*>m)
            out.end += LINK_SIZE
        return 0

    cdef uint64_t read_floor(self) noexcept nogil:
        """The root's leader: what a linearizable read must see applied."""
        return self.committed if MUTANT(ROOT_READ_BEFORE_ELECTED_END) else max(
            self.committed, self.elected_rindex)

    cdef int _ask_for_tickets(self) noexcept nogil:
        """Before Raft's pump: have what children ask confirmed, here or further up."""
        cdef Downlink* link
        cdef int i
        if self.raft.role != LEADER or self.linked == 0:
            return 0
        for i in range(self.link_places):
            link = &self.downlinks[i]
            if link.connection == 0 or link.ticket == 0:
                continue
            if self.raft.assigning:
                if link.ticket_round == 0:
                    link.ticket_round = self.raft.want_round()
                    link.ticket_rindex = self.read_floor()
            elif link.ticket_up == 0:
                link.ticket_up = self.ask_root()
        return 0

    cdef int _answer_tickets(self) except -1 nogil:
        """Answer children who ask what a read of theirs must see."""
        cdef Downlink* link
        cdef LinkMessage m
        cdef int i
        if self.raft.role != LEADER:
            return 0
        for i in range(self.link_places):
            link = &self.downlinks[i]
            if link.connection == 0 or link.ticket == 0:
                continue
            if self.raft.assigning:
                if link.ticket_round == 0 or self.raft.round_confirmed < link.ticket_round:
                    continue
            else:
                if link.ticket_up == 0 or self.ticket_answered < link.ticket_up:
                    continue
                link.ticket_rindex = self.ticket_rindex
            self._fill(link, &m, LINK_READ_REPLY)
            m.round = link.ticket
            m.rindex = link.ticket_rindex
            link.ticket = link.ticket_next
            link.ticket_next = link.ticket_round = link.ticket_up = 0
            self._send(link, &m, NULL, 0)
        return 0

    cdef uint64_t age_at(self, uint64_t now_ns) noexcept nogil:
        """How old what we have applied may be by now."""
        self.now_ns = max(self.now_ns, now_ns)
        return self.age_ns()

    cdef uint64_t bound_ns(self) noexcept nogil:
        """How old it may be at most, by the newest tree; 0: nothing is said."""
        cdef const TreeView* tree = self.mirror.tree()
        cdef int me
        if tree is NULL:
            return 0
        me = self.my_place(tree)
        return tree.domains[me].max_lag_ns if me >= 0 else 0

    cdef int confirmers(self, uint64_t rindex, uint16_t* domains) noexcept nogil:
        """Which domains are known to hold an entry that the root has committed; how many.

        A leader knows which of its children acknowledged it. Any node knows that those hold it
        that counted throughout, from the entry's own tree on: without them it would not be
        committed. And a child speaks for those that count throughout for it."""
        cdef uint64_t[MAX_CHILDREN] until       # how far each is known to hold what we hold
        cdef int first = self.mirror.number_at(rindex), i, at = 0, many = 0
        if first < 0:
            return 0
        if self.raft.role == LEADER:
            for i in range(self.child_places):
                if self.children[i].domain == 0:
                    continue
                until[many] = self.acked_by(&self.children[i])
                if until[many] >= rindex or MUTANT(CONFIRMERS_FROM_TREE):
                    domains[many] = self.children[i].domain
                    many += 1
        else:
            many = self._add_counted(first, self.domain, self.committed, domains, until, many)
        while at < many:
            many = self._add_counted(first, domains[at], until[at], domains, until, many)
            at += 1
        return many

    cdef int _add_counted(self, int first, uint16_t parent, uint64_t end, uint16_t* domains,
                          uint64_t* until, int many) noexcept nogil:
        """Add the children for which a domain waited with all up to ``end``; how many there are
        then."""
        cdef const TreeView* tree = &self.mirror.tree_number(first).view
        cdef int i, p
        for i in range(tree.count):
            p = tree.domains[i].parent
            if (p >= 0 and tree.domains[p].id == parent and tree.domains[p].any_k == 0
                    and many < MAX_CHILDREN and self._counts_throughout(first, i, end)):
                domains[many], until[many] = tree.domains[i].id, end
                many += 1
        return many

    cdef bint _counts_throughout(self, int first, int place, uint64_t end) noexcept nogil:
        """Whether a domain counts alike in each tree, from that one to the newest at ``end``."""
        cdef const TreeView* tree = &self.mirror.tree_number(first).view
        cdef int n, now
        for n in range(first + 1, self.mirror.tree_count()):
            if self.mirror.tree_number(n).rindex > end:
                break
            now = place_of(&self.mirror.tree_number(n).view, tree.domains[place].id)
            if now < 0 or not self._counts_alike(tree, place, &self.mirror.tree_number(n).view,
                                                 now):
                return False
        return self.counts(tree, place)

    def root_nodes(self) -> bytes:
        """Return the root's id (u16) and its nodes' addresses, by newlines, as our tree knows
        them."""
        try:
            tree = self.newest_tree()
        except BadTree:
            return b"\0\0"
        nodes = tree.domains[tree.root].nodes
        return tree.root.to_bytes(2, "little") + "\n".join(where for _, where in nodes).encode()

    # ---- for shells ----------------------------------------------------------------------------

    def uplink_wanted(self) -> bool:
        """Whether this node shall dial its domain's parent."""
        return self.wanted()

    def parent_nodes(self) -> list:
        """Return the parent's nodes: (node, address), as the newest tree that was committed says,
        as far as we hold it or were told of it; and those that our newest says, which may yet be.
        After long silence, of our parent or of the root through it, the root's too: it knows whose
        child we are by now. Before there is any tree, and after long silence, as our file does."""
        cdef uint64_t at
        cdef bint silent = self.now_ns > max(self.heard_ns, self.elected_ns) + (
            PATIENCE * self.raft.election_ns)
        found = {}
        for payload in (self.committed_tree(&at), self.mirror.tree_payload()):
            if payload:
                tree = Tree.decode(payload)
                mine = tree.domains.get(self.domain)
                if mine is not None and mine.parent in tree.domains:
                    found.update(tree.domains[mine.parent].nodes)
                if silent or self.now_ns < self.sought_ns + self.raft.election_ns:
                    found.update(tree.domains[tree.root].nodes)
        if silent or not found:
            found.update(self.initial_parent)
        return list(found.items())

    def take_move(self) -> tuple | None:
        """Return and forget which node shall be dialled instead."""
        if not self.moving:
            return None
        self.moving = False
        return self.move_node, self.move_address

    cdef int take_output(self, list out) except -1:
        """Move out what is to be sent to other domains."""
        cdef int i
        if buffer_size(&self.up_out):
            out.append((2, 0, self.up_out.data[self.up_out.start:self.up_out.end]))
            buffer_consume(&self.up_out, buffer_size(&self.up_out))
        if not self.linked:
            return 0
        for i in range(self.link_places):
            if self.downlinks[i].connection and buffer_size(&self.downlinks[i].out):
                out.append((3, self.downlinks[i].connection, self.downlinks[i].out.data[
                    self.downlinks[i].out.start:self.downlinks[i].out.end]))
                buffer_consume(&self.downlinks[i].out, buffer_size(&self.downlinks[i].out))
        return 0

    cdef uint64_t deadline_ns(self) noexcept nogil:
        """When something is due that no input brings about."""
        if self.up:
            return self.asked_ns + self.raft.heartbeat_ns
        return <uint64_t>-1

    def status(self, uint64_t now_ns) -> dict:
        """Return what this node knows of its domain, for people and metrics.

        A lag is what it was by the last word of the other end, ``told_ns`` ago; None: nobody told
        this leader yet.
        """
        self.now_ns = max(self.now_ns, now_ns)
        age = self.age_ns()
        told = self.raft.role == LEADER and self.their_end_ns != 0 and not self.is_root()
        return {
            "id": self.domain, "root": bool(self.is_root()),
            "adopted": list(self.mirror.adopted), "mirror_end": self.mirror.end,
            "committed": self.committed, "applied_rindex": self.applied,
            "age_ns": None if age == <uint64_t>-1 else age,
            "lease": bool(self.holds_domain_lease()),
            "lease_left_ns": self.own_lease_left_ns(),
            "uplink": {"state": UPLINK_STATES[self.state], "node": self.parent_node,
                       "their_end": self.their_end.rindex,
                       "lag_entries": max(0, <int64_t>(self.their_end.rindex - self.applied))
                       if told else None,
                       "told_ns": self.now_ns - self.their_end_ns if told else None},
            "exclusions": self.exclusions, "inclusions": self.inclusions,
            "children": self.children_status(),
        }
