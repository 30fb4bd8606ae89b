"""Who takes part: a complete configuration, the steps from one to the next, and its bytes.

A configuration is a value: a step returns another one or raises ``BadConfiguration``. Semantics
and error texts are those of etcd's ``raft/confchange`` and are tested against its cases:

* ``simple``: at most one voter more or less, so old and new majorities overlap (Ongaro's
  thesis, 4.1); any number of learners.
* ``enter_joint``: any changes; until ``leave_joint`` both the old voters (``outgoing``) and the
  new ones decide, each by majority (thesis, 4.3). ``auto_leave``: the leader leaves by itself
  as soon as the joint configuration is committed.
* A voter demoted while it still decides as an outgoing one waits in ``learners_next``.
* Doing what is done already is no error; node 0 is ignored.

A CONFIG record's payload is the complete configuration, never the change. Little-endian, nodes
ascending, so that one configuration has one encoding:

====== ==== =========================================================
offset size
====== ==== =========================================================
0      1    version: 1
1      1    flags: 1 = auto_leave
2      2    number of nodes
4      4    0
then, for each node:
0      4    node id, not 0
4      1    roles: 1 voter, 2 outgoing, 4 learner, 8 learner next
5      1    priority
6      2    length of the address
8           address, UTF-8
====== ==== =========================================================

Roles that can't meet are refused: a node is a voter, outgoing or both, a learner, or outgoing
and a learner next.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memset

from collections import namedtuple

Change = namedtuple("Change", ("kind", "node", "address", "priority"), defaults=("", None))
Change.__doc__ = """One wish: ``kind`` is voter, learner, remove or update.

An address or priority that is given replaces what is known of the node.
"""


class BadConfiguration(ValueError):
    """A configuration that can't be, or a step that may not be taken."""


cdef class Configuration:
    """Voters, outgoing voters, learners, learners next; immutable, comparable, hashable."""

    def __init__(self, voters=(), *, outgoing=(), learners=(), learners_next=(),
                 bint auto_leave=False, details=None):
        known = details or {}
        self.voters = frozenset(voters)
        self.outgoing = frozenset(outgoing)
        self.learners = frozenset(learners)
        self.learners_next = frozenset(learners_next)
        self.auto_leave = auto_leave
        self.details = {node: known.get(node, ("", 0)) for node in sorted(self.nodes)}
        self._demand()

    cdef int _demand(self) except -1:
        """Refuse what no sequence of steps makes."""
        if self.learners & (self.voters | self.outgoing):
            raise BadConfiguration(f"a learner votes: {self}")
        if self.learners_next - self.outgoing or self.learners_next & self.voters:
            raise BadConfiguration(f"a learner-to-be must be an outgoing voter, and no other: "
                                   f"{self}")
        if self.auto_leave and not self.outgoing:
            raise BadConfiguration(f"nothing to leave by itself: {self}")
        if len(self.details) > MAX_NODES:
            raise BadConfiguration(f"{len(self.details)} nodes: at most {MAX_NODES}")
        for node, (address, priority) in self.details.items():
            if not 0 < node < 1 << 32:
                raise BadConfiguration(f"node id {node}: expected 1 to {(1 << 32) - 1}")
            if len(address.encode()) > MAX_ADDRESS_BYTES:
                raise BadConfiguration(f"node {node}: an address of {len(address.encode())} "
                                       f"bytes: at most {MAX_ADDRESS_BYTES}")
            if not 0 <= priority < 256:
                raise BadConfiguration(f"node {node}: priority {priority}: expected 0 to 255")
        return 0

    @property
    def joint(self):
        """Whether two sets of voters decide together."""
        return bool(self.outgoing)

    @property
    def nodes(self):
        """All that take part in any role."""
        return self.voters | self.outgoing | self.learners

    # ---- steps -------------------------------------------------------------------------

    cdef Configuration _changed(self, changes):
        """Apply wishes one after the other to the incoming half (etcd: Changer.apply)."""
        voters, learners = set(self.voters), set(self.learners)
        learners_next, details = set(self.learners_next), dict(self.details)
        for change in changes:
            kind, node, address, priority = change
            if node == 0:
                continue
            known = node in voters or node in learners or node in self.outgoing
            if kind == "voter":
                learners.discard(node)
                learners_next.discard(node)
                voters.add(node)
            elif kind == "learner":
                voters.discard(node)
                if node in self.outgoing:
                    learners_next.add(node)
                else:
                    learners.add(node)
            elif kind == "remove":
                voters.discard(node)
                learners.discard(node)
                learners_next.discard(node)
            elif kind != "update":
                raise BadConfiguration(f"change {kind!r}: expected voter, learner, remove "
                                       f"or update")
            if known or kind in ("voter", "learner"):
                old = details.get(node, ("", 0))
                details[node] = (address or old[0], old[1] if priority is None else priority)
        if not voters:
            raise BadConfiguration("removed all voters")
        return Configuration(voters, outgoing=self.outgoing, learners=learners,
                             learners_next=learners_next, auto_leave=self.auto_leave,
                             details=details)

    def simple(self, changes) -> Configuration:
        """Return the configuration after changes of which at most one is of a voter."""
        if self.joint:
            raise BadConfiguration("can't apply simple config change in joint config")
        after = self._changed(changes)
        if len(self.voters ^ after.voters) > 1:
            raise BadConfiguration("more than one voter changed without entering joint config")
        return after

    def enter_joint(self, changes, bint auto_leave=False) -> Configuration:
        """Return the joint configuration in which any changes are made."""
        if self.joint:
            raise BadConfiguration("config is already joint")
        if not self.voters:
            raise BadConfiguration("can't make a zero-voter config joint")
        both = Configuration(self.voters, outgoing=self.voters, learners=self.learners,
                             auto_leave=auto_leave, details=self.details)
        return both._changed(changes)

    def leave_joint(self) -> Configuration:
        """Return the configuration in which only the new voters are left."""
        if not self.joint:
            raise BadConfiguration("can't leave a non-joint config")
        return Configuration(self.voters, learners=self.learners | self.learners_next,
                             details=self.details)

    # ---- bytes -------------------------------------------------------------------------

    def encode(self) -> bytes:
        """Return the one encoding of this configuration."""
        cdef ConfigurationHeader h
        cdef NodeEntry e
        cdef list parts = []
        if not self.voters:
            raise BadConfiguration("no voters")
        memset(&h, 0, sizeof(h))
        h.version = CONFIGURATION_VERSION
        h.flags = AUTO_LEAVE if self.auto_leave else 0
        h.count = <uint16_t>len(self.details)
        parts.append(PyBytes_FromStringAndSize(<const char*>&h, sizeof(h)))
        for node, (address, priority) in self.details.items():
            text = address.encode()
            e.node = node
            e.roles = ((VOTER if node in self.voters else 0)
                       | (OUTGOING if node in self.outgoing else 0)
                       | (LEARNER if node in self.learners else 0)
                       | (LEARNER_NEXT if node in self.learners_next else 0))
            e.priority = priority
            e.address_length = <uint16_t>len(text)
            parts.append(PyBytes_FromStringAndSize(<const char*>&e, sizeof(e)))
            parts.append(text)
        return b"".join(parts)

    @staticmethod
    def decode(bytes payload not None) -> Configuration:
        """Read a configuration; BadConfiguration for bytes that encode none."""
        cdef Members m
        cdef const char* p = payload
        cdef const char* wrong = read_members(p, len(payload), &m)
        cdef const NodeEntry* e
        cdef dict details = {}
        cdef int _
        if wrong is not NULL:
            raise BadConfiguration(f"{len(payload)} bytes: {wrong.decode()}")
        p += sizeof(ConfigurationHeader)
        for _ in range(m.count):
            e = <const NodeEntry*>p
            p += sizeof(NodeEntry)
            try:
                details[e.node] = (p[:e.address_length].decode(), e.priority)
            except UnicodeDecodeError:
                raise BadConfiguration(f"node {e.node}: its address is not UTF-8") from None
            p += e.address_length
        return Configuration(picked(&m, m.voters), outgoing=picked(&m, m.outgoing),
                             learners=picked(&m, m.learners),
                             learners_next=picked(&m, m.learners_next),
                             auto_leave=m.auto_leave, details=details)

    # ---- as a value --------------------------------------------------------------------

    def __eq__(self, other):
        return isinstance(other, Configuration) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return (self.voters, self.outgoing, self.learners, self.learners_next, self.auto_leave,
                tuple(self.details.items()))

    def __str__(self):
        """As etcd prints it: ``voters=(2 3)&&(1 2) learners=(4) learners_next=(1) autoleave``."""
        out = f"voters={listed(self.voters)}"
        if self.outgoing:
            out += f"&&{listed(self.outgoing)}"
        if self.learners:
            out += f" learners={listed(self.learners)}"
        if self.learners_next:
            out += f" learners_next={listed(self.learners_next)}"
        return out + (" autoleave" if self.auto_leave else "")

    def __repr__(self):
        return f"<Configuration {self}>"


