"""Simulated trees of domains for tests: their shapes, clients that talk to any domain, faults."""
from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seatrial.core import codec
from seatrial.core.crc import crc32c
from seatrial.core.tree import BadTree, Domain, Tree
from seatrial.harness.rng import Rng
from seatrial.harness.sim.domain_world import DomainWorld
from seatrial.harness.sim.environment import Environment

MS = 1_000_000
S = 1000 * MS
A, B, C, D, E = 1, 2, 3, 4, 5
NAMES = {A: "a", B: "b", C: "c", D: "d", E: "e"}
LEASE_NS = 300 * MS
EXCLUDE_NS = 800 * MS
PREFIX, BOUNDED = 2, 4
STATUSES = (*codec.STATUSES[:14], "not-root", "fenced", "too-old", "lost")


@dataclass(frozen=True)
class Site:
    """One domain of a shape."""

    nodes: int
    parent: int = 0
    sync: bool = False
    block: bool = False
    any_k: int = 0
    max_lag_entries: int = 0
    on_lag: str = "none"
    max_lag_bytes: int = 0
    readmit_throttle: bool = False


Shape = Mapping[int, Site]
SHAPES: dict[str, Shape] = {
    "sync": {A: Site(3), B: Site(3, A, sync=True)},
    "small": {A: Site(1), B: Site(1, A, sync=True)},
    "two": {A: Site(3), B: Site(1, A, sync=True), C: Site(1, A, sync=True)},
    "async": {A: Site(3), B: Site(3, A)},
    "both": {A: Site(3), B: Site(3, A, sync=True), C: Site(1, A)},
    "chain": {A: Site(3), B: Site(3, A, sync=True), C: Site(1, B, sync=True)},
    "line": {A: Site(1), B: Site(1, A, sync=True), C: Site(1, B, sync=True)},
    "layers": {A: Site(3), B: Site(3, A, sync=True), C: Site(1, A), D: Site(3, B, sync=True),
               E: Site(1, C)},
    "any": {A: Site(3, any_k=1), B: Site(1, A, sync=True), C: Site(3, A, sync=True)},
    "block": {A: Site(3), B: Site(3, A, sync=True, block=True)},
    "lag": {A: Site(3), B: Site(1, A, sync=True, max_lag_entries=20, on_lag="exclude"),
            C: Site(1, A, sync=True, max_lag_entries=20, on_lag="throttle")},
}


def hosts_of(shape: Shape) -> dict[int, range]:
    """Return the hosts of each domain."""
    found, first = {}, 0
    for domain, site in shape.items():
        found[domain] = range(first, first + site.nodes)
        first += site.nodes
    return found


def tree_of(shape: Shape) -> Tree:
    """Return the tree that the root begins with: its sync domains are included."""
    hosts = hosts_of(shape)
    return Tree({
        domain: Domain(NAMES[domain], site.parent, site.sync, included=site.sync,
                       block=site.block, any_k=site.any_k,
                       exclude_after_ns=EXCLUDE_NS, max_lag_entries=site.max_lag_entries,
                       on_lag=site.on_lag, max_lag_bytes=site.max_lag_bytes,
                       readmit_throttle=site.readmit_throttle,
                       nodes=tuple((host + 1, f"n{host + 1}:1") for host in hosts[domain]))
        for domain, site in shape.items()}, A, lease_ns=LEASE_NS)


def world_of(shape: Shape, seed: int = 1, *, record: bool = False,
             environment: Environment | None = None) -> DomainWorld:
    """Return a world with these domains, started."""
    hosts = hosts_of(shape)
    w = DomainWorld(seed, sum(site.nodes for site in shape.values()),
                    environment or Environment(), record=record)
    for domain, site in shape.items():
        w.add_domain(domain, hosts[domain], heartbeat_ns=50 * MS, election_ns=200 * MS,
                     parent=hosts[site.parent] if site.parent else (),
                     tree=tree_of(shape) if not site.parent else None)
    for host in range(w.hosts):
        w.start(host)
    return w


