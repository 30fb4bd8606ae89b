# distutils: language = c++
"""Properties of a tree of domains, checked over all its nodes after every step of any of them.

For tests and simulation, beside the properties of each domain's own Raft group (invariants.pyx).
Everything here follows from the nodes' logs alone: a mirror is computed anew from the records, not
asked of the node that is judged.

*One prefix*: if two mirrors, of whatever domains, hold an entry of the same root coordinates
(rindex, rterm), they are alike up to it. As for Raft's Log Matching it is enough to compare each
entry that a mirror gains, and the coordinates of the one before it, with what was first seen of
these coordinates; the rest follows by induction.

*One history*: what any node applies at an rindex, every other node applies there, in whichever
domain; the state is the same after it; and no domain's mirror loses what one of its nodes applied.
Whoever applies an entry first shows what the root has committed.

*Held as told*: when the root commits up to an entry, that entry is on a majority of the root's
disks and of those of each domain that the tree as of this entry counts: every sync and included
child of a domain whose policy is ``all``, any k of those where it is ``any k``, and so on down the
tree for each child that counts.

*One root an epoch*: coordinates of an epoch are assigned by nodes of one domain, the one that it
names; epochs and the terms in them only grow along a mirror.

*Held until released*: of two trees that the root commits one after the other, the second includes
no domain that an operator's exclusion keeps out in the first.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from seatrial.core.codec cimport KIND_ADOPT, KIND_BASE, KIND_TREE, RECORD_SIZE, Record
from seatrial.core.invariant cimport must
from seatrial.core.invariants cimport Durability
from seatrial.core.log cimport Log
from seatrial.core.mirror cimport Adoption, Base
from seatrial.core.replica cimport Replica

from seatrial.core.errors import InvariantViolation
from seatrial.core.tree import NONE, Tree

cdef enum:
    MAX_NODE = 1 << 16
    DOMAIN_BITS = 16        # of an epoch: number << 16 | domain


cdef class DomainInvariants:
    """The checker of all domains. ``durability``: what the disks of all nodes hold; None: not
    checked. ``add_node`` every node before its first step."""

    def __cinit__(self, Durability durability=None):
        self.durability = durability
        self.members = {}
        self.logs = {}
        self.applied_in = {}
        self.trees = []
        self.tree_numbers = {}

    def add_node(self, uint32_t node, int domain) -> None:
        """Tell which domain a node belongs to."""
        must(0 < node < MAX_NODE, b"domain invariants: a node's id", node)
        if node >= self.domain_of.size():
            self.domain_of.resize(node + 1)
            self.views.resize(node + 1)
        self.domain_of[node] = domain
        self.views[node].replica = NULL
        self.views[node].applied = self.views[node].commit = 0
        self.members.setdefault(domain, []).append(node)
        self.logs.setdefault(domain, CommittedLog())
        self.applied_in.setdefault(domain, 0)

    @property
    def applied_anywhere(self) -> int:
        """The largest rindex that any node was seen to apply: the root has committed it."""
        return self.history.size()

    cdef uint64_t committed(self) noexcept:
        """``applied_anywhere`` for C callers."""
        return self.history.size()

    cpdef uint64_t applied(self, uint32_t node) noexcept:
        """Return the rindex up to which a node has applied."""
        return self.views[node].applied if node < self.views.size() else 0

    def mirror(self, uint32_t node) -> list:
        """Return (epoch, rterm) of each entry of a node's mirror; (0, 0): not known."""
        return [(place.epoch, place.rterm) for place in self.views[node].mirror]

    def tree(self, rindex=None):
        """Return the tree as of a committed entry, the newest if None; None: none was seen."""
        cdef uint64_t at = self.history.size() if rindex is None else rindex
        if at == 0 or at > self.history.size() or self.history[at - 1].tree == 0:
            return None
        return self.trees[self.history[at - 1].tree - 1]

    # ---- what happened -------------------------------------------------------------------

    cdef int stepped(self, Replica r) except -1:
        """Raise InvariantViolation if this node's newest step broke a property.

        To be called after each step of each node, before the checker of its own group is."""
        cdef uint32_t node = r.raft.node
        cdef int domain = self.domain_of[node]
        cdef View* v = &self.views[node]
        cdef uint64_t at = r.kv.applied
        self.checks += 1
        if v.replica != <void*>r:
            v.replica = <void*>r
            v.applied = v.commit = 0
            self._restart_log(v, r.raft.log, domain)
        self._follow_log(v, r, domain)
        if at != v.applied:
            self._applies(v, r, domain, at)
        return 0

    cpdef int crashed(self, uint32_t node) except -1:
        """A node's process ended."""
        self.views[node].replica = NULL
        return 0

    def check(self, list replicas) -> None:
        """Check these replicas, whichever of them took a step."""
        for replica in replicas:
            self.stepped(replica)

    # ---- mirrors -------------------------------------------------------------------------

    cdef int _follow_log(self, View* v, Replica r, int domain) except -1:
        """Take in what changed in a log since the step before."""
        cdef Log log = r.raft.log
        cdef CommittedLog known
        cdef uint64_t i, kept = log.observed
        if log.last() == v.log.size() and kept >= v.log.size() and r.raft.commit == v.commit:
            return 0
        if kept < v.log.size() and kept + 1 >= log.first:
            v.log.resize(kept)
            mirror_of(v)
        if v.log.size() + 1 < log.first or (
                log.first > 1 and v.log[log.first - 2].term != log.base_term):
            self._restart_log(v, log, domain)   # it begins behind a snapshot now
        for i in range(v.log.size() + 1, log.last() + 1):
            self._gained(v, r, domain, i)
        known = self.logs[domain]
        for i in range(known.entries.size() + 1, r.raft.commit + 1):
            known.entries.push_back(v.log[i - 1])
        v.commit = r.raft.commit
        return 0

    cdef int _restart_log(self, View* v, Log log, int domain) except -1:
        """A log begins behind a snapshot, or with its process: before its first entry is what its
        domain committed."""
        cdef CommittedLog known = self.logs[domain]
        cdef uint64_t i
        must(known.entries.size() + 1 >= log.first, b"domain invariants: a log begins beyond what "
             b"its domain committed", log.first, known.entries.size())
        v.log.clear()
        for i in range(1, log.first):
            v.log.push_back(known.entries[i - 1])
        mirror_of(v)
        return 0

    cdef int _gained(self, View* v, Replica r, int domain, uint64_t index) except -1:
        """A log has a new last entry."""
        cdef const Record* record = r.raft.log.record(index)
        cdef Logged entry
        cdef Adoption adoption
        cdef Base base
        entry.term, entry.crc, entry.kind = record.term, record.crc, record.kind
        entry.rindex, entry.epoch, entry.rterm = record.rindex, record.epoch, record.rterm
        if record.rindex:
            self._root_entry(v, r, domain, record)
        elif record.kind == KIND_ADOPT:
            memcpy(&adoption, <const char*>record + RECORD_SIZE, sizeof(adoption))
            entry.rindex, entry.epoch, entry.rterm = (adoption.keep, adoption.rterm.epoch,
                                                      adoption.rterm.term)
            self.adoptions += 1
            self._voids(v, r, domain, adoption.keep)
        elif record.kind == KIND_BASE:
            memcpy(&base, <const char*>record + RECORD_SIZE, sizeof(base))
            entry.rindex, entry.epoch, entry.rterm = (base.end.rindex, base.end.rterm.epoch,
                                                      base.end.rterm.term)
            self.bases += 1
        v.log.push_back(entry)
        take(v, &entry, index)
        return 0

    cdef int _root_entry(self, View* v, Replica r, int domain, const Record* record) except -1:
        """One prefix: what a mirror gains agrees with all mirrors that ever were."""
        cdef RootEntry* known
        cdef Place before
        before.epoch = before.rterm = 0
        if record.rindex != v.mirror.size() + 1:
            raise InvariantViolation(
                f"mirror without gaps: node {r.raft.node} of domain {domain} holds rindex "
                f"{record.rindex} after {v.mirror.size()}")
        if record.rindex > 1:
            before = v.mirror[record.rindex - 2]
        known = self._known(record.rindex, record.epoch, record.rterm, True)
        if known.node == 0:
            known.node = r.raft.node
            known.crc = record.crc
            known.previous_epoch, known.previous_rterm = before.epoch, before.rterm
            known.tree = self._tree_after(record.kind == KIND_TREE, record.rindex, before.epoch,
                                          before.rterm, payload(record))
            return self._assigned(known, record.rindex, domain)
        if known.previous_epoch != before.epoch or known.previous_rterm != before.rterm:
            raise InvariantViolation(
                f"one prefix: entry {told(record.rindex, record.epoch, record.rterm)} follows one "
                f"of {term_told(known.previous_epoch, known.previous_rterm)} on node "
                f"{known.node}, one of {term_told(before.epoch, before.rterm)} on node "
                f"{r.raft.node}")
        if known.crc != record.crc:
            raise InvariantViolation(
                f"one prefix: nodes {known.node} and {r.raft.node} hold different entries "
                f"{told(record.rindex, record.epoch, record.rterm)}")
        return 0

    cdef RootEntry* _known(self, uint64_t rindex, uint64_t epoch, uint64_t rterm,
                           bint make) except NULL:
        """What is known of these coordinates; ``node`` is 0 where nothing is."""
        cdef RootEntry fresh
        cdef RootEntry* known
        fresh.epoch, fresh.rterm = epoch, rterm
        fresh.previous_epoch = fresh.previous_rterm = 0
        fresh.crc = fresh.node = fresh.tree = fresh.rival = 0
        must(rindex != 0 and epoch != 0, b"domain invariants: no coordinates", rindex, epoch)
        while rindex > self.entries.size():
            self.entries.push_back(fresh)
        known = &self.entries[rindex - 1]
        if known.node == 0:
            known.epoch, known.rterm = epoch, rterm
        while known.epoch != epoch or known.rterm != rterm:
            if known.rival == 0:
                must(make, b"domain invariants: unknown coordinates", rindex, epoch, rterm)
                known.rival = <uint32_t>self.rivals.size() + 1
                self.rivals.push_back(fresh)
                return &self.rivals.back()
            known = &self.rivals[known.rival - 1]
        return known

    def _tree_after(self, bint plants, uint64_t rindex, uint64_t epoch, uint64_t rterm,
                    bytes content) -> int:
        """Return the number of the tree that holds from an entry on."""
        if plants:
            if content not in self.tree_numbers:
                self.trees.append(Tree.decode(content))
                self.tree_numbers[content] = len(self.trees)
            return self.tree_numbers[content]
        if rindex == 1 or epoch == 0:
            return 0
        return self._known(rindex - 1, epoch, rterm, False).tree

    cdef int _assigned(self, const RootEntry* entry, uint64_t rindex, int domain) except -1:
        """One root an epoch."""
        cdef uint64_t number = entry.epoch >> DOMAIN_BITS
        cdef uint64_t named = entry.epoch & ((1 << DOMAIN_BITS) - 1)
        cdef uint64_t* known = &self.epochs[number]
        if known[0] == 0:
            known[0] = named
        if known[0] != named or <int>named != domain:
            raise InvariantViolation(
                f"one root an epoch: node {entry.node} of domain {domain} is the first to hold "
                f"{told(rindex, entry.epoch, entry.rterm)}; epoch {number} is domain "
                f"{known[0]}'s")
        if entry.epoch < entry.previous_epoch or (entry.epoch == entry.previous_epoch
                                                  and entry.rterm < entry.previous_rterm):
            raise InvariantViolation(
                f"epochs only grow: entry {told(rindex, entry.epoch, entry.rterm)} follows one of "
                f"{term_told(entry.previous_epoch, entry.previous_rterm)}")
        return 0

    cdef int _voids(self, View* v, Replica r, int domain, uint64_t keep) except -1:
        """One history: nothing that a domain applied is cut."""
        cdef uint64_t applied = self.applied_in[domain]
        cdef Place* place
        if keep >= v.mirror.size():
            return 0
        self.voided += 1
        if keep >= applied:
            return 0
        place = &v.mirror[keep]
        if (place.epoch == self.history[keep].epoch and place.rterm == self.history[keep].rterm):
            raise InvariantViolation(
                f"one history: node {r.raft.node} of domain {domain} cuts its mirror after rindex "
                f"{keep}, though its domain has applied up to {applied}")
        return 0

    # ---- what is applied -----------------------------------------------------------------

    cdef int _applies(self, View* v, Replica r, int domain, uint64_t rindex) except -1:
        """One history: the same entries and states in all domains."""
        cdef uint64_t hash = r.kv.state_hash()
        cdef Happened* known
        cdef Place* place
        if rindex < v.applied or rindex > v.mirror.size():
            raise InvariantViolation(
                f"applied only grows: node {r.raft.node} of domain {domain} went from applied "
                f"rindex {v.applied} to {rindex}; its mirror ends with {v.mirror.size()}")
        if rindex > self.history.size():
            self._root_commits(v, r, rindex)
        known = &self.history[rindex - 1]
        place = &v.mirror[rindex - 1]
        if place.epoch != 0 and (place.epoch != known.epoch or place.rterm != known.rterm):
            raise InvariantViolation(
                f"one history: node {r.raft.node} of domain {domain} applies entry "
                f"{told(rindex, place.epoch, place.rterm)}, another node applied one of "
                f"{term_told(known.epoch, known.rterm)}")
        if known.node == 0:
            known.node = r.raft.node
            known.hash = hash
        elif known.hash != hash:
            raise InvariantViolation(
                f"equal states: after rindex {rindex} node {r.raft.node}'s state hashes to "
                f"{hash:016x}, node {known.node}'s to {known.hash:016x}")
        v.applied = rindex
        if rindex > <uint64_t>self.applied_in[domain]:
            self.applied_in[domain] = rindex
        return 0

    cdef int _root_commits(self, View* v, Replica r, uint64_t rindex) except -1:
        """Somebody is the first to apply: so the root has committed up to here."""
        cdef uint64_t i
        cdef Happened fresh
        cdef Place* place
        fresh.hash = fresh.node = fresh.tree = 0
        for i in range(self.history.size() + 1, rindex + 1):
            place = &v.mirror[i - 1]
            must(place.epoch != 0, b"domain invariants: the first to apply an entry got it in a "
                 b"snapshot", r.raft.node, i)
            fresh.epoch, fresh.rterm = place.epoch, place.rterm
            fresh.tree = self._known(i, place.epoch, place.rterm, False).tree
            if i > 1 and fresh.tree and self.history[i - 2].tree not in (0, fresh.tree):
                held_until_released(self.trees[self.history[i - 2].tree - 1],
                                    self.trees[fresh.tree - 1], i)
            self.history.push_back(fresh)
        if fresh.tree and self.durability is not None:
            tree = self.trees[fresh.tree - 1]
            self._held_as_told(tree, tree.root, rindex)
        return 0

    cdef int _held_as_told(self, object tree, int domain, uint64_t rindex) except -1:
        """Held as told: by a majority of this domain, and of those below that count."""
        cdef Happened* entry = &self.history[rindex - 1]
        if not self._on_majority(domain, rindex):
            held = [node for node in self.members[domain] if self._held(node, rindex)]
            raise InvariantViolation(
                f"held as told: the root commits entry {told(rindex, entry.epoch, entry.rterm)}, "
                f"which of domain {domain}'s nodes {self.members[domain]} only {held} have on "
                "their disks")
        counted = counting(tree, domain)
        policy = tree.domains[domain].any_k
        if policy and policy != NONE:
            behind = []
            for child in counted:
                try:
                    self._held_as_told(tree, child, rindex)
                except InvariantViolation as violation:
                    behind.append(violation)
            if len(counted) - len(behind) < min(policy, len(counted)):
                raise behind[0]
            return 0
        for child in counted:
            self._held_as_told(tree, child, rindex)
        return 0

    cdef bint confirmed_by(self, int domain, uint64_t rindex) except -1:
        """Whether a domain may be named to a client as one that holds what the root committed."""
        return self.durability is None or self._on_majority(domain, rindex)

    cdef bint _on_majority(self, int domain, uint64_t rindex) except -1:
        nodes = self.members.get(domain, ())
        return 2 * sum([1 for node in nodes if self._held(node, rindex)]) > len(nodes)

    def _held(self, uint32_t node, uint64_t rindex) -> bool:
        """Whether a node's disk holds what the root committed at this rindex."""
        cdef View* v = &self.views[node]
        cdef Place* place
        cdef Happened* entry = &self.history[rindex - 1]
        if rindex > v.mirror.size():
            return False
        place = &v.mirror[rindex - 1]
        if place.epoch and (place.epoch != entry.epoch or place.rterm != entry.rterm):
            return False
        return self.durability.term_at(node, place.index) == v.log[place.index - 1].term


