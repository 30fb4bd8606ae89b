"""The tree of domains: who replicates whom, in which mode, and who counts; its changes, its bytes.

A tree is a value, and log content of the root: a change returns another tree or raises ``BadTree``
with one line. Which domains count in the sync policy follows from the tree alone:

* a domain *gates* when it and every domain between it and the root is sync and included, and
  the policy of each parent on the way is ``all``. The root itself is not counted;
* a domain that becomes sync, or gets another parent, starts excluded: it is included by an entry
  of its own once it has caught up. Excluding one leaves the flags below it as they are;
* one that an operator excluded is *held*: nothing includes it until an operator has released it;
* doing what is done already is no error.

A sync domain behind an async one is allowed, and does not gate. The payload of a tree's record is
the complete tree, never the change. Little-endian, domains and nodes ascending by id, so that one
tree has one encoding:

====== ==== =====================================================================
offset size
====== ==== =====================================================================
0      1    version: 1
1      1    0
2      2    number of domains, 1 to 64
4      2    the root's id
6      2    0
8      8    the epoch's number
16     8    length of a lease in ns
then, for each domain:
0      2    id, not 0
2      2    its parent's id; 0: the root
4      1    flags: 1 sync, 2 included, 4 block (never excluded by itself), 8 held, 16 writers are
            throttled while it can't be readmitted
5      1    policy as a parent: 0 all, 255 none, else any so many of its sync children
6      1    beyond its lag bounds: 0 nothing, 1 throttle, 2 exclude, 3 stall
7      1    length of the name
8      2    number of nodes
10     2    lag bound in bytes of its parent's log, the upper 16 bits of it; 0: none
12     4    and the lower 32
16     8    rindex of the entry that included it
24     8    excluded after so many ns of silence
32     8    lag bound in entries; 0: none
40     8    lag bound in ns; 0: none
48          name, ASCII; then, for each node: u16 id, u16 length of the address, address
====== ==== =====================================================================
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memset

import re
from collections import namedtuple
from types import MappingProxyType

ALL, NONE = EACH, NO_CHILD          # of Domain.any_k
ON_LAG = ("none", "throttle", "exclude", "stall")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.'-]{0,31}")
BOUNDED = ("include_rindex", "exclude_after_ns", "max_lag_entries", "max_lag_ns")

Domain = namedtuple(
    "Domain", ("name", "parent", "sync", "included", "include_rindex", "block", "any_k",
               "exclude_after_ns", "max_lag_entries", "max_lag_ns", "on_lag", "nodes",
               "max_lag_bytes", "held", "readmit_throttle"),
    defaults=(0, False, False, 0, False, ALL, 1_000_000_000, 0, 0, "none", (), 0, False, False))
Domain.__doc__ = """One domain; parent: its id (0: the root); nodes: (node, address).

All but ``any_k``, its policy as a parent, is of the link to its parent.
"""


class BadTree(ValueError):
    """A tree that can't be, or a change that may not be made."""