def run_until(w: DomainWorld, done: Callable[[], bool], limit_ns: int = 30 * S) -> None:
    """Let time pass until something is so."""
    end = w.now_ns + limit_ns
    while not done():
        assert w.now_ns < end, f"it never happened: {w.converged()}"
        w.call_at(w.now_ns + 10 * MS, int)
        w.run([], w.now_ns + 10 * MS)


class Client:
    """Writes to the root, or reads from one domain, until it is told to stop."""

    def __init__(self, world: DomainWorld, number: int, hosts: range, rng: Rng, *,
                 writes: bool) -> None:
        self.world, self.number, self.hosts, self.rng = world, number, hosts, rng
        self.writes = writes
        self.host = rng.choice(hosts)
        self.request = self.answered = self.connection = self.session = 0
        self.statuses: dict[str, int] = {}
        self.token = bytes(24)
        self.stopped = False
        self.dial()

    def dial(self) -> None:
        """Connect anew, unless nothing is to happen any more."""
        if not self.stopped:
            self.connection = self.world.connect(0, self.host, self)
            self.look_later(2 * S)

    def look_later(self, after_ns: int) -> None:
        """Try another host if no answer has come until then."""
        self.world.call_at(self.world.now_ns + after_ns, self.look, self.connection, self.request)

    def look(self, connection: int, request: int) -> None:
        if (connection, request) == (self.connection, self.request):
            self.turn_to(self.rng.choice(self.hosts))

    def turn_to(self, host: int) -> None:
        """Leave whom it asked until now."""
        self.host = host if host in self.hosts else self.rng.choice(self.hosts)
        self.world.close(self.connection)
        self.connection = 0
        self.world.call_at(self.world.now_ns + 20 * MS, self.dial)

    def connected(self, connection: int) -> None:
        if connection == self.connection:
            self.ask(connection)

    def ask(self, connection: int) -> None:
        """Send the next request."""
        if connection != self.connection or self.stopped:
            return
        self.request += 1
        self.world.send(connection, self.question())
        self.look_later(S)

    def question(self) -> bytes:
        key = b"%d" % self.rng.below(5)
        if not self.writes:
            return read(self.request, self.number, self.rng.choice((0, 0, 0, PREFIX, BOUNDED)),
                        self.token, 5 * S if self.request % 2 else 300 * MS, key)
        op = "open-session"
        if self.session:
            op = self.rng.choice(("read", "write", "append", "delete"))
        return codec.encode_request(
            self.request, self.session or self.number, self.request, codec.OPS[op], key,
            bytes(self.rng.below(300)))

    def received(self, connection: int, data: bytes) -> None:
        for frame in codec.split_frames(bytearray(data)):
            request, status, value, _, rindex, epoch, term = codec.decode_response(frame)
            if connection != self.connection or request != self.request:
                continue
            name = STATUSES[status]
            self.statuses[name] = self.statuses.get(name, 0) + 1
            if name in ("not-leader", "not-root", "fenced", "too-old", "lost"):
                leader = int.from_bytes((value or b"")[:8], "little") if name == "not-leader" else 0
                self.turn_to(leader - 1)
                return
            self.answered += name == "ok"
            if name == "ok":
                self.token = struct.pack("<QQQ", rindex, epoch, term)
                if self.writes and not self.session:
                    self.session = int.from_bytes((value or b"")[:8], "little")
            self.world.call_at(self.world.now_ns + 10 * MS, self.ask, connection)

    def closed(self, connection: int) -> None:
        if connection == self.connection:
            self.turn_to(self.rng.choice(self.hosts))


def read(request: int, client: int, flags: int, token: bytes = bytes(24), bound_ns: int = 0,
         key: bytes = b"1") -> bytes:
    """Return a read of whatever kind."""
    expected = token if flags & (PREFIX | BOUNDED) else None
    if flags & BOUNDED:
        expected = token + struct.pack("<Q", bound_ns)
    return flagged(codec.encode_request(request, client, 0, codec.OPS["read"], key,
                                        expected=expected, any_node=True), flags)


