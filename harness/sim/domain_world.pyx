# distutils: language = c++
"""A simulated world whose hosts belong to a tree of domains.

Within a domain everything is as in a world of one (world.pyx). Beside that, the leader of a
domain that has a parent dials one of the parent's nodes, as the shell of a real node does; here
are these connections. They behave as TCP's do, both ways: bytes arrive in order, cuts hold them
back, an end whose bytes are not acknowledged for ``USER_TIMEOUT_NS`` gives up, and who dials waits
before it tries another node.

After every step of any node the properties of a tree of domains are checked beside those of its
own Raft group, and each answer to a read when it leaves (core/domain_invariants.pyx,
core/read_invariants.pyx).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from seatrial.core.buffer cimport buffer_size
from seatrial.core.domain_invariants cimport DomainInvariants
from seatrial.core.raft_state cimport LEADER
from seatrial.core.read_invariants cimport ReadInvariants
from seatrial.core.replica cimport Replica
from seatrial.core.replica_state cimport Connection as Accepted
from seatrial.harness.sim.chance cimport below, draw, happens
from seatrial.harness.sim.clock cimport shown
from seatrial.harness.sim.machines cimport Group, GroupDurability, Machine, PAUSED, UP
from seatrial.harness.sim.network cimport Fate
from seatrial.harness.sim.packet cimport Packet, content
from seatrial.harness.sim.queue cimport Event
from seatrial.harness.sim.stream cimport hold, in_order, restart, take_early
from seatrial.harness.sim.virtual_time cimport (
    LINK_BREAKS,
    LINK_BYTES,
    LINK_DIALS,
    LINK_ENDS,
    LINK_FAILS,
    LINK_FORSAKES,
    LINK_KNOCKS,
    LINK_OPENS,
    discard,
    release,
)
from seatrial.harness.sim.world cimport (
    Connection,
    DIALLING,
    DIAL_TIMEOUT_NS,
    ENDED,
    JOINED,
    REDIAL_NS,
    RESEND_NS,
    USER_TIMEOUT_NS,
    World,
)

from seatrial.core.errors import ProtocolError

cdef enum:
    ON_UPLINK = 2               # kinds of output (Replica.take_output)
    ON_LINK = 3
    SEGMENT_BYTES = 1448        # of TCP over Ethernet


cdef class DomainLink:
    def __cinit__(self):
        self.state = DIALLING
        self.hosts[0] = self.hosts[1] = 0
        self.lives[0] = self.lives[1] = 0
        self.stalled_ns[0] = self.stalled_ns[1] = 0

    def __dealloc__(self):
        restart(&self.to_child)
        restart(&self.to_parent)

    cdef Stream* stream(self, int to) noexcept:
        """What is on its way to that end."""
        return &self.to_child if to == CHILD else &self.to_parent

    def __repr__(self) -> str:
        return f"<DomainLink {self.number} from host {self.hosts[CHILD]} to {self.hosts[PARENT]}>"


cdef class DomainWorld(World):
    """See the module's docstring; domain_world.pyi lists the methods."""

    def __cinit__(self, uint64_t seed, int hosts, environment, *, bint record=False,
                  int pools=1):
        cdef GroupDurability durability = GroupDurability()
        durability.machines = self.machines
        self.mirrors = DomainInvariants(durability)
        self.reads = ReadInvariants(self.mirrors)
        self.parents = {}
        self.trees = {}
        self.uplinks = {}
        self.dialled = [None] * hosts
        self.avoided = [0] * hosts

    def add_domain(self, int domain, hosts, *, uint64_t heartbeat_ns, uint64_t election_ns,
                   parent=(), tree=None) -> None:
        """Make a domain of these hosts; ``start`` each of them then.

        parent: the hosts of the parent's nodes, none for the root. tree: the initial tree, which
        the root's nodes begin with.
        """
        self.add_group(hosts, heartbeat_ns=heartbeat_ns, election_ns=election_ns, domain=domain)
        self.parents[domain] = tuple(sorted(parent))
        if tree is not None:
            self.trees[domain] = tree
        for h in sorted(hosts):
            self.mirrors.add_node(h + 1, domain)

    cdef dict _options(self, Machine m):
        cdef int domain = m.group.domain
        found = {"domain": domain, "parent": tuple([(h + 1, f"n{h + 1}")
                                                    for h in self.parents[domain]])}
        if domain in self.trees:
            found["tree"] = self.trees[domain]
        return found

    cdef uint64_t _due_ns(self, Machine m):
        return m.replica.deadline_ns()

    cdef int _tick(self, Machine m, uint64_t now_ns) except -1:
        m.replica.tick(now_ns)
        return 0

    cdef int _check(self, Machine m) except -1:
        self.mirrors.stepped(m.replica)         # before Log.observed is moved on
        return World._check(self, m)

    cdef int _happen(self, Event* e) except -1:
        cdef DomainLink u
        if e.kind < LINK_DIALS:
            return World._happen(self, e)
        u = self.uplinks.get(e.number)
        return 0 if u is None else self._happen_to_link(u, e)

    # ---- what is known of it -----------------------------------------------------------------

    def domains(self) -> dict:
        """Return the hosts of each domain."""
        return {(<Group>g).domain: list((<Group>g).hosts) for g in self.groups}

    def domain_of(self, int host) -> int:
        """Return the domain that a host belongs to."""
        return self._machine(host).group.domain

    def leaders_of(self, int domain) -> list:
        """Return (term, host) of the nodes that lead a domain, newest term first."""
        return [(term, host) for term, host in self.leaders()
                if self._machine(host).group.domain == domain]

    def tree(self):
        """Return the newest tree that the root is known to have committed; None before any."""
        return self.mirrors.tree()

    def first_tree(self):
        """Return the tree that the root began with."""
        return next(iter(self.trees.values()))

    def invariants(self) -> DomainInvariants:
        """Return what checks the mirrors."""
        return self.mirrors

    def read_invariants(self) -> ReadInvariants:
        """Return what checks the answers."""
        return self.reads

    def linked(self) -> list:
        """Return (child's host, parent's host) of all links that are up."""
        return [((<DomainLink>u).hosts[CHILD], (<DomainLink>u).hosts[PARENT])
                for u in self.uplinks.values() if (<DomainLink>u).state == JOINED]

    def change_tree(self, int host, change) -> bool:
        """Ask a node for another tree, as an administrator would; False when it can't be asked.

        Raises BadTree: it can't be had.
        """
        cdef Machine m = self._machine(host)
        if m.state != UP or m.replica.raft.role != LEADER:
            return False
        if not m.replica.change_tree(change, 0, 0):
            return False
        self._note("change-tree", host, -1, None)
        return self._asked(m)

    def converged(self) -> str | None:
        """Return None when all domains of the tree agree on everything; else what they do not."""
        tree = self.mirrors.tree()
        if tree is None:
            return "no tree was committed"
        for g in self.groups:       # (one that left the tree learns no more what was committed)
            if (<Group>g).domain in tree.domains:
                if (reason := self._disagreement(<Group>g)) is not None:
                    return reason
        return self._apart(tree)

    def _apart(self, tree):
        """Return how a domain that the tree has differs from the root; None if none does."""
        cdef Machine m
        cdef Replica first = None
        for g in sorted(self.groups, key=lambda g: (<Group>g).domain != tree.root):
            domain = (<Group>g).domain
            if domain not in tree.domains:
                continue
            for h in (<Group>g).hosts:
                m = self._machine(h)
                if m.replica is None:
                    continue
                if first is None:
                    first = m.replica
                if self.mirrors.applied(h + 1) != self.mirrors.applied_anywhere:
                    return (f"n{h + 1} of domain {domain} applied rindex "
                            f"{self.mirrors.applied(h + 1)} of {self.mirrors.applied_anywhere}")
                if m.replica.kv.hash() != first.kv.hash():
                    return f"n{h + 1} of domain {domain} holds another state than the root"
            given = tree.domains[domain]
            if given.sync and not given.included and not given.held:
                return f"domain {domain} is still excluded"
        return None

    # ---- reads ---------------------------------------------------------------------------------

    cdef int _feed_request(self, Machine m, Connection c, Event* e) except -1:
        cdef Packet* p = <Packet*>e.payload
        self.reads.asked(m.group.domain, c.number, content(p), p.size)
        return World._feed_request(self, m, c, e)

    cdef int _answer(self, Machine m, uint32_t number) except -1:
        cdef Accepted* a = m.replica._connection(number)
        if a is not NULL and a.dirty:
            self.mirrors.stepped(m.replica)     # its answers stand on what it has just applied
            self.reads.answered(m.host + 1, m.group.domain, number,
                                a.output.data + a.output.start, buffer_size(&a.output),
                                self.now_ns)
        return World._answer(self, m, number)

    # ---- the child's end -----------------------------------------------------------------------

    cdef int _send_further(self, Machine m) except -1:
        cdef DomainLink u
        for kind, number, data in m.replica.take_output():
            if kind == ON_UPLINK:
                u = self.dialled[m.host]
                if u is not None and u.state == JOINED:
                    self._send_on(u, PARENT, LINK_BYTES, data)
            elif kind == ON_LINK:
                u = self.uplinks.get(number)
                if u is not None and u.lives[PARENT] == m.life:
                    self._send_on(u, CHILD, LINK_BYTES, data)
        return self._tend(m)

    cdef int _tend(self, Machine m) except -1:
        """Dial, move or close a node's uplink, as it wants."""
        cdef DomainLink u = self.dialled[m.host]
        if not self.parents[m.group.domain] and not m.replica.uplink_wanted():
            return 0
        move = m.replica.take_uplink_move()
        if not m.replica.uplink_wanted():
            return 0 if u is None else self._leave(m, u)
        if u is None:
            return self._dial_parent(m, self._choose(m))
        if move is None:
            return 0
        self._leave(m, u)
        return self._dial_parent(m, move[0] if move[0] else self._choose(m))

    cdef int _leave(self, Machine m, DomainLink u) except -1:
        """Close a node's own uplink."""
        cdef bint joined = u.state == JOINED
        self._close_end(u, CHILD)
        if joined:
            m.replica.uplink_down(shown(&m.clock, self.now_ns))
        return 0

    cdef uint32_t _choose(self, Machine m) except -1:
        """Return any node of the parent, but not the one that it was last at; 0: it knows none."""
        nodes = [node for node, _ in m.replica.parent_nodes() if 0 < node <= self.hosts]
        others = [node for node in nodes if node != self.avoided[m.host]] or nodes
        if not others:
            return 0
        return others[below(draw(self.seed, 0x70617265 + m.host, self.now_ns), len(others))]

    cdef int _dial_parent(self, Machine m, uint32_t node) except -1:
        """Dial a node of the parent, within moments if it is the first, else after a while."""
        cdef DomainLink u = DomainLink()
        cdef uint64_t wait_ns = below(draw(self.seed, 0x6469616C + m.host, self.now_ns), REDIAL_NS)
        self.numbers += 1
        u.number = self.numbers
        u.hosts[CHILD] = m.host
        u.hosts[PARENT] = <int>node - 1
        u.lives[CHILD] = m.life
        self.uplinks[u.number] = u
        self.dialled[m.host] = u
        self._at(self.now_ns + (wait_ns if self.avoided[m.host] else 0) + 1, LINK_DIALS, m.host,
                 max(u.hosts[PARENT], 0), u.number, NULL)
        self.avoided[m.host] = node
        return 0

    cdef int _happen_to_link(self, DomainLink u, Event* e) except -1:
        if e.kind == LINK_BYTES or e.kind == LINK_OPENS or e.kind == LINK_ENDS:
            return self._comes(u, e)
        if e.kind == LINK_DIALS:
            return self._dials_parent(u)
        if e.kind == LINK_KNOCKS:
            return self._knocks_at_parent(u)
        if e.kind == LINK_FAILS:
            return self._fails(u)
        if e.kind == LINK_BREAKS:
            return self._end_breaks(u, CHILD if e.to == u.hosts[CHILD] else PARENT)
        for to in range(2):                             # LINK_FORSAKES
            if u.stalled_ns[to] and u.stalled_ns[to] + USER_TIMEOUT_NS <= self.now_ns:
                return self._end_breaks(u, 1 - to)
        return 0

    cdef int _dials_parent(self, DomainLink u) except -1:
        """A SYN leaves; what becomes of it is known now."""
        cdef int child = u.hosts[CHILD], parent = u.hosts[PARENT]
        cdef Machine m = <Machine>self.machines[child]
        cdef Machine other
        cdef Fate there, back
        if u.lives[CHILD] != m.life or self.dialled[child] is not u:
            return self._forget(u)
        if parent < 0:                                  # it knows no node that it could dial
            self._at(self.now_ns + DIAL_TIMEOUT_NS, LINK_FAILS, child, child, u.number, NULL)
            return 0
        other = <Machine>self.machines[parent]
        self.network.judge(parent, child, 0, self.now_ns, &there)
        self.network.judge(child, parent, 0, self.now_ns + there.delay_ns, &back)
        if (other.replica is None and not other.silent and not there.lost and not back.lost
                and not self.network.is_cut(parent, child)
                and not self.network.is_cut(child, parent)):
            self._at(self.now_ns + there.delay_ns + back.delay_ns, LINK_FAILS, child, parent,
                     u.number, NULL)                    # its kernel refuses
            return 0
        if not there.lost and not back.lost:
            self._at(self.now_ns + 2 * there.delay_ns + back.delay_ns, LINK_KNOCKS, parent, child,
                     u.number, NULL)
        self._at(self.now_ns + DIAL_TIMEOUT_NS, LINK_FAILS, child, parent, u.number, NULL)
        return 0

    cdef int _knocks_at_parent(self, DomainLink u) except -1:
        """A child's leader has said to a node of the parent who it is."""
        cdef int child = u.hosts[CHILD], parent = u.hosts[PARENT]
        cdef Machine m = <Machine>self.machines[parent]
        if (u.state != DIALLING or m.state != UP or u.lives[CHILD] == 0
                or self.network.is_cut(parent, child) or self.network.is_cut(child, parent)):
            return 0
        u.lives[PARENT] = m.life
        self._send_on(u, CHILD, LINK_OPENS, b"")
        m.replica.link_up(u.number, (<Machine>self.machines[child]).group.domain,
                          shown(&m.clock, self.now_ns))
        return self._iterate(m)

    cdef int _fails(self, DomainLink u) except -1:
        """Nobody answered a child's leader in time: it tries another node."""
        cdef Machine m = <Machine>self.machines[u.hosts[CHILD]]
        if u.state != DIALLING or u.lives[CHILD] != m.life:
            return 0
        self._close_end(u, CHILD)
        if m.state == UP and m.replica.uplink_wanted():
            return self._dial_parent(m, self._choose(m))
        return 0

    # ---- bytes, both ways ----------------------------------------------------------------------

    cdef int _send_on(self, DomainLink u, int to, uint8_t kind, bytes data) except -1:
        """Put bytes on their way to an end of a link: in segments where a bandwidth is limited, as
        those that came are read before the last one has."""
        cdef int receiver = u.hosts[to], sender = u.hosts[1 - to]
        cdef size_t size = len(data), at = 0, most
        if kind == LINK_BYTES and self.reset_ppm and happens(
                draw(self.seed, 0x6C696E6B + receiver * 64 + sender, self.now_ns), self.reset_ppm):
            return self._reset_link(u)
        most = SEGMENT_BYTES if self.network.is_limited(receiver, sender) else size
        while True:
            self._send_segment(u, to, kind, PyBytes_AS_STRING(data) + at, min(most, size - at))
            at += most
            if at >= size:
                return 0

    cdef int _send_segment(self, DomainLink u, int to, uint8_t kind, const char* data,
                           size_t size) except -1:
        cdef int receiver = u.hosts[to], sender = u.hosts[1 - to]
        cdef Fate fate
        cdef Packet* p
        self.network.judge(receiver, sender, size, self.now_ns, &fate)
        p = self._perhaps_corrupted(data, size, &fate)
        p.number = u.stream(to).sent
        u.stream(to).sent += 1
        self._at(self.now_ns + fate.delay_ns + (RESEND_NS if fate.lost else 0), kind, receiver,
                 sender, u.number, p)
        return 0

    cdef int _comes(self, DomainLink u, Event* e) except -1:
        """A packet reaches the host at an end of a link."""
        cdef int to = CHILD if e.to == u.hosts[CHILD] else PARENT
        cdef Machine m = <Machine>self.machines[e.to]
        cdef bint mute = self.network.is_cut(e.sender, e.to)
        cdef Event late
        if self._unreachable(e.to, e.sender):
            self.network.cut_off += 1
            hold(u.stream(to), e)
            return self._forsake_link_later(u, to)
        if mute:
            self._forsake_link_later(u, to)
        if u.lives[to] == 0 or u.lives[to] != m.life:   # its kernel says: no such connection
            if not mute and u.lives[1 - to]:
                self._at(self.now_ns + self.network.latency_ns, LINK_BREAKS, e.sender, e.to,
                         u.number, NULL)
            return 0
        if not in_order(u.stream(to), e):
            return 0
        self._take_in(u, e)
        while u.lives[to] == m.life and take_early(u.stream(to), &late):
            try:
                self._take_in(u, &late)
            finally:
                discard(&late)
        return 0

    cdef int _forsake_link_later(self, DomainLink u, int to) except -1:
        """Nobody acknowledges what was sent to an end: after a while the other one gives up."""
        if u.stalled_ns[to] == 0:
            u.stalled_ns[to] = self.now_ns
            self._at(self.now_ns + USER_TIMEOUT_NS, LINK_FORSAKES, u.hosts[1 - to], u.hosts[to],
                     u.number, NULL)
        return 0

    cdef int _take_in(self, DomainLink u, Event* e) except -1:
        """Give a node a packet of a link, now or when it has time."""
        cdef Machine m = <Machine>self.machines[e.to]
        if m.replica is None or self._must_wait(m, e):
            return 0
        self._feed_end(m, u, CHILD if e.to == u.hosts[CHILD] else PARENT, e)
        return self._iterate(m) if m.replica is not None else 0

    cdef int _take_late(self, Machine m, Event* e) except -1:
        cdef DomainLink u
        if e.kind < LINK_DIALS:
            return World._take_late(self, m, e)
        u = self.uplinks.get(e.number)
        if u is None:
            return 0
        return self._feed_end(m, u, CHILD if e.to == u.hosts[CHILD] else PARENT, e)

    cdef int _feed_end(self, Machine m, DomainLink u, int end, Event* e) except -1:
        cdef Packet* p = <Packet*>e.payload
        cdef uint64_t now = shown(&m.clock, self.now_ns)
        if u.lives[end] != m.life:
            return 0
        if e.kind == LINK_ENDS or e.kind == LINK_BREAKS:
            return self._tell_end(m, u, end)
        if e.kind == LINK_OPENS:
            if u.state == DIALLING and self.dialled[m.host] is u:
                u.state = JOINED
                self.links_made += 1
                self._note("link-up", u.hosts[CHILD], u.hosts[PARENT], None)
                m.replica.uplink_up(u.hosts[PARENT] + 1, now)
            return 0
        if self.record:
            self._note("link", e.sender, e.to, (p.sent_ns, content(p)[:p.size]))
        try:
            if end == CHILD:
                m.replica.receive_uplink(PyBytes_FromStringAndSize(content(p), p.size), now)
            else:
                m.replica.receive_link(u.number, PyBytes_FromStringAndSize(content(p), p.size),
                                       now)
        except ProtocolError as error:
            self.refused_frames += 1
            self._note("refused", e.to, e.sender, str(error))
            self._tell_end(m, u, end)
        return 0

    # ---- ends ----------------------------------------------------------------------------------

    cdef int _close_end(self, DomainLink u, int end) except -1:
        """A process closes its end: the other one hears it after what was sent."""
        cdef bint told = u.lives[1 - end] != 0
        u.lives[end] = 0
        if end == CHILD:
            u.state = ENDED
            if self.dialled[u.hosts[CHILD]] is u:
                self.dialled[u.hosts[CHILD]] = None
        if told:
            return self._send_on(u, 1 - end, LINK_ENDS, b"")
        return self._forget(u)

    cdef int _end_breaks(self, DomainLink u, int end) except -1:
        """An end learns that the connection is gone."""
        cdef Machine m = <Machine>self.machines[u.hosts[end]]
        cdef Event e
        if u.lives[end] == 0 or u.lives[end] != m.life or m.replica is None:
            return 0
        e.time_ns, e.order, e.payload = self.now_ns, 0, NULL
        e.number, e.to, e.sender, e.kind = u.number, u.hosts[end], u.hosts[1 - end], LINK_BREAKS
        if m.state == PAUSED:
            m.inbox.push_back(e)
            return 0
        self._tell_end(m, u, end)
        return self._iterate(m)

    cdef int _tell_end(self, Machine m, DomainLink u, int end) except -1:
        """Tell a node that its connection is gone, and close its end."""
        cdef uint64_t now = shown(&m.clock, self.now_ns)
        cdef bint joined = u.state == JOINED
        self.links_lost += 1
        self._note("link-down", m.host, u.hosts[1 - end], None)
        self._close_end(u, end)
        if end == PARENT:
            m.replica.link_down(u.number)
        elif joined:
            m.replica.uplink_down(now)
        return 0

    cdef int _forget(self, DomainLink u) except -1:
        """Let go of a connection that nobody holds any more."""
        u.state = ENDED
        self.uplinks.pop(u.number, None)
        return 0

    cdef int _reset_link(self, DomainLink u) except -1:
        """Break a connection at both ends."""
        self.resets += 1
        for end in range(2):
            if u.lives[end]:
                self._at(self.now_ns, LINK_BREAKS, u.hosts[end], u.hosts[1 - end], u.number, NULL)
        return 0

    cdef int _hang_up(self, Machine m) except -1:
        cdef DomainLink u
        cdef int end, other
        self.mirrors.crashed(m.host + 1)
        for link in list(self.uplinks.values()):
            u = <DomainLink>link
            if m.host not in (u.hosts[CHILD], u.hosts[PARENT]):
                continue
            end = CHILD if u.hosts[CHILD] == m.host else PARENT
            other = u.hosts[1 - end]
            if u.lives[end] == 0:
                continue
            u.lives[end] = 0
            if end == CHILD:
                u.state = ENDED
            release(&u.stream(end).held)
            if u.lives[1 - end] == 0:
                self._forget(u)
            elif not m.silent and not self.network.is_cut(other, m.host):
                self._at(self.now_ns + self.network.latency_ns, LINK_BREAKS, other, m.host,
                         u.number, NULL)
        self.dialled[m.host] = None
        self.avoided[m.host] = 0
        return World._hang_up(self, m)

    def reset(self, int a, int b) -> None:
        """Break the connections between two endpoints."""
        World.reset(self, a, b)
        for link in list(self.uplinks.values()):
            if {(<DomainLink>link).hosts[CHILD], (<DomainLink>link).hosts[PARENT]} == {a, b}:
                self._reset_link(<DomainLink>link)

    def lift(self, int handle) -> None:
        """End a cut or an impairment. What a cut held back comes with the next retransmission."""
        World.lift(self, handle)
        for link in list(self.uplinks.values()):
            self._release_uplink(<DomainLink>link)

    cdef int _release_uplink(self, DomainLink u) except -1:
        cdef int to
        for to in range(2):
            if (u.stalled_ns[to] and not self._unreachable(u.hosts[to], u.hosts[1 - to])
                    and not self.network.is_cut(u.hosts[1 - to], u.hosts[to])):
                u.stalled_ns[to] = 0
                self._resend(u.stream(to), u.number * 2 + to)
        return 0

    cdef tuple _way_of(self, const Event* e):
        if e.payload is not NULL and e.kind >= LINK_DIALS:
            return e.to, e.sender
        return World._way_of(self, e)