cdef class Tree:
    """All domains, immutable and valid; comparable, hashable."""

    def __init__(self, domains, int root, epoch=1, lease_ns=300_000_000):
        self.domains = MappingProxyType({
            id: domain._replace(nodes=tuple(sorted(domain.nodes)))
            for id, domain in sorted(domains.items())})
        self.root = root
        self.epoch = epoch
        self.lease_ns = lease_ns
        self.validate()

    # ---- what can't be -----------------------------------------------------------------

    def validate(self):
        """Raise BadTree, with one line, unless this is a tree in which every domain can live."""
        if not 1 <= len(self.domains) <= MAX_DOMAINS:
            raise BadTree(f"{len(self.domains)} domains: expected 1 to {MAX_DOMAINS}")
        if not 0 < self.epoch < 1 << 48:
            raise BadTree(f"epoch {self.epoch}: expected 1 to {(1 << 48) - 1}")
        if not 0 < self.lease_ns < 1 << 62:
            raise BadTree(f"a lease of {self.lease_ns} ns: expected 1 to {(1 << 62) - 1}")
        for id, domain in self.domains.items():
            _check_fields(id, domain)
        self._check_shape()
        self._check_sharing()
        for id in self.domains:
            self._check_modes(id)

    def _check_shape(self):
        """Refuse several roots or none, parents that are not there, and cycles."""
        roots = [id for id, domain in self.domains.items() if domain.parent == 0]
        if len(roots) > 1:
            raise BadTree(f"{' and '.join(map(self._says, roots))} have no parent: "
                          f"there is one root")
        for id, domain in self.domains.items():
            if domain.parent and domain.parent not in self.domains:
                raise BadTree(f"{self._says(id)}: its parent {domain.parent} is not in the tree")
        if not roots:
            raise BadTree("every domain has a parent: there is no root")
        if roots != [self.root]:
            raise BadTree(f"the root is {self.root}, but {self._says(roots[0])} has no parent")
        for id in self.domains:
            self.path(id)

    def _check_sharing(self):
        """Refuse a name or a node of two domains."""
        names, nodes = {}, {}
        for id, domain in self.domains.items():
            other = names.setdefault(domain.name, id)
            if other != id:
                raise BadTree(f"domains {other} and {id} are both called {domain.name}")
            for node, _ in domain.nodes:
                other = nodes.setdefault(node, id)
                if other != id:
                    raise BadTree(f"node {node} is in {self._says(other)} and {self._says(id)}: "
                                  f"a node is in one domain")

    def _check_modes(self, id):
        """Refuse a link or policy that could never work."""
        domain = self.domains[id]
        children = self.children(id)
        synced = sum(self.domains[child].sync for child in children)
        if children and not domain.nodes:
            raise BadTree(f"{self._says(children[0])} could never be reached: its parent "
                          f"{self._says(id)} has no nodes")
        if domain.any_k not in (ALL, NONE) and domain.any_k > synced:
            raise BadTree(f"{self._says(id)}: policy any {domain.any_k} could never be met by "
                          f"{synced} sync children")
        if domain.held and (domain.included or not domain.sync):
            raise BadTree(f"{self._says(id)} is held, but not a sync domain that is excluded")
        if domain.parent == 0 and (domain.sync or domain.block or domain.readmit_throttle):
            raise BadTree(f"{self._says(id)} is the root: mode and block are those of a link "
                          f"to a parent")
        if domain.included and not domain.sync:
            raise BadTree(f"{self._says(id)} is included, but not sync")
        if domain.include_rindex and not domain.included:
            raise BadTree(f"{self._says(id)} is not included, but at rindex "
                          f"{domain.include_rindex}")
        if (domain.sync and not domain.block
                and domain.exclude_after_ns * 100 <= self.lease_ns * (100 + DRIFT_PERCENT)):
            raise BadTree(
                f"{self._says(id)}: excluded after {domain.exclude_after_ns} ns: expected more "
                f"than a lease, by clocks that differ by {DRIFT_PERCENT} %, "
                f"{self.lease_ns * (100 + DRIFT_PERCENT) // 100} ns")

    # ---- questions ---------------------------------------------------------------------

    def children(self, id):
        """Return the ids of those that replicate from a domain, ascending."""
        return [child for child, domain in self.domains.items() if domain.parent == id]

    def path(self, id):
        """Return a domain, its parent, and so on up to the root."""
        found = [self._known(id)]
        while (parent := self.domains[found[-1]].parent) != 0:
            if parent in found:
                raise BadTree(f"{self._says(parent)} is its own ancestor: "
                              f"{' under '.join(map(str, [*found, parent]))}")
            found.append(parent)
        return found

    def called(self, name):
        """Return the id of the domain of this name."""
        for id, domain in self.domains.items():
            if domain.name == name:
                return id
        raise BadTree(f"there is no domain called {name!r}: "
                      f"{', '.join(domain.name for domain in self.domains.values())}")

    def gating(self):
        """Return the ids of all that gate (``gates``)."""
        cdef TreeView view
        cdef bytes payload = self.encode()
        if not read_tree(payload, len(payload), &view):
            raise BadTree(f"what was encoded can't be read: {self}")
        return {view.domains[i].id for i in range(view.count) if gates(&view, i)}

    # ---- changes -----------------------------------------------------------------------

    def add(self, id, domain):
        """Return the tree with one domain more; a sync one starts excluded."""
        if id in self.domains:
            raise BadTree(f"{self._says(id)} is in the tree already")
        return self._with(id, domain._replace(included=False, include_rindex=0))

    def remove(self, id):
        """Return the tree without a domain that has no children."""
        self._not_root(id, "can't be removed")
        if children := self.children(id):
            raise BadTree(f"{self._says(id)} can't be removed: it has the children "
                          f"{', '.join(map(self._says, children))}")
        return self._of({other: domain for other, domain in self.domains.items() if other != id})

    def mode(self, id, sync):
        """Return the tree in which a domain is sync or async."""
        self._not_root(id, "has no mode")
        return self if self.domains[id].sync == sync else self._with(
            id, self.domains[id]._replace(sync=bool(sync), included=False, include_rindex=0,
                                          held=False))

    def policy(self, id, any_k):
        """Return the tree in which a parent waits for others of its sync children."""
        return self._with(self._known(id), self.domains[id]._replace(any_k=any_k))

    def block(self, id, block):
        """Return the tree in which a silent domain is never excluded by itself, or is again."""
        self._not_root(id, "is never excluded")
        return self._with(id, self.domains[id]._replace(block=bool(block)))

    def reparent(self, id, parent):
        """Return the tree in which a domain replicates from another one."""
        self._not_root(id, "has no parent")
        if self.domains[id].parent == self._known(parent):
            return self
        if id in self.path(parent):
            raise BadTree(f"{self._says(parent)} can't be the parent of {self._says(id)}: "
                          f"it is {'the same' if parent == id else 'below it'}")
        return self._with(id, self.domains[id]._replace(
            parent=parent, included=False, include_rindex=0))

    def relocate(self, id, nodes):
        """Return the tree in which a domain has other nodes, or elsewhere."""
        return self._with(self._known(id), self.domains[id]._replace(nodes=tuple(nodes)))

    def exclude(self, id, held=False):
        """Return the tree in which a sync domain does not count; held: until it is released."""
        self._is_sync(id)
        return self._with(id, self.domains[id]._replace(
            included=False, include_rindex=0, held=bool(held) or self.domains[id].held))

    def release(self, id):
        """Return the tree in which a domain may count again, once it has caught up."""
        self._is_sync(id)
        return self._with(id, self.domains[id]._replace(held=False))

    def readmit(self, id, rindex):
        """Return the tree in which a sync domain counts, from the entry at rindex on."""
        self._is_sync(id)
        if self.domains[id].held:
            raise BadTree(f"{self._says(id)} was excluded by an operator, who must release it")
        if self.domains[id].included:
            raise BadTree(f"{self._says(id)} is included already, since rindex "
                          f"{self.domains[id].include_rindex}")
        return self._with(id, self.domains[id]._replace(included=True, include_rindex=rindex))

    def _known(self, id):
        if id not in self.domains:
            raise BadTree(f"there is no domain {id}: {', '.join(map(str, self.domains))}")
        return id

    def _not_root(self, id, line):
        if self._known(id) == self.root:
            raise BadTree(f"{self._says(id)} is the root: it {line}")

    def _is_sync(self, id):
        self._not_root(id, "is never excluded nor included")
        if not self.domains[id].sync:
            raise BadTree(f"{self._says(id)} is async: it never counts")

    def _with(self, id, domain):
        return self._of({**self.domains, id: domain})

    def _of(self, domains):
        return Tree(domains, self.root, self.epoch, self.lease_ns)

    # ---- bytes -------------------------------------------------------------------------

    def encode(self) -> bytes:
        """Return the one encoding of this tree."""
        cdef TreeHeader h
        memset(&h, 0, sizeof(h))
        h.version = TREE_VERSION
        h.count = <uint16_t>len(self.domains)
        h.root = <uint16_t>self.root
        h.epoch = self.epoch
        h.lease_ns = self.lease_ns
        parts = [PyBytes_FromStringAndSize(<const char*>&h, sizeof(h))]
        for id, domain in self.domains.items():
            parts.append(_encoded(id, domain))
        payload = b"".join(parts)
        if len(payload) > MAX_TREE_BYTES:
            raise BadTree(f"a tree of {len(payload)} bytes: at most {MAX_TREE_BYTES}")
        return payload

    @staticmethod
    def decode(bytes payload not None) -> Tree:
        """Read a tree; BadTree for bytes that encode none."""
        cdef TreeView view
        cdef const char* p = payload
        cdef const DomainEntry* e
        cdef int i
        if not read_tree(p, len(payload), &view):
            raise BadTree(f"{len(payload)} bytes are no tree of domains")
        p += sizeof(TreeHeader)
        domains = {}
        for i in range(view.count):
            e = <const DomainEntry*>p
            p += sizeof(DomainEntry)
            try:
                name = p[:e.name_length].decode("ascii")
                p += e.name_length
                nodes = _nodes_at(&p, e.nodes)
            except UnicodeDecodeError:
                raise BadTree(f"domain {e.id}: its name or an address is not text") from None
            domains[e.id] = Domain(
                name, e.parent, bool(e.flags & SYNC), bool(e.flags & INCLUDED), e.include_rindex,
                bool(e.flags & BLOCK), e.any_k, e.exclude_after_ns, e.max_lag_entries,
                e.max_lag_ns, ON_LAG[e.on_lag], nodes, view.domains[i].max_lag_bytes,
                bool(e.flags & HELD), bool(e.flags & READMIT_THROTTLE))
        return Tree(domains, view.domains[view.root].id, view.epoch, view.lease_ns)

    # ---- as a value --------------------------------------------------------------------

    def _says(self, id):
        """Name a domain in a line for people."""
        return f"domain {id} ({self.domains[id].name})"

    def __eq__(self, other):
        return isinstance(other, Tree) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        return (self.root, self.epoch, self.lease_ns, tuple(self.domains.items()))

    def __repr__(self):
        links = " ".join(
            f"{id}>{domain.parent}{'s' if domain.sync else 'a'}{'+' if domain.included else ''}"
            for id, domain in self.domains.items() if domain.parent)
        return f"<Tree {self.root} {links} epoch={self.epoch}>"


