# distutils: language = c++
"""Raft's safety properties, checked on a whole cluster after every step of any of its nodes.

For tests and simulation: one checker looks into all replicas of one Raft group, which no node
could do. The properties are those of Ongaro and Ousterhout, "In search of an understandable
consensus algorithm" (extended version), figure 3, with what they stand on: a vote a term (5.2),
terms that only grow (5.1), a commit index that only grows, and committed entries that a
majority of disks hold (5.3).

A simulated run has millions of steps and most change nothing here, so the checker remembers
each node as it was after its newest step (``Seen``), compares, and looks only at what changed.
What was committed, led, voted and appended once is kept, so that a contradiction is seen even
when every node has forgotten its one side. How a look at the change alone covers the whole:

*Log Matching* (5.3): if two logs hold an entry of the same index and term, they are alike up to
it. ``entries`` maps (index, term) to the entry's check and the term of the entry before it; each
entry that a log gains must agree. Then two logs that share (i, t) have the same entry there and
the same term at i - 1, which is (i - 1, t') in both, and so on down to the first: the property
follows by induction, also between logs that never existed at the same time. A log changes only
by appending, by cutting its end, and by dropping its beginning into a snapshot; ``Log.observed``
says how far it is as we saw it. A snapshot stands for the entry that it ends with: of that one
the term is compared.

*State Machine Safety* (5.4.3): no two nodes apply different entries at one index. ``committed``
is one log's prefix; if a node's entry at its commit index has the committed one's term, Log
Matching makes all before it the same. So a follower costs one comparison a step.

*Equal States* (2): state machines are deterministic, so who applied the same entries is in the same
state, whether entry by entry or by a snapshot. ``states`` keeps the state's hash, which costs
nothing to read, after each entry at which some node's step ended.

*Leader Completeness* (5.4): what is committed in a term is in the logs of that term's leader and
of all later ones. Here too the last such entry stands for all before it. Looked at when a node
becomes leader, and for all leaders when something new is committed; in between, a leader's log
only grows (*Leader Append-Only*, 5.3). The term in which an entry was committed is taken from
the first node that knew it. That may be too late a term (it heard of a later one in the same
step), never one too early, so no leader is blamed wrongly.

*Configuration Safety*: committed configurations differ by the steps that membership.pyx makes,
and a leader asks for one only when the one before is committed, and an entry of its own term
(thesis, 4.1 and 4.3; Ongaro, raft-dev 2015). Who begins with a snapshot goes by the configuration
that was in force at its last entry (5.1).

*Election Safety* (5.2): at most one leader a term, by the votes of a majority. A leader that
resigns in the very step in which it was elected goes unseen; it sent no entry to anybody.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from cython.operator cimport dereference, postincrement

from seatrial.core.buffer cimport buffer_size
from seatrial.core.codec cimport RECORD_SIZE, Record
from seatrial.core.invariant cimport must
from seatrial.core.log cimport Log
from seatrial.core.quorum cimport is_quorum
from seatrial.core.raft cimport Raft
from seatrial.core.raft_state cimport FOLLOWER, LEADER, MAX_PLACES
from seatrial.core.replica cimport Replica

from seatrial.core.errors import InvariantViolation
from seatrial.core.membership import Configuration


cdef inline uint64_t applied_of(Replica r) noexcept:
    """The newest entry applied, in the log's own coordinates."""
    return r.applied if r.raft.domain else r.kv.applied


cdef class Durability:
    cdef uint64_t term_at(self, uint32_t node, uint64_t index) noexcept:
        """The term of the entry that ``node``'s disk would give back at ``index``; 0: none."""
        return 0


cdef class AskedDurability(Durability):
    """Disks that a Python function speaks for: ``ask(node, index)``."""

    def __init__(self, ask):
        self.ask = ask

    cdef uint64_t term_at(self, uint32_t node, uint64_t index) noexcept:
        return self.ask(node, index)