def flagged(frame: bytes, flags: int) -> bytes:
    """Return a request with more flags."""
    made = bytearray(frame)
    made[9] |= flags
    made[4:8] = crc32c(bytes(made[8:])).to_bytes(4, "little")
    return bytes(made)


def clients(w: DomainWorld, shape: Shape, rng: Rng, *, writers: int = 2) -> list[Client]:
    """Return clients that write to the root, and one that reads from each domain."""
    hosts = hosts_of(shape)
    found = [Client(w, n + 1, hosts[A], rng.split(f"writer {n}"), writes=True)
             for n in range(writers)]
    return found + [Client(w, 100 + domain, hosts[domain], rng.split(f"reader {domain}"),
                           writes=False) for domain in shape]


# ---- faults ------------------------------------------------------------------------------------

Undo = Callable[[], Any]
Fault = Callable[[DomainWorld, Shape, Rng], Undo]


def between(one: Any, other: Any) -> list[tuple[int, int]]:
    return [pair for a in one for b in other if a != b for pair in ((a, b), (b, a))]


def cut(w: DomainWorld, pairs: list[tuple[int, int]]) -> Undo:
    handle = w.cut(sorted(set(pairs)))
    return lambda: w.lift(handle)


def child_of(shape: Shape, rng: Rng) -> int:
    return rng.choice([domain for domain, site in shape.items() if site.parent])


def leader_of(w: DomainWorld, domain: int) -> int | None:
    found = w.leaders_of(domain)
    return found[0][1] if found else None