def _check_fields(id, domain):
    """Refuse numbers and texts that have no place in the bytes."""
    if not 0 < id < 1 << 16:
        raise BadTree(f"domain id {id}: expected 1 to 65535")
    where = f"domain {id} ({domain.name})"
    if not NAME.fullmatch(domain.name):
        raise BadTree(f"domain {id}: its name {domain.name!r}: expected 1 to {MAX_NAME_BYTES} "
                      f"of A-Z, a-z, 0-9, and, but not first, _.'-")
    if domain.on_lag not in ON_LAG:
        raise BadTree(f"{where}: on_lag {domain.on_lag!r}: expected {', '.join(ON_LAG)}")
    if not 0 <= domain.any_k < MAX_DOMAINS and domain.any_k != NONE:
        raise BadTree(f"{where}: policy any {domain.any_k}: expected 1 to {MAX_DOMAINS - 1}")
    if domain.on_lag != "none" and not (
            domain.max_lag_entries or domain.max_lag_ns or domain.max_lag_bytes):
        raise BadTree(f"{where}: on_lag {domain.on_lag} needs a lag bound, in entries, bytes or "
                      f"time")
    for field in BOUNDED:
        if not 0 <= getattr(domain, field) < 1 << 62:
            raise BadTree(f"{where}: {field} {getattr(domain, field)}: expected 0 to "
                          f"{(1 << 62) - 1}")
    if not 0 <= domain.max_lag_bytes < 1 << 48:
        raise BadTree(f"{where}: max_lag_bytes {domain.max_lag_bytes}: expected 0 to "
                      f"{(1 << 48) - 1}")
    _check_nodes(where, domain.nodes)