cdef class CommittedLog:
    """What a domain has committed in its own log."""


cdef int mirror_of(View* v) except -1:
    """Compute a mirror anew from its log."""
    cdef uint64_t i
    v.mirror.clear()
    for i in range(v.log.size()):
        take(v, &v.log[i], i + 1)
    return 0


cdef int take(View* v, const Logged* entry, uint64_t index) except -1:
    """Let a log's next entry change the mirror."""
    cdef Place place
    if entry.kind == KIND_ADOPT:
        if entry.rindex < v.mirror.size():
            v.mirror.resize(entry.rindex)
        return 0
    place.index = index
    if entry.kind == KIND_BASE:
        place.epoch = place.rterm = 0
        v.mirror.clear()
        while v.mirror.size() + 1 < entry.rindex:
            v.mirror.push_back(place)
    elif entry.rindex == 0:
        return 0
    if entry.rindex:
        place.epoch, place.rterm = entry.epoch, entry.rterm
        v.mirror.push_back(place)
    return 0


cdef bytes payload(const Record* record):
    """What a record of a tree holds; nothing of others."""
    if record.kind != KIND_TREE:
        return b""
    return (<const char*>record + RECORD_SIZE)[:record.length - RECORD_SIZE]


def held_until_released(before, after, rindex: int) -> None:
    """Compare two trees, the later one of the entry at rindex."""
    for id, domain in before.domains.items():
        if domain.held and id in after.domains and after.domains[id].included:
            raise InvariantViolation(
                f"held until released: the tree of entry {rindex} includes domain {id}, which an "
                "operator had excluded")


def counting(tree, domain: int) -> list:
    """Return the children of a domain that count in its policy."""
    if tree.domains[domain].any_k == NONE:
        return []
    return [child for child in tree.children(domain)
            if tree.domains[child].sync and tree.domains[child].included]


def term_told(epoch: int, rterm: int) -> str:
    """Return an rterm in words."""
    return f"epoch {epoch >> DOMAIN_BITS}, term {rterm}"


def told(rindex: int, epoch: int, rterm: int) -> str:
    """Return coordinates in words."""
    return f"{rindex} of {term_told(epoch, rterm)}"