def domain_cut(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """A domain and its parent lose sight of each other; or only one of the other."""
    hosts, domain = hosts_of(shape), child_of(shape, rng)
    pairs = between(hosts[domain], hosts[shape[domain].parent])
    return cut(w, rng.choice((pairs, pairs[::2], pairs[1::2])))


def link_cut(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """Only the two leaders do."""
    linked = w.linked()
    return cut(w, between(*[[host] for host in rng.choice(linked)])) if linked else int


def island(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """Every domain is alone."""
    hosts = hosts_of(shape)
    return cut(w, [pair for one in hosts for other in hosts if one < other
                   for pair in between(hosts[one], hosts[other])])


def whole_domain(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """All nodes of a domain are killed, or lose their power."""
    struck = hosts_of(shape)[rng.choice(list(shape))]
    end = rng.choice((DomainWorld.kill, DomainWorld.power_loss))
    for host in struck:
        end(w, host)
    return lambda: [w.start(host) for host in struck]


def leaders_down(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """The leaders of a child, of its parent, or both are killed."""
    domain = child_of(shape, rng)
    chosen = rng.choice(((domain,), (shape[domain].parent,), (domain, shape[domain].parent)))
    struck = [host for which in chosen if (host := leader_of(w, which)) is not None]
    for host in struck:
        rng.choice((DomainWorld.kill, DomainWorld.power_loss))(w, host)
    return lambda: [w.start(host) for host in struck]


def paused(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    domain = rng.choice(list(shape))
    host = leader_of(w, domain)
    if host is None or rng.below(3) == 0:
        host = rng.choice(hosts_of(shape)[domain])
    w.pause(host)
    return lambda: w.resume(host)


def node_down(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    host = rng.below(w.hosts)
    rng.choice((DomainWorld.kill, DomainWorld.power_loss))(w, host)
    return lambda: w.start(host)


def parted(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """Some hosts and clients lose sight of the others, or only they of them."""
    ends = range(w.hosts + 1)
    side = set(rng.shuffled(ends)[:1 + rng.below(w.hosts)])
    both = rng.below(2)
    return cut(w, [(a, b) for a in ends for b in ends if a != b and (a in side) != (b in side)
                   and (both or a in side)])


def leader_alone(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """A leader loses its own domain, and keeps its links."""
    domain = rng.choice(list(shape))
    host = leader_of(w, domain)
    return int if host is None else cut(w, between([host], hosts_of(shape)[domain]))


def late(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """What goes between a domain and its parent is late, lost, damaged or slow."""
    hosts, domain = hosts_of(shape), child_of(shape, rng)
    handle = w.impair(
        between(hosts[domain], hosts[shape[domain].parent]), delay_ns=rng.below(300 * MS),
        jitter_ns=rng.below(100 * MS), loss_ppm=rng.choice((0, 100_000)),
        corrupt_ppm=rng.choice((0, 10_000)), bytes_per_s=rng.choice((0, 0, 4000, 100_000)))
    return lambda: w.lift(handle)


def broken(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    for one, other in w.linked():
        w.reset(one, other)
    return int


def tree_change(w: DomainWorld, shape: Shape, rng: Rng) -> Undo:
    """An administrator asks the root for another tree."""
    leader, domain = leader_of(w, A), child_of(shape, rng)
    now = w.tree()
    if leader is None or now is None or w.state(leader) != "up":
        return int
    given = shape[domain]
    first = tree_of(shape).domains[domain]._replace(included=False, include_rindex=0)
    if domain not in now.domains:
        change(w, leader, lambda tree: tree.add(domain, first))
        return int
    changes: list[Callable[[Tree], Tree]] = [
        lambda tree: tree.exclude(domain), lambda tree: tree.mode(domain, not now.domains[
            domain].sync), lambda tree: tree.mode(domain, given.sync),
        lambda tree: tree.policy(A, rng.choice((0, 1, 255))),
        lambda tree: tree.policy(A, shape[A].any_k),
        lambda tree: tree.block(domain, not given.block),
        lambda tree: tree.reparent(domain, rng.choice(list(shape))),
        lambda tree: tree.reparent(domain, given.parent),
        lambda tree: tree.remove(domain),
    ]
    change(w, leader, rng.choice(changes))
    return int


def change(w: DomainWorld, leader: int, asked: Callable[[Tree], Tree]) -> bool:
    """Ask for another tree; return whether the leader set about it."""
    try:
        return w.change_tree(leader, asked)
    except BadTree:
        return False


FAULTS: tuple[Fault, ...] = (
    domain_cut, domain_cut, link_cut, island, whole_domain, leaders_down, leaders_down, paused,
    node_down, parted, leader_alone, late, broken, tree_change, tree_change)


def wish(w: DomainWorld, shape: Shape) -> Callable[[Tree], Tree] | None:
    """Return a change that makes the tree more like the one that it began as; None: it is."""
    now, first = w.tree(), tree_of(shape)
    if now is None:
        return lambda tree: tree
    for domain, given in first.domains.items():
        found = now.domains.get(domain)
        if found is None:
            fresh = given._replace(included=False, include_rindex=0)
            return lambda tree, domain=domain, fresh=fresh: tree.add(domain, fresh)
        if found.parent != given.parent:
            return lambda tree, domain=domain, to=given.parent: tree.reparent(domain, to)
        if found.sync != given.sync:
            return lambda tree, domain=domain, sync=given.sync: tree.mode(domain, sync)
        if found.any_k != given.any_k:
            return lambda tree, domain=domain, any_k=given.any_k: tree.policy(domain, any_k)
        if found.block != given.block:
            return lambda tree, domain=domain, block=given.block: tree.block(domain, block)
    return None


def restore(w: DomainWorld, shape: Shape) -> None:
    """Bring the tree back that it began with, as soon as a leader can."""
    asked = wish(w, shape)
    leader = leader_of(w, A)
    if asked is not None and leader is not None and w.state(leader) == "up":
        change(w, leader, asked)
    if asked is not None:
        w.call_at(w.now_ns + 100 * MS, restore, w, shape)