def _check_nodes(where, nodes):
    if len(nodes) > MAX_DOMAIN_NODES:
        raise BadTree(f"{where}: {len(nodes)} nodes: at most {MAX_DOMAIN_NODES}")
    last = 0
    for node, address in nodes:
        if not 0 < node < 1 << 16:
            raise BadTree(f"{where}: node id {node}: expected 1 to 65535")
        if node == last:
            raise BadTree(f"{where}: node {node} is named twice")
        if len(address.encode()) > MAX_NODE_ADDRESS_BYTES:
            raise BadTree(f"{where}: node {node}: an address of {len(address.encode())} bytes: "
                          f"at most {MAX_NODE_ADDRESS_BYTES}")
        last = node


cdef bytes _encoded(id, domain):
    cdef DomainEntry e
    cdef DomainNode n
    cdef list parts
    name = domain.name.encode("ascii")
    memset(&e, 0, sizeof(e))
    e.id = id
    e.parent = domain.parent
    e.flags = ((SYNC if domain.sync else 0) | (INCLUDED if domain.included else 0)
               | (BLOCK if domain.block else 0) | (HELD if domain.held else 0)
               | (READMIT_THROTTLE if domain.readmit_throttle else 0))
    e.any_k = domain.any_k
    e.on_lag = ON_LAG.index(domain.on_lag)
    e.name_length = <uint8_t>len(name)
    e.nodes = <uint16_t>len(domain.nodes)
    e.include_rindex = domain.include_rindex
    e.exclude_after_ns = domain.exclude_after_ns
    e.max_lag_entries = domain.max_lag_entries
    e.max_lag_ns = domain.max_lag_ns
    e.max_lag_bytes_high = <uint16_t>(domain.max_lag_bytes >> 32)
    e.max_lag_bytes_low = <uint32_t>(domain.max_lag_bytes & 0xFFFFFFFF)
    parts = [PyBytes_FromStringAndSize(<const char*>&e, sizeof(e)), name]
    for node, address in domain.nodes:
        text = address.encode()
        n.node = node
        n.address_length = <uint16_t>len(text)
        parts.append(PyBytes_FromStringAndSize(<const char*>&n, sizeof(n)))
        parts.append(text)
    return b"".join(parts)


