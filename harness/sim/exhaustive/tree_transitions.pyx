# distutils: language = c++
"""What each node of a tree does in each of its states, at each time, with each input.

As transitions.pyx, and of each state beside Raft's part that of the tree. A mirror is computed anew
from the node's records, not asked of the node that is judged.
"""
from libc.string cimport memcpy, memset

from seatrial.core.buffer cimport buffer_append, buffer_consume, buffer_free, buffer_size
from seatrial.core.codec cimport KIND_ADOPT, KIND_TREE, RECORD_SIZE
from seatrial.core.invariant cimport must
from seatrial.core.mirror cimport Adoption
from seatrial.core.raft cimport Raft
from seatrial.core.raft_state cimport LEADER
from seatrial.core.tree cimport read_tree, TreeView
from seatrial.harness.sim.exhaustive.member cimport Member
from seatrial.harness.sim.exhaustive.transitions cimport Local
from seatrial.harness.sim.exhaustive.tree_member cimport clock_of, time_of

cdef uint64_t JUMP_NS = clock_of(1 << 4) - clock_of(0)


cdef class TreeTransitions(Transitions):
    def __dealloc__(self):
        buffer_free(&self.scratch_entry)

    cdef int _set_clock(self, Member m, uint32_t time) except -1:
        (<TreeMember>m).clock_ns = clock_of(time)
        return 0

    cdef size_t memory_bytes(self):
        return (Transitions.memory_bytes(self) + self.locals.size() * (sizeof(Part) + 450)
                + self.steps.size() * 20)

    cdef int _describe(self, Member m, Local* s) except -1:
        cdef TreeMember node = <TreeMember>m
        cdef Part t
        cdef Raft r
        cdef int i
        Transitions._describe(self, m, s)
        memset(&t, 0, sizeof(t))
        self._describe_mirrors(node, &t)
        if node.replica is not None:
            r = node.replica.raft
            t.assigns = r.role == LEADER and r.assigning
            t.wants = node.replica.domain.wanted()
            t.parent = <uint8_t>node.replica.domain.parent_node if node.replica.domain.up else 0
            for i in range(node.replica.domain.link_places):
                if node.replica.domain.downlinks[i].connection:
                    t.linked |= 1 << (node.replica.domain.downlinks[i].connection - 1)
            t.due = time_of(r.heartbeat_deadline_ns)
            if r.role != LEADER:        # (set between two jumps, and due after the next)
                t.due = 1
                if r.election_deadline_ns > node.now_ns:
                    t.due = <uint32_t>((r.election_deadline_ns - r.election_ns - clock_of(0))
                                       // JUMP_NS + 1 << 4)
            if node.replica.domain.holds_domain_lease():
                t.leased_until_ns = node.replica.domain.lease_until_ns
            t.applied = <uint8_t>node.replica.kv.applied
        self.parts.push_back(t)
        return 0

    cdef int _describe_mirrors(self, TreeMember m, Part* t) except -1:
        """What the log's and the disk's records say."""
        cdef uint64_t[24] at        # where the log has what its mirror holds
        cdef const Record* r
        cdef Adoption adoption
        cdef uint64_t i, last = m.replica.raft.log.last() if m.replica is not None else 0
        cdef size_t k
        for i in range(1, last + 1):
            r = m.replica.raft.log.record(i)
            if r.rindex:
                t.end += 1
                must(r.rindex == t.end, b"mirror without gaps: node, rindex, expected", m.node,
                     r.rindex, t.end)
                t.mirror[t.end] = <uint16_t>self.root_entry(r)
                at[t.end] = i
            elif r.kind == KIND_ADOPT:
                memcpy(&adoption, <const char*>r + RECORD_SIZE, sizeof(adoption))
                if adoption.keep < t.end:
                    must(t.cuts < MAX_CUTS, b"exploration: too many adoptions", t.cuts)
                    t.cut_at[t.cuts] = <uint8_t>(adoption.keep + 1)
                    t.cut[t.cuts] = t.mirror[adoption.keep + 1]
                    t.cuts += 1
                    memset(&t.mirror[adoption.keep + 1], 0, (t.end - adoption.keep) * 2)
                    t.end = <uint8_t>adoption.keep
        for k in range(m.entries.size()):
            r = m.states.record(m.entries[k])
            if r.rindex:
                t.held_end = <uint8_t>r.rindex
                t.held[r.rindex] = <uint16_t>self.root_entry(r)
            elif r.kind == KIND_ADOPT:
                memcpy(&adoption, <const char*>r + RECORD_SIZE, sizeof(adoption))
                while t.held_end > adoption.keep:
                    t.held[t.held_end] = 0
                    t.held_end -= 1
        for i in range(1, <uint64_t>t.end + 1):     # an adoption at the disk's end may not last
            if at[i] <= m.entries.size() and m.entries[at[i] - 1] == <uint32_t>self.states.number(
                    <const Record*>m.replica.raft.log.record(at[i])):
                t.held[i] = t.mirror[i]
                t.held_end = max(t.held_end, <uint8_t>i)
        return 0

    cdef int root_entry(self, const Record* r) except -1:
        """The number of a root entry, the same wherever it is held."""
        cdef Record* plain
        cdef int number
        buffer_consume(&self.scratch_entry, buffer_size(&self.scratch_entry))
        buffer_append(&self.scratch_entry, r, r.length)
        plain = <Record*>(self.scratch_entry.data + self.scratch_entry.start)
        plain.index = plain.term = 0
        number = self.states.number(plain)
        if <size_t>number >= self.counted.size() or self.counted[number] == UNKNOWN:
            self._count(number, plain)
        return number

    cdef int _count(self, int number, const Record* r) except -1:
        """Remember what properties ask of a root entry."""
        cdef TreeView tree
        cdef int i
        while self.counted.size() <= <size_t>number:
            self.counted.push_back(UNKNOWN)
        self.counted[number] = NO_TREE
        if r.kind == KIND_TREE:
            must(read_tree(<const char*>r + RECORD_SIZE, r.length - RECORD_SIZE, &tree),
                 b"exploration: a tree that is none", number)
            self.counted[number] = 0
            for i in range(tree.count):
                if tree.domains[i].sync and tree.domains[i].included:
                    self.counted[number] |= 1 << tree.domains[i].id
                if tree.domains[i].held:
                    self.counted[number] |= HELD_OUT << tree.domains[i].id
        return 0