cdef class ClusterInvariants:
    """The checker of one Raft group. ``durability``: what its disks hold; None: not checked."""

    def __cinit__(self, Durability durability=None):
        self.durability = durability
        self.count = 0
        memset(&self.quorum, 0, sizeof(self.quorum))
        memset(&self.former, 0, sizeof(self.former))
        memset(self.nodes, 0, sizeof(self.nodes))
        memset(self.seen, 0, sizeof(self.seen))
        self.replicas = [None] * MAX_PLACES
        self.configurations = []
        self.whole = Whole()

    @property
    def committed_count(self) -> int:
        """How many entries are known to be committed."""
        return self.committed.size()

    @property
    def terms_led(self) -> int:
        """In how many terms a leader was seen."""
        return self.leaders.size()

    # ---- what happened -------------------------------------------------------------------

    cdef int stepped(self, Replica r) except -1:
        """Raise InvariantViolation if this node's newest step broke a property.

        To be called after each step of each node, before anybody hears of the step. A replica
        that was not seen before is its node's restart. It belongs to one checker only.
        """
        cdef Raft raft = r.raft
        cdef Log log = raft.log
        cdef Seen* s = &self.seen[self._slot(raft.node)]
        self.checks += 1
        if s.replica != <void*>r:
            self._arrived(s, r)
        elif (raft.commit == s.commit and applied_of(r) == s.applied and log.observed == s.last
                and log.last() == s.last and raft.term == s.term and raft.role == s.role
                and raft.vote == s.vote
                and (raft.durable_version == raft.state_version) == s.durable):
            return 0
        return self._changed(s, r)

    cpdef int granted(self, uint32_t voter, uint64_t term, uint32_t candidate) except -1:
        """A node says, or can no longer forget, that it votes for a candidate (5.2)."""
        cdef uint32_t* known = &self.votes[term << 16 | voter]
        self.given.insert(term << 32 | voter << 16 | candidate)
        if known[0] == 0:
            known[0] = candidate
        if known[0] != candidate:
            raise InvariantViolation(f"one vote a term: node {voter} votes for nodes {known[0]} "
                                     f"and {candidate} in term {term}")
        return 0

    cpdef int crashed(self, uint32_t node, bint forgets=False) except -1:
        """A node's process ended. ``forgets``: its disk lost what had been synced, so that what
        it promised, term and votes, does not bind it (entries are ``disk_shrank``'s)."""
        cdef Seen* s
        cdef int i
        for i in range(self.count):
            if self.nodes[i] == node:
                s = &self.seen[i]
                s.replica = NULL
                s.role = FOLLOWER
                self.replicas[i] = None
                if forgets:
                    s.promised_term = s.promised_vote = 0
        if forgets:
            self._forget_votes(node)
        return 0

    cpdef int disk_shrank(self) except -1:
        """A disk lost entries: is the newest committed one still held by a majority?

        A disk gives back a contiguous log, so who holds that one holds all before it.
        """
        if not self.committed.empty():
            self._durable(self.committed.size())
        return 0

    cdef int _forget_votes(self, uint32_t node) except -1:
        cdef unordered_map[uint64_t, uint32_t].iterator at = self.votes.begin(), this
        while at != self.votes.end():
            this = postincrement(at)
            if dereference(this).first & 0xffff == node:
                self.votes.erase(this)
        return 0

    def check(self, list replicas) -> None:
        """Check the replicas of all nodes that run, whichever of them took a step.

        Raises InvariantViolation, naming property and numbers, if one does not hold.
        """
        cdef Replica replica
        cdef uint64_t running = 0
        cdef int i
        for replica in replicas:
            running |= <uint64_t>1 << self._slot(replica.raft.node)
        for i in range(self.count):
            if self.seen[i].replica is not NULL and not running >> i & 1:
                self.crashed(self.nodes[i])
        for replica in replicas:
            self.stepped(replica)

    def check_whole(self, list replicas) -> None:
        """Check everything anew, by the definitions: O(nodes ** 2 * entries), with a memory of
        its own. For a test that compares the two."""
        self.whole.check(replicas)

    cdef int _slot(self, uint32_t node) except -1:
        """Where we keep what we know of a node."""
        cdef int i
        for i in range(self.count):
            if self.nodes[i] == node:
                return i
        must(self.count < MAX_PLACES, b"invariants: more nodes than one group has", node)
        self.nodes[self.count] = node
        self.count += 1
        return self.count - 1

    cdef int _decided_by(self, Raft raft) except -1:
        """Keep the configuration by which this node decides."""
        cdef Quorum* q = &self.quorum
        cdef int i
        if q.raft == <void*>raft and q.version == raft.config_version:
            return 0
        self.former = q[0]
        q.raft = <void*>raft
        q.version = raft.config_version
        q.places = raft.places
        q.voters = raft.voters
        q.outgoing = raft.outgoing
        for i in range(raft.places):
            q.nodes[i] = raft.peers[i].node
        return 0

    # ---- one node's change ---------------------------------------------------------------

    cdef int _arrived(self, Seen* s, Replica r) except -1:
        """A process began: it is bound by what it made durable, and by nothing else."""
        cdef Raft raft = r.raft
        self.replicas[self._slot(raft.node)] = r
        s.replica = <void*>r
        s.role = FOLLOWER
        s.term = s.promised_term
        s.vote = s.promised_vote
        s.last = raft.log.observed = raft.log.first - 1
        s.commit = s.applied = 0
        self.quorum.raft = NULL         # this one may lie where another one was
        s.snapshot = 0
        if self.configuration is None:
            self.configuration = raft.configuration()
            self.configurations.append((0, self.configuration))
        return 0

    cdef int _changed(self, Seen* s, Replica r) except -1:
        cdef Raft raft = r.raft
        cdef bint elected = raft.role == LEADER and (s.role != LEADER or s.term != raft.term)
        must(raft.log.observed <= s.last, b"invariants: another checker looks at this replica",
             raft.node, raft.log.observed, s.last)
        self._term_and_vote(s, raft)
        if elected:
            self._elected(raft)
        if raft.log.observed < s.last:
            self._cut(s, raft)
            self._goes_by(raft)
        self._appended(raft)
        if raft.commit != s.commit or applied_of(r) != s.applied:
            self._advanced(s, r)
        if applied_of(r) != s.applied:
            self._applied(r)
        if elected:
            self._complete(raft)
        if raft.snapshot.index != s.snapshot:
            self._begins_with(raft)
            s.snapshot = raft.snapshot.index
        s.role = raft.role
        s.term = raft.term
        s.vote = raft.vote
        s.last = raft.log.last()
        s.commit = raft.commit
        s.applied = applied_of(r)
        return 0

    cdef int _term_and_vote(self, Seen* s, Raft raft) except -1:
        """Terms only grow (5.1), and a node votes at most once a term (5.2).

        A process sticks to what it chose; a crash may take back what was not durable, for
        nobody was told. ``granted`` holds a node to what it said all the same.
        """
        if raft.term < s.term:
            raise InvariantViolation(f"terms only grow: node {raft.node} went from term {s.term} "
                                     f"back to {raft.term}")
        if raft.term == s.term and s.vote != 0 and raft.vote != s.vote:
            what = f"voted for node {raft.vote}" if raft.vote else "forgot it"
            raise InvariantViolation(f"one vote a term: node {raft.node} voted for node {s.vote} "
                                     f"in term {raft.term}, then {what}")
        s.durable = raft.durable_version == raft.state_version
        if s.durable:
            s.promised_term = raft.term
            s.promised_vote = raft.vote
            if raft.vote:
                self.granted(raft.node, raft.term, raft.vote)
        return 0

    cdef int _elected(self, Raft raft) except -1:
        """Election Safety: at most one leader can be elected in a term; and only by the votes of
        a majority, given in that term (5.2)."""
        cdef uint32_t* known = &self.leaders[raft.term]
        cdef uint64_t votes = 0
        cdef int i
        if known[0] == 0:
            known[0] = raft.node
        if known[0] != raft.node:
            raise InvariantViolation(f"election safety: nodes {known[0]} and {raft.node} both "
                                     f"lead term {raft.term}")
        for i in range(raft.places):
            if self.given.count(raft.term << 32 | raft.peers[i].node << 16 | raft.node):
                votes |= <uint64_t>1 << i
        if not is_quorum(votes, raft.voters, raft.outgoing):
            nodes = [raft.peers[i].node for i in range(raft.places) if votes >> i & 1]
            raise InvariantViolation(f"election by majority: node {raft.node} leads term "
                                     f"{raft.term} by the votes of nodes {nodes}; its "
                                     f"configuration is {raft.configuration()}")
        return 0

    # ---- logs ----------------------------------------------------------------------------

    cdef int _cut(self, Seen* s, Raft raft) except -1:
        """A log lost its end: not one's own entries (Leader Append-Only, 5.3), which nobody
        else could contradict in one's term; and not what one knows to be committed."""
        cdef uint64_t kept = raft.log.observed
        if s.role == LEADER and s.term == raft.term:
            raise InvariantViolation(f"leader append-only: node {raft.node}, leader of term "
                                     f"{raft.term}, cut entries {kept + 1} to {s.last}")
        if kept < s.commit:
            raise InvariantViolation(
                f"state machine safety: node {raft.node} cut its log after entry {kept} in term "
                f"{raft.term}, though it had committed up to {s.commit}")
        return 0

    cdef int _appended(self, Raft raft) except -1:
        """Log Matching for what a log gained: it agrees with all logs that ever were (5.3)."""
        cdef Log log = raft.log
        cdef uint64_t i, last = log.last()
        cdef Entry entry
        if log.observed < log.first - 1:        # entries came and went within this step
            log.observed = log.first - 1
        entry.node = raft.node
        entry.rival = 0
        entry.term = log.term_at(log.observed)
        for i in range(log.observed + 1, last + 1):
            entry.previous = entry.term
            entry.term = log.slot(i).term
            entry.crc = log.record(i).crc
            self._matches(raft, &entry, i)
            if raft.is_configuration(log.record(i)) and entry.term == raft.term:
                self._asked_for(raft, i)
        log.observed = last
        return 0

    cdef int _matches(self, Raft raft, const Entry* entry, uint64_t index) except -1:
        """Find the entry of this index and term, or remember this as the first such."""
        cdef Entry* known
        must(entry.term != 0, b"invariants: an entry of term 0", raft.node, index)
        if index > self.entries.size():
            self.entries.resize(index - 1)
            self.entries.push_back(entry[0])
            return 0
        known = &self.entries[index - 1]
        if known.term == 0:             # a gap that a compacted log left
            known[0] = entry[0]
            return 0
        while known.term != entry.term:
            if known.rival == 0:
                known.rival = <uint32_t>self.rivals.size() + 1
                self.rivals.push_back(entry[0])
                return 0
            known = &self.rivals[known.rival - 1]
        if known.previous != entry.previous:
            raise InvariantViolation(
                f"log matching: entry {index} of term {entry.term} follows one of term "
                f"{known.previous} on node {known.node}, one of term {entry.previous} on node "
                f"{raft.node}")
        if known.crc != entry.crc:
            raise InvariantViolation(f"log matching: nodes {known.node} and {raft.node} hold "
                                     f"different entries {index} of term {entry.term}")
        return 0

    # ---- what is committed ---------------------------------------------------------------

    cdef int _advanced(self, Seen* s, Replica r) except -1:
        """State Machine Safety: nodes commit, and so apply, the same entries (5.4.3). What a
        leader finds on a majority it commits only up to an entry of its own term (5.4.2)."""
        cdef Raft raft = r.raft
        cdef Log log = raft.log
        cdef uint64_t i, known = self.committed.size()
        if raft.commit < s.commit or applied_of(r) < s.applied:
            raise InvariantViolation(
                f"commit only grows: node {raft.node} went from commit {s.commit}, applied "
                f"{s.applied} back to commit {raft.commit}, applied {applied_of(r)}")
        if raft.commit > log.last() or applied_of(r) > raft.commit:
            raise InvariantViolation(f"applied <= commit <= last: node {raft.node} has applied "
                                     f"{applied_of(r)}, commit {raft.commit}, last {log.last()}")
        i = raft.commit if raft.commit < known else known
        if i > s.commit and i + 1 >= log.first and log.term_at(i) != self.committed[i - 1].term:
            i = self._first_difference(log)
            raise InvariantViolation(
                f"state machine safety: node {raft.node} commits entry {i} of term "
                f"{log.term_at(i)}, another node committed one of term "
                f"{self.committed[i - 1].term}")
        if (raft.commit > s.commit and raft.role == LEADER and s.role == LEADER
                and raft.term == s.term and log.term_at(raft.commit) != raft.term):
            raise InvariantViolation(
                f"commit by counting: node {raft.node}, leader of term {raft.term}, committed "
                f"entry {raft.commit} of term {log.term_at(raft.commit)} without one of its own")
        for i in range(known + 1, raft.commit + 1):
            self._committed(raft, i)
        if raft.commit > known:
            for i in range(<uint64_t>self.count):
                if self.seen[i].role == LEADER and self.seen[i].term >= raft.term:
                    self._complete((<Replica>self.replicas[i]).raft)
        return 0

    cdef int _applied(self, Replica r) except -1:
        """Equal States: whoever applied the entries up to one is in the same state (2)."""
        cdef uint64_t hash = r.kv.state_hash()
        cdef State* known
        if applied_of(r) > self.states.size():
            self.states.resize(applied_of(r))
        known = &self.states[applied_of(r) - 1]
        if known.node == 0:
            known.node = r.raft.node
            known.hash = hash
        elif known.hash != hash:
            raise InvariantViolation(
                f"equal states: after entry {applied_of(r)} node {r.raft.node}'s state hashes to "
                f"{hash:016x}, node {known.node}'s to {known.hash:016x}")
        return 0

    cdef uint64_t _first_difference(self, Log log) noexcept:
        """The first index at which a log differs from what is committed, or ends."""
        cdef uint64_t i = log.first
        if i > 1 and log.base_term != self.committed[i - 2].term:
            return i - 1
        while log.holds(i) and log.term_at(i) == self.committed[i - 1].term:
            i += 1
        return i

    cdef int _committed(self, Raft raft, uint64_t index) except -1:
        """An entry is committed for the first time: by this node, in its term or before."""
        cdef Committed entry
        must(raft.log.holds(index), b"invariants: the first to commit an entry does not hold it",
             raft.node, index, raft.log.first)
        entry.term = raft.log.term_at(index)
        entry.in_term = raft.term
        self.committed.push_back(entry)
        if raft.is_configuration(raft.log.record(index)):
            self._reconfigured(raft, index)
        self._decided_by(raft)
        return self._durable(index)

    cdef int _reconfigured(self, Raft raft, uint64_t index) except -1:
        """Configuration Safety: from each committed configuration to the next there is one step,
        of one voter (thesis, 4.1), into a joint configuration or out of it (4.3)."""
        cdef Record* r = raft.log.record(index)
        before = self.configuration
        after = Configuration.decode((<const char*>r + RECORD_SIZE)[:r.length - RECORD_SIZE])
        if after.joint:
            allowed = not before.joint and after.outgoing == before.voters
        elif before.joint:
            allowed = after == before.leave_joint()
        else:
            allowed = len(after.voters ^ before.voters) <= 1
        if not allowed:
            raise InvariantViolation(f"configuration safety: node {raft.node} commits {after} as "
                                     f"entry {index}, next to {before}")
        self.configuration = after
        self.configurations.append((index, after))
        return 0

    cdef int _begins_with(self, Raft raft) except -1:
        """What a log begins with is the configuration that was committed before it; after a
        restart, that of the snapshot, where the log begins earlier."""
        cdef const char* p = raft.base_config.data + raft.base_config.start
        last = max(raft.log.first - 1, raft.base_config_index)
        if raft.base_config_index == 0:
            return 0                    # of the node's own file: no entry says otherwise yet
        base = Configuration.decode(p[:buffer_size(&raft.base_config)])
        known = next(after for index, after in reversed(self.configurations) if index <= last)
        if base != known:
            raise InvariantViolation(
                f"configuration safety: node {raft.node} begins with {base} after entry {last}, "
                f"where {known} was in force")
        return 0

    cdef int _goes_by(self, Raft raft) except -1:
        """A node uses the newest configuration in its log, also after that was cut (4.1)."""
        cdef int i
        newest = raft.configuration()
        voters = {raft.peers[i].node for i in range(raft.places) if raft.voters >> i & 1}
        if voters != newest.voters:
            raise InvariantViolation(f"configuration safety: node {raft.node} goes by voters "
                                     f"{sorted(voters)}, its log says {newest}")
        return 0

    cdef int _asked_for(self, Raft raft, uint64_t index) except -1:
        """Nobody asks for a configuration while the one before is not committed, or majorities
        of two that are more than one step apart decide (thesis, 4.1); nor before an entry of its
        own term is, for then there may be one that it does not know (Ongaro, "Bug in
        single-server membership changes", raft-dev 2015). The way out of a joint configuration
        is always the same, whoever leads: it need not wait for that."""
        cdef const uint64_t* known = <const uint64_t*>(raft.configs.data + raft.configs.start)
        cdef size_t count = buffer_size(&raft.configs) // sizeof(uint64_t)
        if raft.role != LEADER or count == 0 or known[count - 1] != index:
            return 0
        what = f"entry {known[count - 2]}" if count > 1 and known[count - 2] > raft.commit else None
        if index == raft.term_start:
            return 0                    # the first of all leaders says what the members' files do
        if raft.commit < raft.term_start and not joint(raft, known[count - 2] if count > 1 else 0):
            what = f"entry {raft.term_start}, the first of its term,"
        if what is not None:
            raise InvariantViolation(f"configuration safety: node {raft.node}, leader of term "
                                     f"{raft.term}, asks for configuration {index} while {what} "
                                     "is not committed")
        return 0

    cdef int _complete(self, Raft raft) except -1:
        """Leader Completeness: a leader holds what was committed in its term or before (5.4)."""
        cdef Log log = raft.log
        cdef uint64_t i = self.committed.size()
        if raft.role != LEADER:
            return 0                    # it resigned, and its own step is yet to be looked at
        while i > 0 and self.committed[i - 1].in_term > raft.term:
            i -= 1
        if i > 0 and i + 1 >= log.first and log.term_at(i) != self.committed[i - 1].term:
            raise InvariantViolation(
                f"leader completeness: node {raft.node} leads term {raft.term} without entry {i} "
                f"of term {self.committed[i - 1].term}, committed in term "
                f"{self.committed[i - 1].in_term}; its log differs from entry "
                f"{self._first_difference(log)} on")
        return 0

    cdef int _durable(self, uint64_t index) except -1:
        """A committed entry outlives any minority's loss: a majority's disks hold it (5.3)."""
        cdef Quorum* q = &self.quorum
        cdef uint64_t term = self.committed[index - 1].term
        cdef uint64_t held = 0, voters = q.voters | q.outgoing
        cdef int i
        if self.durability is None:
            return 0
        for i in range(q.places):
            if voters >> i & 1 and self.durability.term_at(q.nodes[i], index) == term:
                held |= <uint64_t>1 << i
        if not is_quorum(held, q.voters, q.outgoing) and not self._held_formerly(index, term):
            held_by = [q.nodes[i] for i in range(q.places) if held >> i & 1]
            voting = [q.nodes[i] for i in range(q.places) if voters >> i & 1]
            raise InvariantViolation(f"durability: committed entry {index} of term {term} is on "
                                     f"the disks of nodes {held_by} only, of {voting}")
        return 0

    cdef bint _held_formerly(self, uint64_t index, uint64_t term) noexcept:
        """Whether the decider's configuration before its newest has it on enough disks: the newest
        may have been appended after the commit, in the same step."""
        cdef Quorum* q = &self.former
        cdef uint64_t held = 0
        cdef int i
        if q.raft == NULL or q.raft != self.quorum.raft:
            return False
        for i in range(q.places):
            if self.durability.term_at(q.nodes[i], index) == term:
                held |= <uint64_t>1 << i
        return is_quorum(held, q.voters, q.outgoing)


