# distutils: language = c++
"""The simulated network: how long a packet takes, and whether it arrives at all.

Endpoints are the hosts, then the client pools. Each ordered pair of them is a way of its own:
cuts and impairments are one-way, as an iptables rule or a netem queue is, and several add up.
Draws are stateless (chance.pxd), so that a packet's fate depends on nothing but the seed, its
way and the moment it left. What a loss means is the connection's business: a stream sends
again and is late (world.pyx), a bare frame is gone.
"""
from seatrial.harness.sim.chance cimport below, draw, happens, mixed

cdef enum:
    PACKET_OVERHEAD = 66        # Ethernet, IPv4 and TCP headers count against a bandwidth
    SECOND_NS = 1_000_000_000

EFFECTS = ("delay_ns", "jitter_ns", "loss_ppm", "duplicate_ppm", "reorder_ppm", "corrupt_ppm",
           "bytes_per_s")


cdef class Network:
    def __cinit__(self, uint64_t seed, int endpoints, environment):
        self.seed = mixed(seed ^ 0x6E6574)
        self.endpoints = endpoints
        self.latency_ns = environment.latency_ns
        self.usual = Effect(0, environment.jitter_ns, environment.loss_ppm,
                            environment.duplicate_ppm, environment.reorder_ppm, 0,
                            environment.bytes_per_s)
        self.tail_ppm = environment.tail_ppm
        self.tail_ns = environment.tail_ns
        self.ways.resize(endpoints * endpoints)
        self.in_force = {}
        self._add_up()

    cdef Way* way(self, int receiver, int sender) noexcept nogil:
        return &self.ways[receiver * self.endpoints + sender]

    cdef bint is_cut(self, int receiver, int sender) noexcept nogil:
        return self.way(receiver, sender).cuts != 0

    cdef bint is_limited(self, int receiver, int sender) noexcept nogil:
        return self.way(receiver, sender).effect.bytes_per_s != 0

    def hears(self, int receiver, int sender) -> bool:
        """Return whether no cut is between them, this way."""
        self._check(receiver, sender)
        return not self.is_cut(receiver, sender)

    def cut(self, pairs) -> int:
        """Let receivers hear these senders no more; return a handle for ``lift``."""
        return self._put_in_force(pairs, None)

    def impair(self, pairs, **effects) -> int:
        """Add to what happens to packets on these ways; return a handle for ``lift``."""
        if unknown := sorted(set(effects) - set(EFFECTS)):
            raise ValueError(f"no effect is called {unknown[0]!r}; expected " + ", ".join(EFFECTS))
        return self._put_in_force(pairs, tuple(effects.get(name, 0) for name in EFFECTS))

    def lift(self, int handle) -> tuple:
        """End a cut or an impairment; return the ways on which a bandwidth's queue goes with it."""
        pairs, effect = self.in_force.pop(handle)
        self._add_up()
        if effect is None or not effect[6]:
            return ()
        for receiver, sender in pairs:
            self.way(receiver, sender).free_ns = 0
        return pairs

    def calm(self) -> None:
        """End what the environment itself loses, doubles and reorders."""
        self.usual.loss_ppm = self.usual.duplicate_ppm = self.usual.reorder_ppm = 0
        self._add_up()

    def _put_in_force(self, pairs, effect) -> int:
        pairs = tuple([(receiver, sender) for receiver, sender in pairs])
        for receiver, sender in pairs:
            self._check(receiver, sender)
        self.handles += 1
        self.in_force[self.handles] = (pairs, effect)
        self._add_up()
        return self.handles

    def _check(self, int receiver, int sender) -> None:
        if not (0 <= receiver < self.endpoints and 0 <= sender < self.endpoints
                and receiver != sender):
            raise ValueError(f"no way from endpoint {sender} to {receiver}: there are "
                             f"{self.endpoints}")

    def _add_up(self) -> None:
        """Compute each way anew from what is in force."""
        cdef size_t i
        cdef Way* way
        for i in range(self.ways.size()):
            self.ways[i].cuts = 0
            self.ways[i].effect = self.usual
        for pairs, effect in self.in_force.values():
            for receiver, sender in pairs:
                way = self.way(receiver, sender)
                if effect is None:
                    way.cuts += 1
                    continue
                way.effect.delay_ns += effect[0]
                way.effect.jitter_ns += effect[1]
                way.effect.loss_ppm = min(way.effect.loss_ppm + effect[2], 990_000)
                way.effect.duplicate_ppm += effect[3]
                way.effect.reorder_ppm += effect[4]
                way.effect.corrupt_ppm += effect[5]
                if effect[6]:
                    way.effect.bytes_per_s = min(way.effect.bytes_per_s or effect[6], effect[6])

    cdef void judge(self, int receiver, int sender, size_t size, uint64_t now_ns,
                    Fate* fate) noexcept nogil:
        """Decide what happens to a packet that leaves now. Cuts are judged when it arrives."""
        cdef Way* way = self.way(receiver, sender)
        cdef Effect* e = &way.effect
        cdef uint64_t bits = draw(self.seed, receiver * self.endpoints + sender, now_ns)
        cdef uint64_t more = mixed(bits + 1)
        cdef uint64_t start
        self.sent += 1
        fate.delay_ns = self.latency_ns + e.delay_ns + below(bits, e.jitter_ns)
        fate.lost = fate.corrupted = fate.reordered = False
        fate.copy_ns = 0
        self.delayed += e.delay_ns != 0
        if happens(bits << 32, self.tail_ppm):
            fate.delay_ns += below(more, self.tail_ns)
        if e.bytes_per_s:
            start = way.free_ns if way.free_ns > now_ns else now_ns
            way.free_ns = start + (size + PACKET_OVERHEAD) * SECOND_NS // e.bytes_per_s
            fate.delay_ns += way.free_ns - now_ns
            self.limited += start > now_ns
        way.met.delayed += e.delay_ns != 0
        way.met.limited += e.bytes_per_s != self.usual.bytes_per_s
        if e.loss_ppm or e.duplicate_ppm or e.reorder_ppm or e.corrupt_ppm:
            more = mixed(more)
            if happens(more, e.loss_ppm):
                fate.lost = True
                self.lost += 1
                way.met.lost += not happens(more, self.usual.loss_ppm)
            if happens(more << 32, e.reorder_ppm):
                fate.reordered = True
                self.reordered += 1
                way.met.reordered += not happens(more << 32, self.usual.reorder_ppm)
            more = mixed(more)
            if happens(more, e.duplicate_ppm):
                fate.copy_ns = fate.delay_ns + 1 + below(more << 32, 20_000_000)
                self.duplicated += 1
                way.met.duplicated += not happens(more, self.usual.duplicate_ppm)
            more = mixed(more)
            if happens(more, e.corrupt_ppm):
                fate.corrupted = True
                self.corrupted += 1
                way.met.corrupted += 1

    def met(self, pairs) -> dict:
        """Return how many packets on these ways met what the environment alone would not do."""
        cdef Met total, one
        total = Met(0, 0, 0, 0, 0, 0)
        for receiver, sender in pairs:
            self._check(receiver, sender)
            one = self.way(receiver, sender).met
            total.delayed += one.delayed
            total.lost += one.lost
            total.duplicated += one.duplicated
            total.reordered += one.reordered
            total.corrupted += one.corrupted
            total.limited += one.limited
        return total

    def counters(self) -> dict:
        """Return how many packets met which fate."""
        return {"sent": self.sent, "lost": self.lost, "duplicated": self.duplicated,
                "reordered": self.reordered, "corrupted": self.corrupted, "cut": self.cut_off,
                "delayed": self.delayed, "limited": self.limited}