cdef str listed(frozenset nodes):
    return f"({' '.join(map(str, sorted(nodes)))})"


cdef list picked(const Members* m, uint64_t places):
    return [m.nodes[i] for i in range(m.count) if places >> i & 1]


cdef const char* read_members(const char* payload, size_t size, Members* m) noexcept nogil:
    """Read a CONFIG record's payload without Python; NULL, or what is wrong with it."""
    cdef const ConfigurationHeader* h = <const ConfigurationHeader*>payload
    cdef const NodeEntry* e
    cdef uint64_t bit
    cdef size_t at = sizeof(ConfigurationHeader)
    cdef int i
    memset(m, 0, sizeof(Members))
    if size < at:
        return b"shorter than a configuration's header"
    if h.version != CONFIGURATION_VERSION:
        return b"a version of configurations that this node does not know"
    if h.flags & ~AUTO_LEAVE or h.reserved:
        return b"flags that this node does not know"
    if h.count > MAX_NODES:
        return b"more than 32 nodes"
    m.count = h.count
    m.auto_leave = h.flags & AUTO_LEAVE
    for i in range(m.count):
        e = <const NodeEntry*>(payload + at)
        if size - at < sizeof(NodeEntry) or size - at - sizeof(NodeEntry) < e.address_length:
            return b"cut off within a node"
        if e.node == 0 or (i and e.node <= m.nodes[i - 1]):
            return b"node ids that don't ascend from 1"
        if e.address_length > MAX_ADDRESS_BYTES:
            return b"an address of more than 255 bytes"
        if not (e.roles == VOTER or e.roles == (VOTER | OUTGOING) or e.roles == OUTGOING
                or e.roles == LEARNER or e.roles == (OUTGOING | LEARNER_NEXT)):
            return b"a node with roles that can't meet"
        bit = <uint64_t>1 << i
        m.nodes[i] = e.node
        m.priorities[i] = e.priority
        if e.roles & VOTER:
            m.voters |= bit
        if e.roles & OUTGOING:
            m.outgoing |= bit
        if e.roles & LEARNER:
            m.learners |= bit
        if e.roles & LEARNER_NEXT:
            m.learners_next |= bit
        at += sizeof(NodeEntry) + e.address_length
    if at != size:
        return b"bytes after the last node"
    if m.voters == 0:
        return b"no voters"
    if m.auto_leave and m.outgoing == 0:
        return b"nothing to leave by itself"
    return NULL
