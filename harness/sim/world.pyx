# distutils: language = c++
"""The simulated world: nodes, their network and their clients, in virtual time, from a seed.

Here is what joins machines (machines.pyx) and clients: connections, which behave as TCP's do.
What arrives at a host that a cut keeps from hearing is held, and comes late when the cut ends;
a connection whose bytes are not acknowledged for ``USER_TIMEOUT_NS`` breaks, and is dialled
again. A killed process's kernel says so at once to whoever talks to it; a host without power
says nothing. With ``environment.frames`` members exchange bare frames instead: lost, doubled
and overtaken ones stay so.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libcpp.vector cimport vector

from seatrial.core.buffer cimport buffer_consume, buffer_size
from seatrial.core.replica_state cimport Connection as Accepted
from seatrial.harness.sim.chance cimport below, draw, happens, mixed
from seatrial.harness.sim.clock cimport shown
from seatrial.harness.sim.machines cimport Machine, Machines, PAUSED, UP
from seatrial.harness.sim.network cimport Fate, Network
from seatrial.harness.sim.packet cimport Packet, content, packed
from seatrial.harness.sim.queue cimport Event
from seatrial.harness.sim.stream cimport Stream, hold, in_order, restart, take_early
from seatrial.harness.sim.virtual_time cimport (
    ANSWERS,
    ARRIVES,
    ASKS,
    CLOSES,
    DIALS,
    FORSAKES,
    GIVES_UP,
    JOINS,
    KNOCKS,
    LEAVES,
    OPENS,
    PARTS,
    discard,
    release,
)

from seatrial.core.errors import ProtocolError


cdef class Connection:
    def __dealloc__(self):
        restart(&self.to_host)
        restart(&self.to_client)

    def __repr__(self) -> str:
        return f"<Connection {self.number} to host {self.host}>"


cdef class World(Machines):
    """See the module's docstring; world.pyi, machines.pyi and virtual_time.pyi list the methods."""

    def __cinit__(self, uint64_t seed, int hosts, environment, *, bint record=False,
                  int pools=1):
        self.network = Network(seed, hosts + pools, environment)
        self.numbers = 0
        self.connections = {}
        self.frames = environment.frames
        self.reset_ppm = environment.reset_ppm
        self.links.resize(hosts * hosts)

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.links.size()):
            restart(&self.links[i].stream)

    def calm(self) -> None:
        """End what the environment breaks by itself: crash points, resets, losses."""
        self.points_on = False
        self.reset_ppm = 0
        self.network.calm()

    cdef int _happen(self, Event* e) except -1:
        cdef Connection c
        if e.kind == ARRIVES:
            return self._arrives(e)
        if e.kind >= KNOCKS:
            c = self.connections.get(e.number)
            return 0 if c is None else self._happen_to_client(c, e)
        if e.kind == DIALS:
            return self._dials(e.to, e.sender, e.number)
        if e.kind == JOINS:
            return self._joins(e.to, e.sender, e.number)
        if e.kind == PARTS:
            return self._parts(e.to, e.sender, e.number)
        if e.kind == GIVES_UP:
            return self._gives_up(e.to, e.sender, e.number)
        return Machines._happen(self, e)

    # ---- the network -----------------------------------------------------------------------------

    def cut(self, pairs) -> int:
        """Let receivers hear these senders no more."""
        pairs = sorted(pairs)
        self._note("cut", -1, -1, pairs)
        return self.network.cut(pairs)

    def impair(self, pairs, **effects) -> int:
        """Add delay, loss ... to these ways (Network.impair)."""
        pairs = sorted(pairs)
        self._note("impair", -1, -1, (pairs, dict(effects)))
        return self.network.impair(pairs, **effects)

    def lift(self, int handle) -> None:
        """End a cut or an impairment. What a cut held back comes with the next retransmission."""
        cdef int a, b
        if flowing := self.network.lift(handle):
            self._hasten(frozenset(flowing))
        self._note("lift", -1, -1, handle)
        for a in range(self.hosts):
            for b in range(self.hosts):
                if a != b:
                    self._release_link(a, b)
        for connection in self.connections.values():    # in the order they were made
            self._release_connection(<Connection>connection)

    def hears(self, int receiver, int sender) -> bool:
        """Return whether no cut keeps what ``sender`` sends from ``receiver``."""
        return self.network.hears(receiver, sender)

    def counters(self) -> dict:
        """Return how many packets met which fate, and how many nodes crashed."""
        return {**self.network.counters(), "resets": self.resets, "crashes": self.crashes,
                "crash_points": self.struck, "refused_frames": self.refused_frames}

    def met(self, pairs) -> dict:
        """Return how many packets on these ways met what the environment alone would not do."""
        return self.network.met(pairs)

    def reset(self, int a, int b) -> None:
        """Break the connections between two endpoints."""
        self.network.hears(a, b)                    # they must exist
        for one, other in ((a, b), (b, a)):
            if one < self.hosts and other < self.hosts and self._link(one, other).state == JOINED:
                self._break(one, other)
        for connection in list(self.connections.values()):
            c = <Connection>connection
            if (c.host, c.pool + self.hosts) in ((a, b), (b, a)) and c.state == JOINED:
                self.resets += 1
                self._at(self.now_ns, LEAVES, c.host, 0, c.number, NULL)
                self._at(self.now_ns, CLOSES, c.host, 0, c.number, NULL)

    # ---- connections between members -------------------------------------------------------------

    cdef int _greet(self, Machine m) except -1:
        cdef int i
        for i in m.group.hosts:
            if i != m.host:
                if self._link(i, m.host).state == JOINED:   # to the process before this one
                    self._refuse(i, m.host)
                self._dial(m.host, i, self.now_ns)
        return 0

    cdef int _hang_up(self, Machine m) except -1:
        cdef int i
        cdef Link* link
        cdef Connection c
        for i in m.group.hosts:
            if i == m.host:
                continue
            link = self._link(m.host, i)
            link.state = APART
            link.stalled_ns = 0
            release(&link.stream.held)
            if not m.silent and self._link(i, m.host).state == JOINED:
                self._refuse(i, m.host)
        for connection in list(self.connections.values()):
            c = <Connection>connection
            if c.host != m.host:
                continue
            if c.state == ENDED:
                del self.connections[c.number]      # nobody is left on either side
            elif m.silent:
                release(&c.to_client.held)          # nobody sends it again
            elif c.state == JOINED:
                self._hang_up_on(c)
        return 0

    cdef int _refuse(self, int sender, int receiver) except -1:
        """The receiver's kernel tells the sender that there is no such connection (any more)."""
        if not self.network.is_cut(sender, receiver):
            self._at(self.now_ns + self.network.latency_ns, PARTS, sender, receiver,
                     self._link(sender, receiver).number, NULL)
        return 0

    cdef Link* _link(self, int sender, int receiver) noexcept:
        return &self.links[sender * self.hosts + receiver]

    cdef void _dial(self, int sender, int receiver, uint64_t when_ns) noexcept:
        cdef Link* link = self._link(sender, receiver)
        link.state = DIALLING
        self.numbers += 1
        link.number = self.numbers
        self._at(when_ns, DIALS, sender, receiver, link.number, NULL)

    cdef int _dials(self, int sender, int receiver, uint32_t number) except -1:
        """A SYN leaves; what becomes of it is known now."""
        cdef Link* link = self._link(sender, receiver)
        cdef Machine m = <Machine>self.machines[sender]
        cdef Machine other = <Machine>self.machines[receiver]
        cdef Fate there, back
        if link.number != number or link.state != DIALLING or m.replica is None:
            return 0
        self.network.judge(receiver, sender, 0, self.now_ns, &there)
        self.network.judge(sender, receiver, 0, self.now_ns + there.delay_ns, &back)
        if (m.state != UP or self.network.is_cut(receiver, sender)
                or self.network.is_cut(sender, receiver) or there.lost or back.lost
                or there.delay_ns + back.delay_ns > DIAL_TIMEOUT_NS
                or other.state == PAUSED or (other.replica is None and other.silent)):
            self._at(self.now_ns + DIAL_TIMEOUT_NS, DIALS, sender, receiver, number, NULL)
        elif other.replica is None:
            self._at(self.now_ns + there.delay_ns + back.delay_ns + REDIAL_NS, DIALS, sender,
                     receiver, number, NULL)
        else:
            self._at(self.now_ns + 2 * (there.delay_ns + back.delay_ns), JOINS, sender, receiver,
                     number, NULL)
        return 0

    cdef int _joins(self, int sender, int receiver, uint32_t number) except -1:
        cdef Link* link = self._link(sender, receiver)
        cdef Machine m = <Machine>self.machines[sender]
        cdef Machine other = <Machine>self.machines[receiver]
        if link.number != number or link.state != DIALLING or m.replica is None:
            return 0
        if (m.state != UP or other.state != UP or self.network.is_cut(receiver, sender)
                or self.network.is_cut(sender, receiver)):
            self._at(self.now_ns + DIAL_TIMEOUT_NS, DIALS, sender, receiver, number, NULL)
            return 0
        link.state = JOINED
        link.stalled_ns = 0
        link.life = other.life
        restart(&link.stream)
        other.replica.peer_reset(sender + 1)
        m.replica.peer_up(receiver + 1, shown(&m.clock, self.now_ns))
        return self._iterate(m)

    cdef int _break(self, int sender, int receiver) except -1:
        """Break a connection: what is on its way is lost, its sender hears of it soon."""
        cdef Link* link = self._link(sender, receiver)
        self.resets += 1
        link.life = 0
        return self._parts(sender, receiver, link.number)

    cdef int _parts(self, int sender, int receiver, uint32_t number) except -1:
        """The sender learns that its connection is gone, and dials again."""
        cdef Link* link = self._link(sender, receiver)
        cdef Machine m = <Machine>self.machines[sender]
        cdef Event e
        if link.number != number or link.state != JOINED or m.replica is None:
            return 0
        if m.state == PAUSED:
            e.time_ns, e.order, e.payload = self.now_ns, 0, NULL
            e.number, e.to, e.sender, e.kind = number, sender, receiver, PARTS
            m.inbox.push_back(e)
            return 0
        link.stalled_ns = 0
        m.replica.peer_down(receiver + 1, shown(&m.clock, self.now_ns))
        self._note("part", sender, receiver, None)
        self._dial(sender, receiver, self.now_ns + REDIAL_NS)
        return 0

    cdef int _transmit(self, int sender, int receiver, const char* data, size_t size) except -1:
        """Put bytes of a member on their way."""
        cdef Link* link = self._link(sender, receiver)
        cdef Fate fate
        cdef uint64_t when
        cdef Packet* p
        if link.state != JOINED:
            return 0
        self.network.judge(receiver, sender, size, self.now_ns, &fate)
        if self.reset_ppm and happens(draw(self.seed, 0x7265736574 + receiver * 64 + sender,
                                           self.now_ns), self.reset_ppm):
            return self._break(sender, receiver)
        when = self.now_ns + fate.delay_ns
        p = self._perhaps_corrupted(data, size, &fate)
        if not self.frames:
            p.number = link.stream.sent
            link.stream.sent += 1
            self._at(when + (RESEND_NS if fate.lost else 0), ARRIVES, receiver, sender,
                     link.number, p)
            return 0
        if fate.copy_ns:
            self._at(self.now_ns + fate.copy_ns, ARRIVES, receiver, sender, link.number,
                     packed(data, size, self.now_ns))
        if fate.lost:
            self.log.frames(self.now_ns, "lost", sender, receiver, p)
            free(p)
            return 0
        if fate.reordered:
            when += below(mixed(when), 20 * MS)
        self._at(when, ARRIVES, receiver, sender, link.number, p)
        return 0

    cdef Packet* _perhaps_corrupted(self, const char* data, size_t size, Fate* fate) except NULL:
        """Flip a bit that TCP's checksum did not catch (Stone and Partridge, SIGCOMM 2000)."""
        cdef Packet* p = packed(data, size, self.now_ns)
        cdef uint64_t bits
        if fate.corrupted and size:
            bits = mixed(self.now_ns ^ size)
            content(p)[bits % size] ^= <char>(1 << (bits >> 61))
        return p

    cdef int _arrives(self, Event* e) except -1:
        """Bytes reach a member's host."""
        cdef Machine m = <Machine>self.machines[e.to]
        cdef Link* link = self._link(e.sender, e.to)
        cdef bint mute = self.network.is_cut(e.sender, e.to)
        cdef Event late
        if link.number != e.number or (link.state != JOINED and
                                       (<Machine>self.machines[e.sender]).replica is not None):
            return 0            # that connection was replaced
        if self._unreachable(e.to, e.sender):
            self.network.cut_off += 1
            self._stall(link, e.sender, e.to)
            if not self.frames and link.state == JOINED:
                hold(&link.stream, e)
            return 0
        if mute:
            self._stall(link, e.sender, e.to)
        if link.life != m.life:
            return self._refuse(e.sender, e.to)
        if (mute and not self.frames and link.stalled_ns
                and self.now_ns >= link.stalled_ns + RESEND_NS):
            hold(&link.stream, e)       # its sender's window is full: this was never sent
            return 0
        if self.frames:
            return self._deliver(m, link, e)
        if not in_order(&link.stream, e):
            return 0
        self._deliver(m, link, e)
        while link.number == e.number and take_early(&link.stream, &late):
            try:
                self._deliver(m, link, &late)
            finally:
                discard(&late)
        return 0

    cdef int _deliver(self, Machine m, Link* link, Event* e) except -1:
        """Give a node bytes of another, now or when it has time."""
        if m.replica is None or self._must_wait(m, e):
            return 0
        self._feed(m, link, e)
        return self._iterate(m)

    cdef int _feed(self, Machine m, Link* link, Event* e) except -1:
        cdef Packet* p = <Packet*>e.payload
        if link.life != m.life:
            return 0
        self.log.frames(self.now_ns, "message", e.sender, e.to, p)
        try:
            m.replica.feed_peer(e.sender + 1, content(p), p.size, shown(&m.clock, self.now_ns))
        except ProtocolError as error:
            self.refused_frames += 1
            self._note("refused", e.to, e.sender, str(error))
            link.life = 0
            self._refuse(e.sender, e.to)
        return 0

    cdef void _stall(self, Link* link, int sender, int receiver) noexcept:
        """Nobody acknowledges what was sent: after a while the sender gives up."""
        if link.stalled_ns == 0 and link.state == JOINED:
            link.stalled_ns = self.now_ns
            self._at(self.now_ns + USER_TIMEOUT_NS, GIVES_UP, sender, receiver, link.number, NULL)

    cdef int _gives_up(self, int sender, int receiver, uint32_t number) except -1:
        cdef Link* link = self._link(sender, receiver)
        if (link.number == number and link.state == JOINED and link.stalled_ns
                and link.stalled_ns + USER_TIMEOUT_NS <= self.now_ns):
            return self._parts(sender, receiver, number)
        return 0

    cdef int _release_link(self, int sender, int receiver) except -1:
        """A cut ended: what it held back is sent again."""
        cdef Link* link = self._link(sender, receiver)
        if link.stalled_ns and not self._unreachable(receiver, sender) \
                and not self.network.is_cut(sender, receiver):
            link.stalled_ns = 0
            self._resend(&link.stream, sender * 64 + receiver)
        return 0

    cdef bint _unreachable(self, int host, int sender) noexcept:
        """Whether what an endpoint sends to a host meets a cut, or no power: nobody answers."""
        cdef Machine m = <Machine>self.machines[host]
        return self.network.is_cut(host, sender) or (m.replica is None and m.silent)

    cdef void _resend(self, Stream* stream, uint64_t which) noexcept:
        """Put what a cut held back on its way, within the time that a retransmission takes."""
        cdef uint64_t when = self.now_ns + below(draw(self.seed, which, self.now_ns), RESEND_NS)
        cdef size_t i
        for i in range(stream.held.size()):
            self._at(when, stream.held[i].kind, stream.held[i].to, stream.held[i].sender,
                     stream.held[i].number, stream.held[i].payload)
        stream.held.clear()

    def _hasten(self, ways) -> None:
        """A limit of bandwidth ended: let what waits in its queues arrive without it."""
        cdef vector[Event] events
        cdef size_t i
        cdef uint64_t most_ns = self.now_ns + self.network.latency_ns
        while not self.queue.empty():
            events.push_back(self.queue.top())
            self.queue.pop()
        for i in range(events.size()):
            if events[i].time_ns > most_ns and self._way_of(&events[i]) in ways:
                events[i].time_ns = most_ns
            self.queue.push(events[i])

    cdef tuple _way_of(self, const Event* e):
        """Return the way of a packet, as (receiver, sender), None for anything else."""
        cdef Connection c
        if e.payload is NULL:
            return None
        if e.kind == ARRIVES:
            return e.to, e.sender
        c = self.connections.get(e.number)
        if c is None:
            return None
        if e.kind == ASKS or e.kind == LEAVES:
            return c.host, self.hosts + c.pool
        return self.hosts + c.pool, c.host

    cdef int _take_late(self, Machine m, Event* e) except -1:
        cdef Connection c
        if e.kind == PARTS:
            return self._parts(e.to, e.sender, e.number)
        if e.kind == ARRIVES and self._link(e.sender, e.to).number == e.number:
            return self._feed(m, self._link(e.sender, e.to), e)
        if e.kind == ASKS or e.kind == LEAVES:
            c = self.connections.get(e.number)
            if c is not None and c.life == m.life:
                return self._feed_request(m, c, e)
        return 0

    # ---- clients ---------------------------------------------------------------------------------

    def connect(self, int pool, int host, client) -> int:
        """Open a connection; the client hears ``connected`` or ``closed`` with its number."""
        cdef Connection c = Connection()
        cdef Fate fate
        self.network.hears(host, self.hosts + pool)     # they must exist
        self._machine(host)
        self.numbers += 1
        c.number, c.pool, c.host, c.client = self.numbers, pool, host, client
        c.state = DIALLING
        self.connections[c.number] = c
        self.network.judge(host, self.hosts + pool, 0, self.now_ns, &fate)
        self._at(self.now_ns + fate.delay_ns, KNOCKS, host, 0, c.number, NULL)
        return c.number

    def send(self, uint32_t number, bytes data) -> None:
        """Send bytes on a client's connection; nothing if it is gone."""
        cdef Connection c = self.connections.get(number)
        if c is not None and c.state == JOINED:
            self._send_host(c, ASKS, data)

    cdef int _send_host(self, Connection c, uint8_t kind, bytes data) except -1:
        """Put a packet of a client on its way, or the end of what it has to say."""
        cdef Fate fate
        cdef Packet* p
        self.network.judge(c.host, self.hosts + c.pool, len(data), self.now_ns, &fate)
        p = self._perhaps_corrupted(PyBytes_AS_STRING(data), len(data), &fate)
        p.number = c.to_host.sent
        c.to_host.sent += 1
        self._at(self.now_ns + fate.delay_ns + (RESEND_NS if fate.lost else 0), kind, c.host, 0,
                 c.number, p)
        return 0

    def close(self, uint32_t number) -> None:
        """Close a client's connection: it hears no more of it. What it sent is read yet."""
        cdef Connection c = self.connections.get(number)
        if c is None or c.state == ENDED:
            return
        if c.state == JOINED:
            self._send_host(c, LEAVES, b"")
        else:
            del self.connections[number]
        c.state = ENDED
        c.client = None

    cdef int _happen_to_client(self, Connection c, Event* e) except -1:
        if e.payload is not NULL:
            return self._asks(c, e) if e.kind in (ASKS, LEAVES) else self._answers(c, e)
        if e.kind == KNOCKS:
            return self._knocks(c)
        if e.kind == OPENS:
            if c.state == JOINED and c.client is not None:
                c.client.connected(c.number)
        elif e.kind == CLOSES:
            return self._closes(c)
        elif e.kind == LEAVES:
            return self._leaves(c)
        elif c.stalled_ns and c.stalled_ns + USER_TIMEOUT_NS <= self.now_ns:
            return self._closes(c)
        return 0

    cdef int _knocks(self, Connection c) except -1:
        cdef Machine m = <Machine>self.machines[c.host]
        cdef int pool = self.hosts + c.pool
        cdef Fate fate
        if (self.network.is_cut(c.host, pool) or self.network.is_cut(pool, c.host)
                or m.state == PAUSED or (m.replica is None and m.silent)):
            return 0            # no answer: whoever dials has a time limit
        self.network.judge(pool, c.host, 0, self.now_ns, &fate)
        if m.replica is None:
            self._at(self.now_ns + fate.delay_ns, CLOSES, c.host, 0, c.number, NULL)
            return 0
        c.state = JOINED
        c.life = m.life
        m.replica.client_up(c.number)
        self._at(self.now_ns + 2 * fate.delay_ns, OPENS, c.host, 0, c.number, NULL)
        return 0

    cdef int _asks(self, Connection c, Event* e) except -1:
        """Bytes of a client reach a host, or their end."""
        cdef Machine m = <Machine>self.machines[c.host]
        cdef int pool = self.hosts + c.pool
        cdef bint mute = self.network.is_cut(pool, c.host)
        cdef Event late
        if self._unreachable(c.host, pool):
            self.network.cut_off += 1
            hold(&c.to_host, e)
            return self._forsake_later(c)
        if mute:
            self._forsake_later(c)
        if m.life != c.life and e.kind == LEAVES:
            return self._leaves(c)
        if m.life != c.life:    # its kernel answers: no such connection
            if not mute:
                self._at(self.now_ns + self.network.latency_ns, CLOSES, c.host, 0, c.number, NULL)
            return 0
        if not in_order(&c.to_host, e):
            return 0
        self._deliver_request(m, c, e)
        while c.life == m.life and take_early(&c.to_host, &late):
            try:
                self._deliver_request(m, c, &late)
            finally:
                discard(&late)
        return 0

    cdef int _deliver_request(self, Machine m, Connection c, Event* e) except -1:
        if m.replica is None or self._must_wait(m, e):
            return 0
        self._feed_request(m, c, e)
        return self._iterate(m)

    cdef int _feed_request(self, Machine m, Connection c, Event* e) except -1:
        cdef Packet* p = <Packet*>e.payload
        if e.kind == LEAVES:
            return self._leaves(c)
        self.log.request(self.now_ns, c.number, c.host, p)
        try:
            m.replica.feed_client(c.number, content(p), p.size)
        except ProtocolError as error:
            self.refused_frames += 1
            self._note("refused", c.host, -1, str(error))
            self._leaves(c)
            self._hang_up_on(c)
        return 0

    cdef int _answer(self, Machine m, uint32_t number) except -1:
        """Send what a node has for one client."""
        cdef Accepted* a = m.replica._connection(number)
        cdef Connection c
        if a is NULL or not a.dirty:
            return 0
        a.dirty = False
        c = self.connections.get(number)
        if c is not None and c.state == JOINED:
            self._send_client(c, ANSWERS, a.output.data + a.output.start,
                              buffer_size(&a.output))
        buffer_consume(&a.output, buffer_size(&a.output))
        return 0

    cdef int _hang_up_on(self, Connection c) except -1:
        """A host closes a client's connection: the client learns it after what was sent."""
        return self._send_client(c, CLOSES, b"", 0)

    cdef int _send_client(self, Connection c, uint8_t kind, const char* data,
                          size_t size) except -1:
        """Put a packet for a client on its way, or the end of what its host has to say."""
        cdef Fate fate
        cdef Packet* p
        self.network.judge(self.hosts + c.pool, c.host, size, self.now_ns, &fate)
        p = packed(data, size, self.now_ns)
        p.number = c.to_client.sent
        c.to_client.sent += 1
        self._at(self.now_ns + fate.delay_ns + (RESEND_NS if fate.lost else 0), kind, c.host, 0,
                 c.number, p)
        return 0

    cdef int _answers(self, Connection c, Event* e) except -1:
        """Bytes of a node reach a client, or their end."""
        cdef Event late
        if self.network.is_cut(self.hosts + c.pool, c.host):
            self.network.cut_off += 1
            hold(&c.to_client, e)
            return self._forsake_later(c)
        if not in_order(&c.to_client, e):
            return 0
        self._tell_client(c, e)
        while take_early(&c.to_client, &late):
            try:
                self._tell_client(c, &late)
            finally:
                discard(&late)
        return 0

    cdef int _tell_client(self, Connection c, Event* e) except -1:
        cdef Packet* p = <Packet*>e.payload
        if e.kind == CLOSES:
            return self._closes(c)
        if c.state == JOINED and c.client is not None:
            self.log.response(self.now_ns, c.number, c.host, p)
            c.client.received(c.number, PyBytes_FromStringAndSize(content(p), p.size))
        return 0

    cdef int _forsake_later(self, Connection c) except -1:
        if c.stalled_ns == 0:
            c.stalled_ns = self.now_ns
            self._at(self.now_ns + USER_TIMEOUT_NS, FORSAKES, c.host, 0, c.number, NULL)
        return 0

    cdef int _release_connection(self, Connection c) except -1:
        cdef int pool = self.hosts + c.pool
        if c.stalled_ns and not self._unreachable(c.host, pool) \
                and not self.network.is_cut(pool, c.host):
            c.stalled_ns = 0
            self._resend(&c.to_host, c.number)
            self._resend(&c.to_client, c.number)
        return 0

    cdef int _leaves(self, Connection c) except -1:
        """The node's side of a connection ends."""
        cdef Machine m = <Machine>self.machines[c.host]
        if c.life == m.life and m.replica is not None:
            m.replica.client_down(c.number)
        c.life = 0
        if c.state == ENDED:
            self.connections.pop(c.number, None)
        return 0

    cdef int _closes(self, Connection c) except -1:
        """The client's side of a connection ends."""
        client = c.client
        c.client = None
        if c.state == JOINED and c.life:
            self._leaves(c)
        c.state = ENDED
        self.connections.pop(c.number, None)
        if client is not None:
            client.closed(c.number)
        return 0