cdef tuple _nodes_at(const char** p, int count):
    """Read the nodes at p, which goes behind them."""
    cdef const DomainNode* n
    cdef list nodes = []
    cdef int _
    for _ in range(count):
        n = <const DomainNode*>p[0]
        p[0] += sizeof(DomainNode)
        nodes.append((n.node, p[0][:n.address_length].decode()))
        p[0] += n.address_length
    return tuple(nodes)


# ---- the view ----------------------------------------------------------------------------


cdef bint read_tree(const char* p, size_t n, TreeView* out) noexcept nogil:
    """Read a tree without Python, from any bytes; false when they are none."""
    cdef const TreeHeader* h = <const TreeHeader*>p
    cdef uint16_t[MAX_DOMAINS] parents
    cdef size_t at = sizeof(TreeHeader)
    cdef int i
    memset(out, 0, sizeof(TreeView))
    if n < at or n > MAX_TREE_BYTES:
        return False
    if h.version != TREE_VERSION or h.flags or h.reserved or h.epoch == 0 or h.lease_ns == 0:
        return False
    if h.count == 0 or h.count > MAX_DOMAINS:
        return False
    out.count = h.count
    out.epoch = h.epoch
    out.lease_ns = h.lease_ns
    for i in range(out.count):
        at = _read_domain(p, n, at, &out.domains[i], &parents[i])
        if at == 0 or (i and out.domains[i].id <= out.domains[i - 1].id):
            return False
    return at == n and _place_parents(out, parents, h.root)


