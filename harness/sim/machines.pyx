# distutils: language = c++
"""Hosts with their nodes: processes that start, stop and crash, their disks, clocks and loops.

A node is the real machine of ``core``; this is its shell, and does what node.py does: one
iteration of a node's loop takes what arrived, lets the machine work, hands its group write to
the disk and its output to the network (``_transmit``, ``_answer``: world.pyx). After each of
them the invariants of its whole group are checked. Who is paused, or busy with an iteration
that takes long, finds later what came meanwhile, all at once.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from seatrial.core.buffer cimport buffer_consume, buffer_size
from seatrial.core.codec cimport (
    APPEND,
    APPEND_REPLY,
    GRANTED,
    Message,
    SNAPSHOT_REPLY,
    VOTE,
    VOTE_REPLY,
)
from seatrial.core.marks cimport (
    HOST_DISK_FAILED,
    HOST_FOUND_DAMAGE,
    HOST_FOUND_TORN_WRITE,
    HOST_KILLED,
    HOST_LOST_POWER,
    HOST_START_REFUSED,
    HOST_STRUCK_AT_VOTE,
    HOST_SYNC_STALLED,
    mark,
    SENT_VOTE,
)
from seatrial.core.raft cimport Raft
from seatrial.core.raft_state cimport LEADER
from seatrial.core.replica_writes cimport GroupWrite
from seatrial.harness.sim.chance cimport below, draw, happens, mixed
from seatrial.harness.sim.clock cimport rate_of, set_clock, shown, when_shown
from seatrial.harness.sim.disk cimport SYNC_STALLED
from seatrial.harness.sim.virtual_time cimport GOES_ON, RINGS, STARTS, SYNCED, release

from functools import partial

from seatrial.core.errors import InvariantViolation, NodeError
from seatrial.core.membership import Configuration
from seatrial.harness.sim.environment import CRASH_POINTS, LEASE_DRIFT_PPM

cdef enum:
    VOTE_POINT = 0
    WRITE_POINT = 1
    ANSWER_POINT = 2
    LEAD_POINT = 3
    APPEND_POINT = 4

cdef enum:                      # what leaves a node
    A_VOTE = 1
    ENTRIES = 2                 # or the answer to some

cdef enum:
    MAX_HOSTS = 64

cdef uint64_t NEVER = <uint64_t>1 << 63

STATES = ("down", "up", "paused", "broken")


cdef class Group:
    def __repr__(self) -> str:
        return f"<Group of hosts {self.hosts}>"


cdef class Machine:
    def __dealloc__(self):
        release(&self.inbox)

    def __repr__(self) -> str:
        return f"<Machine {self.host}: {STATES[self.state]}>"


cdef class GroupDurability(Durability):
    """What the disks of a group would still hold after a power loss now."""

    cdef uint64_t term_at(self, uint32_t node, uint64_t index) noexcept:
        return (<Machine>self.machines[node - 1]).disk.durable_term(index)


cdef class Machines(Timeline):
    def __cinit__(self, uint64_t seed, int hosts, environment, *, bint record=False,
                  int pools=1):
        cdef Machine m
        cdef int i
        cdef uint64_t drift = environment.drift_ppm, bits
        if not 1 <= hosts <= MAX_HOSTS:
            raise ValueError(f"{hosts} hosts: expected 1 to {MAX_HOSTS}")
        self.seed = seed
        self.hosts = hosts
        self.environment = environment
        self.groups = []
        self.machines = []
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

    def add_group(self, hosts, *, uint64_t heartbeat_ns, uint64_t election_ns,
                  int domain=0, voters=None) -> None:
        """Make a Raft cluster of these hosts' nodes; ``start`` each of them then.

        voters: those of them that it begins with, all if None. The others are spares: they run,
        reach everybody and are reached, and take part once a change of members says so.
        """
        cdef Group g = Group()
        cdef Machine m
        cdef GroupDurability durability = GroupDurability()
        g.hosts = sorted(hosts)
        g.voters = g.hosts if voters is None else sorted(voters)
        if not g.voters or not set(g.voters) <= set(g.hosts):
            raise ValueError(f"voters {g.voters}: expected at least one, and of hosts {g.hosts}")
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

    cdef int _happen(self, Event* e) except -1:
        cdef Machine m
        if e.kind == SYNCED:
            return self._synced(<Machine>self.machines[e.to], e)
        if e.kind == RINGS:
            return self._rings(<Machine>self.machines[e.to], e.number)
        if e.kind == GOES_ON or e.kind == STARTS:
            m = <Machine>self.machines[e.to]
            if m.life == e.number:
                if e.kind == GOES_ON:
                    return self._empty_inbox(m)
                if m.comes_back:
                    self.start(e.to)
            return 0
        return Timeline._happen(self, e)

    # ---- what the network does for machines ------------------------------------------------------

    cdef int _greet(self, Machine m) except -1:
        """A process started: let it dial the others, and those who knew the one before learn."""
        raise NotImplementedError

    cdef int _hang_up(self, Machine m) except -1:
        """A process ended: its connections are gone."""
        raise NotImplementedError

    cdef int _transmit(self, int sender, int receiver, const char* data, size_t size) except -1:
        """Put bytes of a member on their way to another."""
        raise NotImplementedError

    cdef int _answer(self, Machine m, uint32_t number) except -1:
        """Send what a node has for one client."""
        raise NotImplementedError

    cdef int _take_late(self, Machine m, Event* e) except -1:
        """Give a node an input that had to wait."""
        raise NotImplementedError

    # ---- what more there is to a node of a tree of domains (domain_world.pyx) --------------------

    cdef dict _options(self, Machine m):
        """What else a node is told of itself."""
        return {}

    cdef uint64_t _due_ns(self, Machine m):
        """When a node wants to be woken, by its own clock."""
        return m.replica.raft.deadline_ns()

    cdef int _tick(self, Machine m, uint64_t now_ns) except -1:
        """Let a node's time pass."""
        m.replica.raft.tick(now_ns)
        return 0

    cdef int _check(self, Machine m) except -1:
        """Check the invariants after a node's step."""
        return m.group.invariants.stepped(m.replica)

    cdef int _send_further(self, Machine m) except -1:
        """Send what a node has for others than members and clients."""
        return 0

    # ---- processes -----------------------------------------------------------------------------

    def start(self, int host) -> None:
        """Start a node's process from what its disk holds; nothing if it runs."""
        cdef Machine m = self._machine(host)
        if m.state == UP or m.state == PAUSED:
            return
        if m.group is None:
            raise ValueError(f"host {host} is in no group")
        m.comes_back = False
        m.silent = False
        try:
            found = m.disk.recover(damaged=True)
        except NodeError as error:
            m.state, m.trouble = BROKEN, str(error)
            mark(HOST_START_REFUSED)
            self._note("broken", host, -1, m.trouble)
            return
        if found.torn_frame:
            mark(HOST_FOUND_TORN_WRITE)
        m.damaged = bool(found.damage)
        if m.damaged:
            mark(HOST_FOUND_DAMAGE)
        m.life += 1
        m.state, m.trouble = UP, None
        m.waiting = False
        m.busy_ns = 0
        m.led = False
        m.timer_ns = NEVER
        m.replica = Replica(
            host + 1, [h + 1 for h in m.group.voters],
            seed=draw(self.seed, 0x6C696665, m.life * 64 + host),
            now_ns=shown(&m.clock, self.now_ns),
            heartbeat_ns=m.group.heartbeat_ns, election_ns=m.group.election_ns,
            max_batch_bytes=self.environment.max_batch_bytes,
            max_inflight_bytes=self.environment.max_inflight_bytes,
            max_write_bytes=self.environment.segment_bytes // 2,
            chunk_bytes=min(self.environment.segment_bytes // 4, self.environment.chunk_bytes),
            snapshot_bytes=self.environment.snapshot_bytes,
            keep_bytes=self.environment.keep_bytes,
            max_sessions=self.environment.max_sessions,
            session_ttl_ns=self.environment.session_ttl_ns,
            leases=self.environment.leases, lease_drift_ppm=LEASE_DRIFT_PPM,
            **self._options(m))
        try:
            m.replica.restore(
                found.term, found.vote, found.records, first=found.first_index,
                base_term=found.base_term, snapshot=found.snapshot, partial=found.partial,
                damaged_until=found.damaged_until, damaged_term=found.damaged_term)
            self._note("start", host, -1, None)
            self._greet(m)
            self._iterate(m)
        except InvariantViolation as violation:
            raise self._told(violation, host, "start") from None

    def kill(self, int host) -> None:
        """End a process by kill -9: what it wrote stays, its connections are closed."""
        cdef Machine m = self._machine(host)
        m.comes_back = False
        if m.state == UP or m.state == PAUSED:
            m.disk.killed(draw(self.seed, 0x6B696C6C, self.now_ns + host))
            self._end(m, False)
            mark(HOST_KILLED)
            self._note("kill", host, -1, None)

    def power_loss(self, int host) -> None:
        """Take a host's power: what was not synced may be lost or torn, nobody is told."""
        cdef Machine m = self._machine(host)
        m.comes_back = False
        try:
            if m.state == UP or m.state == PAUSED:
                self._lose_power(m)
            elif not m.silent and m.group is not None:  # its process had ended: so does its cache
                m.silent = True
                self._lose_unsynced(m)
        except InvariantViolation as violation:
            raise self._told(violation, host, "power loss") from None

    cdef int _lose_power(self, Machine m) except -1:
        self._end(m, True)
        return self._lose_unsynced(m)

    cdef int _lose_unsynced(self, Machine m) except -1:
        m.disk.power_lost(draw(self.seed, 0x706F776572, self.now_ns + m.host))
        mark(HOST_LOST_POWER)
        self._note("power-loss", m.host, -1, None)
        m.group.invariants.disk_shrank()
        return 0

    cdef int _end(self, Machine m, bint silent) except -1:
        """The process is gone."""
        m.replica = None
        m.state = DOWN
        m.silent = silent
        m.life += 1
        self.crashes += 1
        release(&m.inbox)
        m.group.invariants.crashed(m.host + 1, m.disk.lies != 0)
        return self._hang_up(m)

    cdef int _stop_loudly(self, Machine m, str why) except -1:
        """The node can't go on, as after a failed sync: it says so and ends."""
        m.disk.killed(draw(self.seed, 0x73746F70, self.now_ns + m.host))
        self._end(m, False)
        m.state, m.trouble = BROKEN, why
        mark(HOST_DISK_FAILED)
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
            try:
                self._empty_inbox(m)
            except InvariantViolation as violation:
                raise self._told(violation, host, "resume") from None

    def slow(self, int host, uint64_t iteration_ns) -> None:
        """Let each iteration of a node's loop take so long; 0: as the environment says."""
        self._machine(host).iteration_ns = iteration_ns or self.environment.iteration_ns

    def loop(self, int host) -> tuple:
        """Return (iterations of a node's event loop so far, ns that they took)."""
        cdef Machine m = self._machine(host)
        return m.turns, m.turned_ns

    def state(self, int host) -> str:
        """Return up, paused, down or broken (it stopped by itself, or refused to start)."""
        return STATES[self._machine(host).state]

    def trouble(self, int host) -> str | None:
        """Return why a node is broken."""
        return self._machine(host).trouble

    def damaged(self, int host) -> bool:
        """Return whether a node that runs found its disk damaged when it started."""
        cdef Machine m = self._machine(host)
        return m.replica is not None and m.damaged

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

    def configuration(self, int host) -> Configuration | None:
        """Return the configuration that a running node goes by."""
        cdef Machine m = self._machine(host)
        return None if m.replica is None else m.replica.raft.configuration()

    def settled(self, int host) -> bool:
        """Return whether a node knows its configuration to be committed, and it is not joint."""
        cdef Machine m = self._machine(host)
        cdef Raft raft
        if m.replica is None:
            return False
        raft = m.replica.raft
        return raft.commit >= raft.config_index and raft.outgoing == 0

    def voters(self, int host) -> list:
        """Return the hosts that a host's group began with as voters."""
        return list(self._machine(host).group.voters)

    def change(self, int host, changes) -> bool:
        """Ask a node for other members, as an administrator would; False when it doesn't lead.

        Raises BadConfiguration: they can't be had, or not now.
        """
        cdef Machine m = self._machine(host)
        changes = list(changes)
        if m.state != UP or not m.replica.change(changes):
            return False
        self._note("change", host, -1, [(c.kind, c.node) for c in changes])
        return self._asked(m)

    def transfer(self, int host, int to) -> bool:
        """Ask a node to let another one lead; False when it doesn't, or that one can't."""
        cdef Machine m = self._machine(host)
        if m.state != UP or not m.replica.transfer(to + 1, shown(&m.clock, self.now_ns)):
            return False
        self._note("transfer", host, to, None)
        return self._asked(m)

    def _asked(self, Machine m):
        try:
            self._iterate(m)
        except InvariantViolation as violation:
            raise self._told(violation, m.host, "administrator") from None
        return True

    def election_ns(self, int host) -> int:
        """Return the election timeout of a host's group."""
        return self._machine(host).group.election_ns

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

    cdef Machine _machine(self, int host):
        if not 0 <= host < self.hosts:
            raise ValueError(f"no host {host}: there are {self.hosts}")
        return <Machine>self.machines[host]

    # ---- clocks --------------------------------------------------------------------------------

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

    cdef int _wind(self, Machine m) except -1:
        """See to it that a machine's timer rings no later than its node wants."""
        cdef uint64_t when
        if m.replica is None:
            return 0
        when = when_shown(&m.clock, self._due_ns(m))
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
        if shown(&m.clock, self.now_ns) < self._due_ns(m):
            return self._wind(m)
        e.time_ns, e.order, e.payload = self.now_ns, 0, NULL
        e.number, e.to, e.sender, e.kind = 0, m.host, 0, GOES_ON
        if self._must_wait(m, &e):
            return 0
        return self._iterate(m)

    # ---- one iteration of a node's loop ----------------------------------------------------------

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
        cdef size_t i
        m.waiting = False
        if m.state != UP:
            return 0
        waiting.swap(m.inbox)
        try:
            for i in range(waiting.size()):
                if waiting[i].kind == SYNCED:
                    self._take_synced(m, waiting[i].number)
                else:
                    self._take_late(m, &waiting[i])
        finally:
            release(&waiting)
        return self._iterate(m)

    cdef int _iterate(self, Machine m) except -1:
        """One iteration: time, what the node makes of its inputs, its write, what it sends."""
        cdef Replica r = m.replica
        cdef uint64_t now = shown(&m.clock, self.now_ns)
        cdef GroupWrite w
        cdef int64_t takes
        cdef uint32_t life = m.life
        cdef bint wrote = False
        if now >= self._due_ns(m):
            self._tick(m, now)
        r.settle(now)
        m.busy_ns = self.now_ns + m.iteration_ns
        m.turns += 1
        m.turned_ns += m.iteration_ns
        if r.next_write(&w):
            takes = m.disk.submit(w.seq, w.term, w.vote, w.count, w.records, w.size, w.base,
                                  w.base_term, w.chunk, w.chunk_size, w.first, self.now_ns)
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
        self._send_further(m)
        self._check(m)
        if r.raft.lease_ns and r.raft.role == LEADER:
            self._leases(m)
        if wrote and self._strikes(m, WRITE_POINT):
            return 0
        return self._wind(m)

    cdef int _leases(self, Machine m) except -1:
        """Leader leases: while one node holds a lease, no node leads a later term (thesis,
        6.4.1). In true time, which only the world knows; so it is checked here."""
        cdef Raft mine = m.replica.raft, raft
        cdef Machine other
        cdef bint held = mine.holds_lease(shown(&m.clock, self.now_ns))
        for h in m.group.hosts:
            other = <Machine>self.machines[h]
            if other.replica is None or other is m:
                continue
            raft = other.replica.raft
            if raft.role != LEADER or raft.term == mine.term:
                continue
            if held if raft.term > mine.term else raft.holds_lease(
                    shown(&other.clock, self.now_ns)):
                older, newer = sorted([(mine.term, m.host + 1), (raft.term, h + 1)])
                raise InvariantViolation(
                    f"leader leases: node {older[1]} holds its lease of term {older[0]} while "
                    f"node {newer[1]} leads term {newer[0]}")
        return 0

    cdef bint _strikes(self, Machine m, int point, int which=0) except -1:
        """Perhaps take the node's power at this moment, the ``which``-th of its kind just now."""
        if not self.points_on or not happens(
                draw(self.seed, 0x706F696E74 + ((which * 8 + point) * MAX_HOSTS + m.host),
                     self.now_ns), self.point_ppm[point]):
            return False
        self._check(m)
        self._note("crash-point", m.host, -1, CRASH_POINTS[point])
        self.struck += 1
        mark(HOST_STRUCK_AT_VOTE + point)
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
        cdef uint32_t leaving
        cdef bint granted = False
        for i in range(raft.places):
            b = &raft.peers[i].out
            if not buffer_size(b):
                continue
            leaving = self._leaving(m, b)
            self._transmit(m.host, raft.peers[i].node - 1, b.data + b.start, buffer_size(b))
            buffer_consume(b, buffer_size(b))
            granted = granted or leaving & A_VOTE
            # a leader that dies between two members leaves the entry with some of them only
            if leaving & ENTRIES and self._strikes(m, APPEND_POINT, i):
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

    cdef uint32_t _leaving(self, Machine m, Buffer* b) except? 1:
        """Tell the invariants of votes that leave; return what does."""
        cdef const char* p = b.data + b.start
        cdef const char* end = b.data + b.end
        cdef const Message* message
        cdef uint32_t found = 0
        while p < end:
            message = <const Message*>p
            if VOTE <= message.header.type <= SNAPSHOT_REPLY:
                mark(SENT_VOTE + message.header.type - VOTE)
            if message.header.type == VOTE_REPLY and message.header.flags & GRANTED:
                m.group.invariants.granted(m.host + 1, message.term, message.receiver)
                found |= A_VOTE
            elif message.header.type == APPEND or message.header.type == APPEND_REPLY:
                found |= ENTRIES
            p += message.header.length
        return found

    cdef int _synced(self, Machine m, Event* e) except -1:
        """A sync returned, if the process still lives that waits for it."""
        if m.life != e.number:
            return 0
        if m.disk.synced(m.write_seq) == SYNC_STALLED:
            mark(HOST_SYNC_STALLED)
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
            m.replica.synced(m.write_seq, shown(&m.clock, self.now_ns))
            self._note("synced", m.host, -1, None)
        return 0

    # ---- agreement -------------------------------------------------------------------------------

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
        for m in running:
            if m.state != UP:
                return f"n{m.host + 1} is {STATES[m.state]}"
        if (configuration := self._in_force(running)) is None:
            return None         # a majority is gone for good: nothing was promised
        members = [m for m in running if m.host + 1 in configuration.nodes]
        leading = [m.host for m in running if m.replica.raft.role == LEADER]
        if len(leading) != 1:
            return "leaders: " + (", ".join(f"n{h + 1}" for h in leading) or "none")
        if leading[0] + 1 not in configuration.voters:
            return f"n{leading[0] + 1} leads and is no voter: {configuration}"
        if configuration.joint:
            return f"members are still being changed: {configuration}"
        first = (<Machine>members[0]).replica
        pair = f"n{(<Machine>members[0]).host + 1} and "
        for m in members:
            r = m.replica
            if r.raft.damaged_until:
                return f"n{m.host + 1} lacks entries up to {r.raft.damaged_until} that it had"
            if r.raft.term != first.raft.term:
                return f"{pair}n{m.host + 1} are in terms {first.raft.term} and {r.raft.term}"
            if r.applied != r.raft.log.last():
                return (f"n{m.host + 1} applied {r.applied} of {r.raft.log.last()} entries, "
                        f"knows {r.raft.commit} to be committed")
            if r.raft.log.last() != first.raft.log.last():
                return (f"{pair}n{m.host + 1} have {first.raft.log.last()} and "
                        f"{r.raft.log.last()} entries")
            if r.kv.items() != first.kv.items() or r.kv.hash() != first.kv.hash():
                return f"{pair}n{m.host + 1} hold different states at index {r.applied}"
        return None

    def _in_force(self, running):
        """Return the configuration of the most up-to-date log, which is that of the next leader;
        None if so many are gone for good that there will be none.

        Who was removed, and who is a spare, may lag behind for ever.
        """
        cdef Machine m, best = None
        for m in running:
            if best is None or self._newest(m) > self._newest(best):
                best = m
        if best is None:
            return None
        found = best.replica.raft.configuration()
        alive = {m.host + 1 for m in running}
        for half in (found.voters, found.outgoing):
            if half and 2 * len(half & alive) <= len(half):
                return None
        return found

    def _newest(self, Machine m):
        return m.replica.raft.log.last_term(), m.replica.raft.log.last()