cdef bint joint(Raft raft, uint64_t index) except -1:
    """Whether a CONFIG entry is a joint configuration; 0: what holds before the log's first."""
    cdef const char* p = raft.base_config.data + raft.base_config.start
    cdef size_t size = buffer_size(&raft.base_config)
    if index:
        p = <const char*>raft.log.record(index) + RECORD_SIZE
        size = raft.log.record(index).length - RECORD_SIZE
    return Configuration.decode(p[:size]).joint


cdef class Whole:
    """The same, by the definitions: all entries of all pairs of logs, each time."""

    def __cinit__(self):
        self.leaders = {}           # term -> node
        self.known = {}             # node -> (replica, its commit index when last seen)

    def check(self, list replicas):
        """See ClusterInvariants.check_whole."""
        cdef Replica replica, other
        cdef int i, j
        for i in range(len(replicas)):
            replica = replicas[i]
            self._election_safety(replica.raft)
            self._state_machine_safety(replica)
        for i in range(len(replicas)):
            replica = replicas[i]
            self._leader_completeness(replica.raft)
            for j in range(i):
                other = replicas[j]
                self._log_matching(replica.raft, other.raft)

    def _election_safety(self, Raft raft):
        if raft.role == LEADER:
            node = self.leaders.setdefault(raft.term, raft.node)
            if node != raft.node:
                raise InvariantViolation(f"election safety: nodes {node} and {raft.node} both "
                                         f"lead term {raft.term}")

    def _state_machine_safety(self, Replica replica):
        cdef Raft raft = replica.raft
        cdef uint64_t i, before = 0
        cdef Committed entry
        cdef uint32_t crc
        last = self.known.get(raft.node)
        if last is not None and last[0] is replica:
            before = last[1]
        if raft.commit < before:
            raise InvariantViolation(f"commit only grows: node {raft.node} went from {before} "
                                     f"back to {raft.commit}")
        if raft.commit > raft.log.last() or applied_of(replica) > raft.commit:
            raise InvariantViolation(f"applied <= commit <= last: node {raft.node} has applied "
                                     f"{applied_of(replica)}, commit {raft.commit}, last "
                                     f"{raft.log.last()}")
        for i in range(max(before + 1, raft.log.first), raft.commit + 1):
            entry.term = raft.log.term_at(i)
            entry.in_term = raft.term
            crc = raft.log.record(i).crc
            if i > self.committed.size():
                self.committed.push_back(entry)
                self.crcs.push_back(crc)
            elif self.committed[i - 1].term != entry.term or self.crcs[i - 1] != crc:
                raise InvariantViolation(
                    f"state machine safety: node {raft.node} commits entry {i} of term "
                    f"{entry.term}, another node one of term {self.committed[i - 1].term}")
        self.known[raft.node] = (replica, raft.commit)

    def _leader_completeness(self, Raft raft):
        cdef uint64_t i
        if raft.role != LEADER:
            return
        for i in range(raft.log.first, self.committed.size() + 1):
            if self.committed[i - 1].in_term > raft.term:
                continue
            if (i > raft.log.last() or raft.log.term_at(i) != self.committed[i - 1].term
                    or raft.log.record(i).crc != self.crcs[i - 1]):
                raise InvariantViolation(
                    f"leader completeness: node {raft.node} leads term {raft.term} without entry "
                    f"{i}, committed in term {self.committed[i - 1].in_term}")

    def _log_matching(self, Raft a, Raft b):
        cdef uint64_t i = min(a.log.last(), b.log.last())
        cdef uint64_t first = max(a.log.first, b.log.first)
        while i >= first and a.log.term_at(i) != b.log.term_at(i):
            i -= 1
        while i >= first:
            if (a.log.term_at(i) != b.log.term_at(i)
                    or a.log.record(i).crc != b.log.record(i).crc):
                raise InvariantViolation(f"log matching: nodes {a.node} and {b.node} agree on a "
                                         f"later entry but differ at entry {i}")
            i -= 1