cdef size_t _read_domain(const char* p, size_t n, size_t at, DomainView* d,
                         uint16_t* parent) noexcept nogil:
    """Read one domain at ``at``; return where it ends, or 0 when it is none."""
    cdef const DomainEntry* e = <const DomainEntry*>(p + at)
    cdef const DomainNode* node
    cdef uint16_t last = 0
    cdef int _
    if n - at < sizeof(DomainEntry):
        return 0
    at += sizeof(DomainEntry)
    if (e.id == 0 or e.flags & ~(SYNC | INCLUDED | BLOCK | HELD | READMIT_THROTTLE)
            or e.on_lag > LAG_STALLS
            or e.nodes > MAX_DOMAIN_NODES
            or e.name_length == 0 or e.name_length > MAX_NAME_BYTES or n - at < e.name_length):
        return 0
    if e.any_k >= MAX_DOMAINS and e.any_k != NO_CHILD:
        return 0
    if e.flags & (INCLUDED | HELD) and not e.flags & SYNC:
        return 0
    if e.flags & INCLUDED and e.flags & HELD:
        return 0
    at += e.name_length
    for _ in range(e.nodes):
        node = <const DomainNode*>(p + at)
        if n - at < sizeof(DomainNode) or n - at - sizeof(DomainNode) < node.address_length:
            return 0
        if node.node <= last or node.address_length > MAX_NODE_ADDRESS_BYTES:
            return 0
        last = node.node
        at += sizeof(DomainNode) + node.address_length
    parent[0] = e.parent
    d.id = e.id
    d.sync = e.flags & SYNC
    d.included = (e.flags & INCLUDED) != 0
    d.block = (e.flags & BLOCK) != 0
    d.held = (e.flags & HELD) != 0
    d.readmit_throttle = (e.flags & READMIT_THROTTLE) != 0
    d.any_k = e.any_k
    d.on_lag = e.on_lag
    d.include_rindex = e.include_rindex
    d.exclude_after_ns = e.exclude_after_ns
    d.max_lag_entries = e.max_lag_entries
    d.max_lag_ns = e.max_lag_ns
    d.max_lag_bytes = <uint64_t>e.max_lag_bytes_high << 32 | e.max_lag_bytes_low
    return at


cdef bint _place_parents(TreeView* tree, const uint16_t* parents, uint16_t root) noexcept nogil:
    """Find every parent's place; false unless all hang on the one root."""
    cdef int i, at, steps
    tree.root = place_of(tree, root)
    if tree.root < 0:
        return False
    for i in range(tree.count):
        tree.domains[i].parent = -1 if parents[i] == 0 else place_of(tree, parents[i])
        if (tree.domains[i].parent < 0) != (i == tree.root):
            return False
    for i in range(tree.count):
        at, steps = i, 0
        while at != tree.root:
            at = tree.domains[at].parent
            steps += 1
            if steps > tree.count:
                return False
    return parents[tree.root] == 0


cdef int place_of(const TreeView* tree, uint16_t id) noexcept nogil:
    """Return a domain's place, or -1."""
    cdef int low = 0, high = tree.count - 1, middle
    while low <= high:
        middle = (low + high) // 2
        if tree.domains[middle].id == id:
            return middle
        if tree.domains[middle].id < id:
            low = middle + 1
        else:
            high = middle - 1
    return -1


cdef bint gates(const TreeView* tree, int place) noexcept nogil:
    """Whether a domain gates: all on its way to the root sync and included, all policies `all`."""
    if place < 0 or place >= tree.count or place == tree.root:
        return False
    while place != tree.root:
        if not tree.domains[place].sync or not tree.domains[place].included:
            return False
        place = tree.domains[place].parent
        if tree.domains[place].any_k != EACH:
            return False
    return True
