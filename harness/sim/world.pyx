# distutils: language = c++
"""The simulated world: Raft nodes, their network, disks and clocks, in virtual time, from a seed.

Nodes are the real machines of ``core``; the world is their shell, and does what node.py,
transport.py and wal.py do with sockets and files. One queue holds everything that will happen.
``advance`` takes the earliest event and lets it happen: a packet arrives, a sync returns, a
timer rings, a process comes back, a callback of the harness is due. After each step of a node
the invariants of its whole group are checked (core/invariants.pyx).

Connections behave as TCP's do. What arrives at a host that a cut keeps from hearing is held,
and comes late when the cut ends; a connection whose bytes are not acknowledged for
``USER_TIMEOUT_NS`` breaks, and is dialled again. A killed process's kernel says so at once to
whoever talks to it; a host without power says nothing. With ``environment.frames`` members
exchange bare frames instead: lost, doubled and overtaken ones stay so.

Everything that happened goes into a digest: two runs with one digest were the same run. With
``record`` it is kept as text for people, too (``trace``).
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libcpp.vector cimport vector

from seatrial.core.buffer cimport Buffer, buffer_consume, buffer_size
from seatrial.core.codec cimport (
    APPEND,
    APPEND_REPLY,
    FrameHeader,
    GRANTED,
    Message,
    VOTE_REPLY,
)
from seatrial.core.invariants cimport ClusterInvariants, Durability
from seatrial.core.raft cimport LEADER, Raft
from seatrial.core.replica cimport Connection as Accepted
from seatrial.core.replica cimport GroupWrite, Replica
from seatrial.harness.sim.chance cimport below, draw, happens, mixed
from seatrial.harness.sim.clock cimport Clock, RATE_BITS, set_clock, shown, when_shown
from seatrial.harness.sim.disk cimport SYNC_STALLED, Disk
from seatrial.harness.sim.network cimport Fate, Network
from seatrial.harness.sim.packet cimport Packet, content, packed
from seatrial.harness.sim.queue cimport Event, EventQueue
from seatrial.harness.sim.trace cimport Trace

from functools import partial

from seatrial.core.errors import InvariantViolation, NodeError, ProtocolError
from seatrial.harness.sim.environment import CRASH_POINTS

cdef enum:                      # of a machine
    DOWN = 0
    UP = 1
    PAUSED = 2
    BROKEN = 3

cdef enum:                      # of a link or a client's connection
    APART = 0
    DIALLING = 1
    JOINED = 2
    ENDED = 3

cdef enum:                      # kinds of events
    ARRIVES = 1                 # bytes between members
    SYNCED = 2
    RINGS = 3                   # a machine's timer
    GOES_ON = 4                 # an iteration is over, the next may begin
    DIALS = 5
    JOINS = 6                   # a dialled connection is there
    PARTS = 7                   # a connection between members is seen to be broken
    GIVES_UP = 8                # bytes were not acknowledged for too long
    STARTS = 9                  # after a crash point
    CALLS = 10                  # the harness
    KNOCKS = 11                 # a client's connection arrives
    OPENS = 12                  # and is answered
    ASKS = 13                   # bytes of a client
    ANSWERS = 14                # bytes for a client
    CLOSES = 15                 # a client learns that its connection is gone
    LEAVES = 16                 # a node learns that a client is
    FORSAKES = 17               # GIVES_UP, of a client's connection

cdef enum:
    VOTE_POINT = 0
    WRITE_POINT = 1
    ANSWER_POINT = 2
    LEAD_POINT = 3
    APPEND_POINT = 4

cdef enum:
    MS = 1_000_000
    REDIAL_NS = 100 * MS        # these four as core/transport.py and core/client.py have them
    DIAL_TIMEOUT_NS = 500 * MS
    USER_TIMEOUT_NS = 2000 * MS
    RESEND_NS = 200 * MS        # Linux's smallest retransmission timeout
    MAX_HOSTS = 64

cdef uint64_t NEVER = <uint64_t>1 << 63

STATES = ("down", "up", "paused", "broken")
KINDS = ("", "arrives", "synced", "rings", "goes-on", "dials", "joins", "parts", "gives-up",
         "starts", "calls", "knocks", "opens", "asks", "answers", "closes", "leaves", "forsakes")


cdef struct Link:               # a member's outgoing connection to another
    int state
    uint32_t number             # of the newest connection
    uint64_t fifo_ns            # nothing on it arrives before this
    uint64_t stalled_ns         # since when what is sent is not acknowledged; 0: it is


cdef class Group:               # one Raft cluster
    cdef readonly list hosts
    cdef readonly int domain
    cdef readonly uint64_t heartbeat_ns, election_ns
    cdef ClusterInvariants invariants

    def __repr__(self) -> str:
        return f"<Group of hosts {self.hosts}>"


cdef class Machine:             # one host with its node
    cdef int host
    cdef Group group
    cdef Replica replica        # None while no process runs
    cdef Disk disk
    cdef int state
    cdef bint silent            # it lost power: nobody answers for it, not even its kernel
    cdef uint32_t life          # counts starts and ends of the process
    cdef bint comes_back        # a crash point took it down and will start it again
    cdef str trouble
    cdef Clock clock
    cdef uint64_t timer_ns      # when it is to be woken at the latest ...
    cdef uint32_t timer         # ... by the event with this number
    cdef uint64_t iteration_ns  # what one iteration of its loop takes
    cdef uint64_t busy_ns       # until when it is in one
    cdef bint waiting           # an event will end that
    cdef uint64_t write_seq     # of the group write in flight
    cdef bint led
    cdef vector[Event] inbox    # what came while it was paused or busy

    def __repr__(self) -> str:
        return f"<Machine {self.host}: {STATES[self.state]}>"


cdef class GroupDurability(Durability):
    """What the disks of a group would still hold after a power loss now."""

    cdef list machines          # by node id - 1

    cdef uint64_t term_at(self, uint32_t node, uint64_t index) noexcept:
        return (<Machine>self.machines[node - 1]).disk.durable_term(index)


cdef class Connection:          # of a client
    cdef readonly uint32_t number
    cdef readonly int pool, host
    cdef object client
    cdef int state
    cdef uint32_t life          # of the machine's process that accepted it
    cdef uint64_t to_host_ns, to_client_ns      # nothing arrives before, each way
    cdef uint64_t stalled_ns

    def __repr__(self) -> str:
        return f"<Connection {self.number} to host {self.host}>"


cdef class Timer:
    """A call that the harness is owed; ``cancel`` lets it be."""

    cdef object callback
    cdef tuple args
    cdef readonly uint64_t when_ns

    def cancel(self) -> None:
        """Do not call."""
        self.callback = None
        self.args = ()


cdef void discard(Event* e) noexcept:
    """Let go of what an event owns."""
    if e.payload is not NULL:
        if e.kind == CALLS:
            Py_DECREF(<object>e.payload)
        else:
            free(e.payload)
        e.payload = NULL


cdef class World:
    """See the module's docstring; harness/sim/world.pyi documents the methods."""

    cdef readonly uint64_t now_ns
    cdef readonly uint64_t events
    cdef readonly int hosts
    cdef readonly Network network
    cdef object environment
    cdef uint64_t seed
    cdef EventQueue queue
    cdef uint64_t order
    cdef uint32_t numbers
    cdef list machines
    cdef list groups
    cdef vector[Link] links     # [from * hosts + to]
    cdef vector[vector[Event]] held     # what a cut keeps from arriving, by link
    cdef dict connections
    cdef dict held_for          # connection -> events that a cut keeps from arriving
    cdef Trace log
    cdef bint record
    cdef uint64_t[5] point_ppm  # crash points
    cdef uint64_t down_ns
    cdef bint points_on
    cdef bint frames
    cdef uint64_t reset_ppm
    cdef readonly uint64_t resets, crashes, refused_frames

    def __cinit__(self, uint64_t seed, int hosts, environment, *, bint record=False,
                  int pools=1):
        cdef Machine m
        cdef int i
        cdef uint64_t drift, bits
        if not 1 <= hosts <= MAX_HOSTS:
            raise ValueError(f"{hosts} hosts: expected 1 to {MAX_HOSTS}")
        self.seed = seed
        self.hosts = hosts
        self.environment = environment
        self.network = Network(seed, hosts + pools, environment)
        self.now_ns = self.events = self.order = 0
        self.numbers = 0
        self.log = Trace(seed, record)
        self.record = record
        self.groups = []
        self.machines = []
        self.connections = {}
        self.held_for = {}
        self.frames = environment.frames
        self.reset_ppm = environment.reset_ppm
        self.links.resize(hosts * hosts)
        self.held.resize(hosts * hosts)
        drift = environment.drift_ppm
        for i in range(hosts):
            m = Machine()
            m.host = i
            m.state = DOWN
            bits = mixed(seed ^ (0x636C6F636B + i))
            m.clock.shown_ns = 1_000_000_000 + bits % 1_000_000_000
            m.clock.rate = rate_of(<int64_t>below(bits, 2 * drift + 1) - <int64_t>drift)
            m.iteration_ns = environment.iteration_ns
            m.disk = Disk(
                seed, i, sync_ns=environment.sync_ns,
                sync_jitter_ns=environment.sync_jitter_ns,
                sync_tail_ppm=environment.sync_tail_ppm, sync_tail_ns=environment.sync_tail_ns,
                segment_bytes=environment.segment_bytes)
            self.machines.append(m)
        self.crash_points(dict(environment.crash_points), environment.crash_down_ns)

    def __dealloc__(self):
        cdef Event e
        cdef size_t i
        while not self.queue.empty():
            e = self.queue.top()
            self.queue.pop()
            discard(&e)
        for i in range(self.held.size()):
            release(&self.held[i])

    # ---- Raft groups -----------------------------------------------------------------------

    def add_group(self, hosts, *, uint64_t heartbeat_ns, uint64_t election_ns,
                  int domain=0) -> None:
        """Make a Raft cluster of these hosts' nodes; ``start`` each of them then."""
        cdef Group g = Group()
        cdef Machine m
        cdef GroupDurability durability = GroupDurability()
        g.hosts = sorted(hosts)
        g.domain = domain
        g.heartbeat_ns, g.election_ns = heartbeat_ns, election_ns
        durability.machines = self.machines
        g.invariants = ClusterInvariants(durability)
        for h in g.hosts:
            m = self._machine(h)
            if m.group is not None:
                raise ValueError(f"host {h} is in a group already")
            m.group = g
        self.groups.append(g)

    # ---- processes -------------------------------------------------------------------------

    def start(self, int host) -> None:
        """Start a node's process from what its disk holds; nothing if it runs."""
        cdef Machine m = self._machine(host)
        cdef int i
        if m.state == UP or m.state == PAUSED:
            return
        if m.group is None:
            raise ValueError(f"host {host} is in no group")
        m.comes_back = False
        m.silent = False
        try:
            term, vote, records = m.disk.recover()
        except NodeError as error:
            m.state, m.trouble = BROKEN, str(error)
            self._note("broken", host, -1, m.trouble)
            return
        m.life += 1
        m.state, m.trouble = UP, None
        m.waiting = False
        m.busy_ns = 0
        m.led = False
        m.timer_ns = NEVER
        m.replica = Replica(
            host + 1, [h + 1 for h in m.group.hosts],
            seed=draw(self.seed, 0x6C696665, m.life * 64 + host),
            now_ns=shown(&m.clock, self.now_ns),
            heartbeat_ns=m.group.heartbeat_ns, election_ns=m.group.election_ns,
            max_batch_bytes=self.environment.max_batch_bytes,
            max_inflight_bytes=self.environment.max_inflight_bytes,
            max_write_bytes=self.environment.segment_bytes // 2)
        m.replica.restore(term, vote, records)
        self._note("start", host, -1, None)
        for i in m.group.hosts:
            if i != host:
                if self._link(i, host).state == JOINED:     # to the process before this one
                    self._at(self.now_ns + self.network.latency_ns, PARTS, i, host,
                             self._link(i, host).number, NULL)
                self._dial(host, i, self.now_ns)
        self._iterate(m)

    def kill(self, int host) -> None:
        """End a process by kill -9: what it wrote stays, its connections are closed."""
        cdef Machine m = self._machine(host)
        m.comes_back = False
        if m.state == UP or m.state == PAUSED:
            m.disk.killed(draw(self.seed, 0x6B696C6C, self.now_ns + host))
            self._end(m, False)
            self._note("kill", host, -1, None)

    def power_loss(self, int host) -> None:
        """Take a host's power: what was not synced may be lost or torn, nobody is told."""
        cdef Machine m = self._machine(host)
        m.comes_back = False
        if m.state == UP or m.state == PAUSED:
            self._lose_power(m)

    cdef int _lose_power(self, Machine m) except -1:
        m.disk.power_lost(draw(self.seed, 0x706F776572, self.now_ns + m.host))
        self._end(m, True)
        self._note("power-loss", m.host, -1, None)
        m.group.invariants.disk_shrank()
        return 0

    cdef int _end(self, Machine m, bint silent) except -1:
        """The process is gone."""
        cdef int i
        cdef Link* link
        m.replica = None
        m.state = DOWN
        m.silent = silent
        m.life += 1
        self.crashes += 1
        release(&m.inbox)
        m.group.invariants.crashed(m.host + 1)
        for i in m.group.hosts:
            if i == m.host:
                continue
            link = self._link(m.host, i)
            link.state = APART
            link.stalled_ns = 0
            release(&self.held[m.host * self.hosts + i])
            link = self._link(i, m.host)
            if not silent and link.state == JOINED:
                self._at(self.now_ns + self.network.latency_ns, PARTS, i, m.host, link.number,
                         NULL)
        for connection in list(self.connections.values()):
            if (<Connection>connection).host == m.host and not silent:
                self._at(self.now_ns + self.network.latency_ns, CLOSES, m.host, 0,
                         (<Connection>connection).number, NULL)
        return 0

    cdef int _stop_loudly(self, Machine m, str why) except -1:
        """The node can't go on, as after a failed sync: it says so and ends."""
        m.disk.killed(draw(self.seed, 0x73746F70, self.now_ns + m.host))
        self._end(m, False)
        m.state, m.trouble = BROKEN, why
        self._note("broken", m.host, -1, why)
        return 0

    def pause(self, int host) -> None:
        """SIGSTOP."""
        cdef Machine m = self._machine(host)
        if m.state == UP:
            m.state = PAUSED
            self._note("pause", host, -1, None)

    def resume(self, int host) -> None:
        """SIGCONT: it finds everything that came meanwhile."""
        cdef Machine m = self._machine(host)
        if m.state == PAUSED:
            m.state = UP
            self._note("resume", host, -1, None)
            self._empty_inbox(m)

    def slow(self, int host, uint64_t iteration_ns) -> None:
        """Let each iteration of a node's loop take so long; 0: as the environment says."""
        self._machine(host).iteration_ns = iteration_ns or self.environment.iteration_ns

    def state(self, int host) -> str:
        """Return up, paused, down or broken (it stopped by itself, or refused to start)."""
        return STATES[self._machine(host).state]

    def trouble(self, int host) -> str | None:
        """Return why a node is broken."""
        return self._machine(host).trouble

    def status(self, int host) -> dict | None:
        """Return what a running node knows of itself."""
        cdef Machine m = self._machine(host)
        return None if m.replica is None else m.replica.status()

    def leaders(self) -> list:
        """Return (term, host) of each node that leads, newest term first."""
        cdef Machine m
        found = [(m.replica.raft.term, m.host) for m in self.machines
                 if m.replica is not None and m.replica.raft.role == LEADER]
        found.sort(reverse=True)
        return found

    def disk(self, int host) -> Disk:
        """Return a host's disk."""
        return self._machine(host).disk

    def crash_points(self, points, uint64_t down_ns) -> None:
        """Take a node's power at these moments, with these probabilities, for ``down_ns``."""
        if unknown := sorted(set(points) - set(CRASH_POINTS)):
            raise ValueError(f"no crash point is called {unknown[0]!r}")
        for i, name in enumerate(CRASH_POINTS):
            self.point_ppm[i] = points.get(name, 0)
        self.points_on = any(points.values())
        self.down_ns = down_ns

    def calm(self) -> None:
        """End what the environment breaks by itself: crash points, resets, losses."""
        self.points_on = False
        self.reset_ppm = 0
        self.network.calm()

    cdef Machine _machine(self, int host):
        if not 0 <= host < self.hosts:
            raise ValueError(f"no host {host}: there are {self.hosts}")
        return <Machine>self.machines[host]

    # ---- clocks ----------------------------------------------------------------------------

    def clock_rate(self, int host, int64_t ppm) -> None:
        """Let a node's clock run fast (ppm > 0) or slow."""
        cdef Machine m = self._machine(host)
        set_clock(&m.clock, self.now_ns, 0, rate_of(ppm))
        self._note("clock", host, -1, (0, ppm))
        self._wind(m)

    def clock_bump(self, int host, uint64_t ns) -> None:
        """Let a node's clock jump ahead."""
        cdef Machine m = self._machine(host)
        set_clock(&m.clock, self.now_ns, ns, m.clock.rate)
        self._note("clock", host, -1, (ns, None))
        self._wind(m)

    def clock_ns(self, int host) -> int:
        """Return what a node's clock shows."""
        return shown(&self._machine(host).clock, self.now_ns)

    # ---- network ---------------------------------------------------------------------------

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
        self.network.lift(handle)
        self._note("lift", -1, -1, handle)
        for a in range(self.hosts):
            for b in range(self.hosts):
                if a != b:
                    self._release_link(a, b)
        for number in sorted(self.held_for):
            self._release_connection(self.connections.get(number))

    def hears(self, int receiver, int sender) -> bool:
        """Return whether no cut keeps what ``sender`` sends from ``receiver``."""
        return self.network.hears(receiver, sender)

    def counters(self) -> dict:
        """Return how many packets met which fate, and how many nodes crashed."""
        return {**self.network.counters(), "resets": self.resets, "crashes": self.crashes,
                "refused_frames": self.refused_frames}

    def reset(self, int a, int b) -> None:
        """Break the connections between two hosts."""
        for one, other in ((a, b), (b, a)):
            if one < self.hosts and other < self.hosts and self._link(one, other).state == JOINED:
                self._break(one, other)
        for connection in list(self.connections.values()):
            c = <Connection>connection
            if (c.host, c.pool + self.hosts) in ((a, b), (b, a)) and c.state == JOINED:
                self.resets += 1
                self._at(self.now_ns, LEAVES, c.host, 0, c.number, NULL)
                self._at(self.now_ns, CLOSES, c.host, 0, c.number, NULL)

    # ---- connections between members ---------------------------------------------------------

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
        link.fifo_ns = self.now_ns
        link.stalled_ns = 0
        other.replica.peer_reset(sender + 1)
        m.replica.peer_up(receiver + 1, shown(&m.clock, self.now_ns))
        return self._iterate(m)

    cdef int _break(self, int sender, int receiver) except -1:
        """Break a connection: what is on its way is lost, its sender hears of it soon."""
        self.resets += 1
        return self._parts(sender, receiver, self._link(sender, receiver).number)

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
        release(&self.held[sender * self.hosts + receiver])
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
        if link.state != JOINED:
            return 0
        self.network.judge(receiver, sender, size, self.now_ns, &fate)
        if self.reset_ppm and happens(draw(self.seed, 0x7265736574 + receiver * 64 + sender,
                                           self.now_ns), self.reset_ppm):
            return self._break(sender, receiver)
        when = self.now_ns + fate.delay_ns
        if self.frames:
            self._note_lost(sender, receiver, data, size, &fate)
            if fate.reordered:
                when += below(mixed(when), 20 * MS)
            if fate.copy_ns:
                self._at(self.now_ns + fate.copy_ns, ARRIVES, receiver, sender, link.number,
                         packed(data, size, self.now_ns))
            if fate.lost:
                return 0
        else:
            if fate.lost:
                when += RESEND_NS
            if when <= link.fifo_ns:
                when = link.fifo_ns + 1
            link.fifo_ns = when
        self._at(when, ARRIVES, receiver, sender, link.number,
                 self._perhaps_corrupted(data, size, &fate))
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
        cdef Packet* p = <Packet*>e.payload
        if link.number != e.number or (link.state != JOINED and
                                       (<Machine>self.machines[e.sender]).replica is not None):
            return 0            # that connection was replaced
        if self.network.is_cut(e.to, e.sender) or (m.replica is None and m.silent):
            self.network.cut_off += 1
            self._stall(link, e.sender, e.to)
            if not self.frames and link.state == JOINED:
                self.held[e.sender * self.hosts + e.to].push_back(e[0])
                e.payload = NULL
            return 0
        if m.replica is None:   # its kernel answers: no such connection
            self._at(self.now_ns + self.network.latency_ns, PARTS, e.sender, e.to, e.number, NULL)
            return 0
        if self.network.is_cut(e.sender, e.to):
            self._stall(link, e.sender, e.to)
        if self._must_wait(m, e):
            return 0
        self.log.frames(self.now_ns, "message", e.sender, e.to, p)
        try:
            m.replica.feed_peer(e.sender + 1, content(p), p.size, shown(&m.clock, self.now_ns))
        except ProtocolError as error:
            self.refused_frames += 1
            self._note("refused", e.to, e.sender, str(error))
            self._at(self.now_ns + self.network.latency_ns, PARTS, e.sender, e.to, e.number, NULL)
        return self._iterate(m)

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
        cdef vector[Event]* held = &self.held[sender * self.hosts + receiver]
        cdef size_t i
        cdef uint64_t when
        if link.stalled_ns == 0 or self.network.is_cut(receiver, sender):
            return 0
        if not self.network.is_cut(sender, receiver):
            link.stalled_ns = 0
        when = self.now_ns + below(draw(self.seed, sender * 64 + receiver, self.now_ns), RESEND_NS)
        for i in range(held.size()):
            when += 1
            held[0][i].time_ns = when
            self.order += 1
            held[0][i].order = self.order
            self.queue.push(held[0][i])
        held.clear()
        if when > link.fifo_ns:
            link.fifo_ns = when
        return 0

    # ---- clients -----------------------------------------------------------------------------

    def connect(self, int pool, int host, client) -> int:
        """Open a connection; the client hears ``connected`` or ``closed`` with its number."""
        cdef Connection c = Connection()
        cdef Fate fate
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
        cdef Fate fate
        cdef uint64_t when
        if c is None or c.state != JOINED:
            return
        self.network.judge(c.host, self.hosts + c.pool, len(data), self.now_ns, &fate)
        when = self.now_ns + fate.delay_ns + (RESEND_NS if fate.lost else 0)
        if when <= c.to_host_ns:
            when = c.to_host_ns + 1
        c.to_host_ns = when
        self._at(when, ASKS, c.host, 0, number,
                 self._perhaps_corrupted(PyBytes_AS_STRING(data), len(data), &fate))

    def close(self, uint32_t number) -> None:
        """Close a client's connection: it hears no more of it."""
        cdef Connection c = self.connections.get(number)
        if c is not None and c.state != ENDED:
            if c.state == JOINED:
                self._at(self.now_ns + self.network.latency_ns, LEAVES, c.host, 0, number, NULL)
            c.state = ENDED
            c.client = None

    cdef int _knocks(self, Connection c) except -1:
        cdef Machine m = <Machine>self.machines[c.host]
        cdef int pool = self.hosts + c.pool
        cdef Fate fate
        if c.state != DIALLING:
            self.connections.pop(c.number, None)
            return 0
        if (self.network.is_cut(c.host, pool) or self.network.is_cut(pool, c.host)
                or m.state == PAUSED or (m.replica is None and m.silent)):
            return 0            # no answer: whoever dials has a time limit
        self.network.judge(pool, c.host, 0, self.now_ns, &fate)
        if m.replica is None:
            self._at(self.now_ns + fate.delay_ns, CLOSES, c.host, 0, c.number, NULL)
            return 0
        c.state = JOINED
        c.life = m.life
        c.to_client_ns = self.now_ns + 2 * fate.delay_ns
        c.to_host_ns = self.now_ns
        m.replica.client_up(c.number)
        self._at(c.to_client_ns, OPENS, c.host, 0, c.number, NULL)
        return 0

    cdef int _asks(self, Connection c, Event* e) except -1:
        """Bytes of a client reach a host."""
        cdef Machine m = <Machine>self.machines[c.host]
        cdef Packet* p = <Packet*>e.payload
        cdef int pool = self.hosts + c.pool
        if self.network.is_cut(c.host, pool) or (m.replica is None and m.silent):
            self._hold(c, e)
            return 0
        if m.replica is None or m.life != c.life:
            self._at(self.now_ns + self.network.latency_ns, CLOSES, c.host, 0, c.number, NULL)
            return 0
        if self.network.is_cut(pool, c.host):
            self._forsake_later(c)
        if self._must_wait(m, e):
            return 0
        self.log.request(self.now_ns, c.number, c.host, p)
        try:
            m.replica.feed_client(c.number, content(p), p.size)
        except ProtocolError as error:
            self.refused_frames += 1
            self._note("refused", c.host, -1, str(error))
            self._leaves(c)
            self._at(self.now_ns + self.network.latency_ns, CLOSES, c.host, 0, c.number, NULL)
        return self._iterate(m)

    cdef int _answers(self, Connection c, Event* e) except -1:
        """Bytes of a node reach a client."""
        cdef Packet* p = <Packet*>e.payload
        if self.network.is_cut(self.hosts + c.pool, c.host):
            self._hold(c, e)
            return 0
        if c.state == JOINED and c.client is not None:
            self.log.response(self.now_ns, c.number, c.host, p)
            c.client.received(c.number, PyBytes_FromStringAndSize(content(p), p.size))
        return 0

    cdef int _hold(self, Connection c, Event* e) except -1:
        """Keep what a cut keeps from arriving, until it ends or somebody gives up."""
        self.network.cut_off += 1
        held = self.held_for.setdefault(c.number, [])
        (<list>held).append((e.kind, PyBytes_FromStringAndSize(
            content(<Packet*>e.payload), (<Packet*>e.payload).size)))
        return self._forsake_later(c)

    cdef int _forsake_later(self, Connection c) except -1:
        if c.stalled_ns == 0:
            c.stalled_ns = self.now_ns
            self._at(self.now_ns + USER_TIMEOUT_NS, FORSAKES, c.host, 0, c.number, NULL)
        return 0

    cdef int _release_connection(self, Connection c) except -1:
        cdef uint64_t when
        cdef int pool
        if c is None:
            return 0
        pool = self.hosts + c.pool
        if self.network.is_cut(c.host, pool) or self.network.is_cut(pool, c.host):
            return 0
        c.stalled_ns = 0
        when = self.now_ns + below(draw(self.seed, c.number, self.now_ns), RESEND_NS)
        for kind, data in self.held_for.pop(c.number):
            when += 1
            self._at(when, kind, c.host, 0, c.number,
                     packed(PyBytes_AS_STRING(data), len(data), self.now_ns))
        c.to_host_ns = max(c.to_host_ns, when)
        c.to_client_ns = max(c.to_client_ns, when)
        return 0

    cdef int _leaves(self, Connection c) except -1:
        """The node's side of a connection ends."""
        cdef Machine m = <Machine>self.machines[c.host]
        if c.life == m.life and m.replica is not None:
            m.replica.client_down(c.number)
        c.life = 0
        if c.state == ENDED:
            self.connections.pop(c.number, None)
            self.held_for.pop(c.number, None)
        return 0

    cdef int _closes(self, Connection c) except -1:
        """The client's side of a connection ends."""
        client = c.client
        c.client = None
        if c.state == JOINED and c.life:
            self._leaves(c)
        c.state = ENDED
        self.connections.pop(c.number, None)
        self.held_for.pop(c.number, None)
        if client is not None:
            client.closed(c.number)
        return 0

    # ---- timers --------------------------------------------------------------------------------

    def call_at(self, uint64_t when_ns, callback, *args) -> Timer:
        """Call back at a moment; at once, but not within this call, if that is past."""
        cdef Timer t = Timer()
        t.callback, t.args = callback, args
        t.when_ns = when_ns if when_ns > self.now_ns else self.now_ns
        Py_INCREF(t)
        self._at(t.when_ns, CALLS, 0, 0, 0, <PyObject*>t)
        return t

    cdef void _at(self, uint64_t when_ns, uint8_t kind, int to, int sender, uint32_t number,
                  void* payload) noexcept:
        cdef Event e
        self.order += 1
        e.time_ns, e.order, e.payload = when_ns, self.order, payload
        e.number, e.to, e.sender, e.kind = number, to, sender, kind
        self.queue.push(e)

    cdef int _wind(self, Machine m) except -1:
        """See to it that a machine's timer rings no later than its node wants."""
        cdef uint64_t when
        if m.replica is None:
            return 0
        when = when_shown(&m.clock, m.replica.raft.deadline_ns())
        if when < self.now_ns:
            when = self.now_ns
        if when < m.timer_ns:
            m.timer_ns = when
            m.timer += 1
            self._at(when, RINGS, m.host, 0, m.timer, NULL)
        return 0

    cdef int _rings(self, Machine m, uint32_t number) except -1:
        cdef Event e
        if number != m.timer or m.replica is None:
            return 0
        m.timer_ns = NEVER
        if shown(&m.clock, self.now_ns) < m.replica.raft.deadline_ns():
            return self._wind(m)
        e.time_ns, e.order, e.payload = self.now_ns, 0, NULL
        e.number, e.to, e.sender, e.kind = 0, m.host, 0, GOES_ON
        if self._must_wait(m, &e):
            return 0
        return self._iterate(m)

    # ---- one iteration of a node's loop --------------------------------------------------------

    cdef bint _must_wait(self, Machine m, Event* e) except -1:
        """Keep an input for later while a node is paused or busy."""
        if m.state == UP and m.busy_ns <= self.now_ns:
            return False
        m.inbox.push_back(e[0])
        e.payload = NULL
        if m.state == UP and not m.waiting:
            m.waiting = True
            self._at(m.busy_ns, GOES_ON, m.host, 0, m.life, NULL)
        return True

    cdef int _empty_inbox(self, Machine m) except -1:
        """Give a node all that waited for it, in one iteration."""
        cdef vector[Event] waiting
        cdef Event e
        cdef size_t i
        cdef uint32_t life = m.life
        m.waiting = False
        if m.state != UP:
            return 0
        waiting.swap(m.inbox)
        for i in range(waiting.size()):
            e = waiting[i]
            if m.life == life:
                self._take_late(m, &e)
            discard(&e)
        if m.life == life:
            return self._iterate(m)
        return 0

    cdef int _take_late(self, Machine m, Event* e) except -1:
        cdef Packet* p = <Packet*>e.payload
        cdef Connection c
        if e.kind == SYNCED:
            return self._take_synced(m, e.number)
        if e.kind == PARTS:
            return self._parts(e.to, e.sender, e.number)
        try:
            if e.kind == ARRIVES and self._link(e.sender, e.to).number == e.number:
                self.log.frames(self.now_ns, "message", e.sender, e.to, p)
                m.replica.feed_peer(e.sender + 1, content(p), p.size,
                                    shown(&m.clock, self.now_ns))
            elif e.kind == ASKS:
                c = self.connections.get(e.number)
                if c is not None and c.life == m.life:
                    self.log.request(self.now_ns, c.number, c.host, p)
                    m.replica.feed_client(c.number, content(p), p.size)
        except ProtocolError as error:
            self.refused_frames += 1
            self._note("refused", e.to, e.sender, str(error))
            if e.kind == ARRIVES:
                self._at(self.now_ns + self.network.latency_ns, PARTS, e.sender, e.to, e.number,
                         NULL)
            else:
                self._at(self.now_ns, LEAVES, e.to, 0, e.number, NULL)
                self._at(self.now_ns + self.network.latency_ns, CLOSES, e.to, 0, e.number, NULL)
        return 0

    cdef int _iterate(self, Machine m) except -1:
        """One iteration: time, what the node makes of its inputs, its write, what it sends."""
        cdef Replica r = m.replica
        cdef uint64_t now = shown(&m.clock, self.now_ns)
        cdef GroupWrite w
        cdef int64_t takes
        cdef uint32_t life = m.life
        cdef bint wrote = False
        if now >= r.raft.deadline_ns():
            r.raft.tick(now)
        r.settle(now)
        m.busy_ns = self.now_ns + m.iteration_ns
        if r.next_write(&w):
            takes = m.disk.submit(w.seq, w.term, w.vote, w.count, w.records, w.size, self.now_ns)
            if takes < 0:
                return self._stop_loudly(m, m.disk.error)
            m.write_seq = w.seq
            self._at(self.now_ns + takes, SYNCED, m.host, 0, life, NULL)
            if self.record:
                self._note("write", m.host, -1, (w.term, w.vote, w.count))
            wrote = True
        if r.raft.role == LEADER:
            if not m.led:
                m.led = True
                self._note("leads", m.host, -1, r.raft.term)
                if self._strikes(m, LEAD_POINT):
                    return 0
        elif m.led:
            m.led = False
            self._note("follows", m.host, -1, r.raft.term)
        self._send_all(m)
        if m.life != life:
            return 0
        m.group.invariants.stepped(r)
        if wrote and self._strikes(m, WRITE_POINT):
            return 0
        return self._wind(m)

    cdef bint _strikes(self, Machine m, int point) except -1:
        """Perhaps take the node's power at this moment."""
        if not self.points_on or not happens(
                draw(self.seed, 0x706F696E74 + point * 64 + m.host, self.now_ns),
                self.point_ppm[point]):
            return False
        m.group.invariants.stepped(m.replica)
        self._note("crash-point", m.host, -1, CRASH_POINTS[point])
        self._lose_power(m)
        m.comes_back = True
        self._at(self.now_ns + self.down_ns, STARTS, m.host, 0, m.life, NULL)
        return True

    cdef int _send_all(self, Machine m) except -1:
        """Put a node's output on the wires."""
        cdef Replica r = m.replica
        cdef Raft raft = r.raft
        cdef Buffer* b
        cdef int i
        cdef size_t j
        cdef uint32_t granted = 0
        cdef bint appended = False
        for i in range(raft.members):
            b = &raft.peers[i].out
            if not buffer_size(b):
                continue
            granted |= self._votes(m, b)
            self._transmit(m.host, raft.peers[i].node - 1, b.data + b.start, buffer_size(b))
            if self.points_on and (<const FrameHeader*>(b.data + b.start)).type in (
                    APPEND, APPEND_REPLY):
                appended = True
            buffer_consume(b, buffer_size(b))
            # a leader that dies between two members leaves the entry with some of them only
            if appended and self._strikes(m, APPEND_POINT):
                return 0
        if granted and self._strikes(m, VOTE_POINT):
            return 0
        if r.dirty.size():
            for j in range(r.dirty.size()):
                self._answer(m, r.dirty[j])
            r.dirty.clear()
            if self._strikes(m, ANSWER_POINT):
                return 0
        if r.admin:
            r.admin.clear()     # nobody asks for it here: World.status
        return 0

    cdef uint32_t _votes(self, Machine m, Buffer* b) except? 1:
        """Tell the invariants of votes that leave; return whether there was one."""
        cdef const char* p = b.data + b.start
        cdef const char* end = b.data + b.end
        cdef const Message* message
        cdef uint32_t found = 0
        while p < end:
            message = <const Message*>p
            if message.header.type == VOTE_REPLY and message.header.flags & GRANTED:
                m.group.invariants.granted(m.host + 1, message.term, message.receiver)
                found = 1
            p += message.header.length
        return found

    cdef int _answer(self, Machine m, uint32_t number) except -1:
        """Send what a node has for one client."""
        cdef Accepted* a = m.replica._connection(number)
        cdef Connection c
        cdef Fate fate
        cdef uint64_t when
        if a is NULL or not a.dirty:
            return 0
        a.dirty = False
        c = self.connections.get(number)
        if c is not None and c.state == JOINED:
            self.network.judge(self.hosts + c.pool, m.host, buffer_size(&a.output), self.now_ns,
                               &fate)
            when = self.now_ns + fate.delay_ns + (RESEND_NS if fate.lost else 0)
            if when <= c.to_client_ns:
                when = c.to_client_ns + 1
            c.to_client_ns = when
            self._at(when, ANSWERS, m.host, 0, number, packed(
                a.output.data + a.output.start, buffer_size(&a.output), self.now_ns))
        buffer_consume(&a.output, buffer_size(&a.output))
        return 0

    cdef int _synced(self, Machine m, Event* e) except -1:
        """A sync returned, if the process still lives that waits for it."""
        if m.life != e.number:
            return 0
        if m.disk.synced(m.write_seq) == SYNC_STALLED:
            m.disk.unstalled = partial(self._unstalled, m.host, e.number)
            return 0
        if self._must_wait(m, e):
            return 0
        self._take_synced(m, e.number)
        return self._iterate(m)

    def _unstalled(self, int host, uint32_t life) -> None:
        """The disk works again: the sync that it kept waiting returns."""
        self._at(self.now_ns, SYNCED, host, 0, life, NULL)

    cdef int _take_synced(self, Machine m, uint32_t life) except -1:
        if life == m.life:
            m.replica.raft.persisted(m.write_seq, shown(&m.clock, self.now_ns))
            self._note("synced", m.host, -1, None)
        return 0

    # ---- what happens next -------------------------------------------------------------------

    def advance(self) -> bool:
        """Let the next event happen; False when there is none.

        Raises InvariantViolation, with the time and the number of the event.
        """
        cdef Event e
        if self.queue.empty():
            return False
        e = self.queue.top()
        self.queue.pop()
        self.now_ns = e.time_ns
        self.events += 1
        self._digest(&e)
        try:
            self._happen(&e)
        except InvariantViolation as violation:
            self._note("violation", e.to, -1, str(violation))
            raise InvariantViolation(
                f"{violation} (event {self.events}: {KINDS[e.kind]} on n{e.to + 1}, "
                f"at {self.now_ns / 1e9:.6f} s)") from None
        finally:
            discard(&e)
        return True

    def run(self, ready, uint64_t until_ns=NEVER) -> bool:
        """Let events happen while ``ready`` (a deque) is empty, but none after ``until_ns``.

        Returns False when there is no event left that could fill it.
        """
        while not ready:
            if self.queue.empty() or self.queue.top().time_ns > until_ns:
                return False
            self.advance()
        return True

    cdef int _happen(self, Event* e) except -1:
        cdef Connection c
        cdef Timer t
        if e.kind == ARRIVES:
            return self._arrives(e)
        if e.kind == SYNCED:
            return self._synced(<Machine>self.machines[e.to], e)
        if e.kind == RINGS:
            return self._rings(<Machine>self.machines[e.to], e.number)
        if e.kind == CALLS:
            t = <Timer><object><PyObject*>e.payload
            if t.callback is not None:
                t.callback(*t.args)
            return 0
        if e.kind >= KNOCKS:
            c = self.connections.get(e.number)
            return 0 if c is None else self._happen_to_client(c, e)
        if e.kind == GOES_ON:
            if (<Machine>self.machines[e.to]).life == e.number:
                return self._empty_inbox(<Machine>self.machines[e.to])
            return 0
        if e.kind == DIALS:
            return self._dials(e.to, e.sender, e.number)
        if e.kind == JOINS:
            return self._joins(e.to, e.sender, e.number)
        if e.kind == PARTS:
            return self._parts(e.to, e.sender, e.number)
        if e.kind == GIVES_UP:
            return self._gives_up(e.to, e.sender, e.number)
        if (<Machine>self.machines[e.to]).comes_back and (
                <Machine>self.machines[e.to]).life == e.number:
            self.start(e.to)
        return 0

    cdef int _happen_to_client(self, Connection c, Event* e) except -1:
        if e.kind == ANSWERS:
            return self._answers(c, e)
        if e.kind == ASKS:
            return self._asks(c, e)
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

    # ---- what happened -------------------------------------------------------------------------

    cdef void _digest(self, Event* e) noexcept:
        cdef Packet* p = NULL
        if e.kind != CALLS:
            p = <Packet*>e.payload
        self.log.happened(e.time_ns, <uint64_t>e.kind << 56 | <uint64_t>e.to << 48
                          | <uint64_t>e.sender << 40 | e.number, p)

    def digest(self) -> str:
        """Return a digest of everything that happened so far, in hexadecimal."""
        return self.log.digest()

    def trace(self) -> list:
        """Return what happened as (time_ns, kind, a, b, detail); see world.pyi."""
        return self.log.read()

    cdef int _note(self, str kind, int a, int b, detail) except -1:
        return self.log.note(self.now_ns, kind, a, b, detail)

    cdef int _note_lost(self, int sender, int receiver, const char* data, size_t size,
                        Fate* fate) except -1:
        cdef Packet* p
        if self.record and fate.lost:
            p = packed(data, size, self.now_ns)
            self.log.frames(self.now_ns, "lost", sender, receiver, p)
            free(p)
        return 0

    # ---- ends ----------------------------------------------------------------------------------

    def converged(self) -> str | None:
        """Return None when all nodes that can run agree on everything; else what they do not."""
        for g in self.groups:
            if (reason := self._disagreement(<Group>g)) is not None:
                return reason
        return None

    def _disagreement(self, Group g):
        cdef Machine m
        cdef Replica r
        machines = [self._machine(h) for h in g.hosts]
        running = [m for m in machines if m.state != BROKEN]
        if 2 * len(running) <= len(machines):
            return None         # a majority is gone for good: nothing was promised
        for m in running:
            if m.state != UP:
                return f"n{m.host + 1} is {STATES[m.state]}"
        leading = [m.host for m in running if m.replica.raft.role == LEADER]
        if len(leading) != 1:
            return "leaders: " + (", ".join(f"n{h + 1}" for h in leading) or "none")
        first = (<Machine>running[0]).replica
        pair = f"n{(<Machine>running[0]).host + 1} and "
        for m in running:
            r = m.replica
            if r.raft.term != first.raft.term:
                return f"{pair}n{m.host + 1} are in terms {first.raft.term} and {r.raft.term}"
            if r.kv.applied != r.raft.log.last():
                return (f"n{m.host + 1} applied {r.kv.applied} of {r.raft.log.last()} entries, "
                        f"knows {r.raft.commit} to be committed")
            if r.raft.log.last() != first.raft.log.last():
                return (f"{pair}n{m.host + 1} have {first.raft.log.last()} and "
                        f"{r.raft.log.last()} entries")
            if (r.kv.items() != first.kv.items()
                    or r.kv.session_count() != first.kv.session_count()):
                return f"{pair}n{m.host + 1} hold different states at index {r.kv.applied}"
        return None


cdef uint64_t rate_of(int64_t ppm) except 0:
    if not -900_000 <= ppm <= 9_000_000:
        raise ValueError(f"a clock's rate is off by {ppm} ppm: expected -900,000 to 9,000,000")
    return <uint64_t>((<int64_t>1 << RATE_BITS) + (ppm << RATE_BITS) // 1_000_000)


cdef void release(vector[Event]* events) noexcept:
    """Forget events that will not happen."""
    cdef size_t i
    for i in range(events.size()):
        discard(&events[0][i])
    events.clear()
