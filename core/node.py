"""The node's shell: gives the pure machine (replica.pyx) a disk, sockets and a clock.

One iteration of the event loop reads every socket that is ready, then *flushes* once:

1. ``poll``: the machine replicates, applies and answers what it can;
2. ``take_persist``: the next group write goes to the log, whose writer thread syncs it while
   the loop gathers the next batch. A light one (``inline_bytes``; a vote always is) may be
   synced here and now by a node that has nothing better to do: a follower, or the only
   member. A leader never waits for its own disk: a majority of the others may be quicker;
3. ``take_output``: bytes go to members and clients. What may only be said when something is
   durable is not in it before ``persisted``: the machine sees to that, not the shell.

So batches come from load, not from timers. Output leaves before the group write begins, so that
followers sync at the same time as the leader: theirs is the longer way.

Whatever is not foreseen ends the process at once with exit code 255: a broken invariant, or
any exception that nobody expected. A node that may be wrong must not go on.
"""
from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop

from seatrial.core import mutants
from seatrial.core.administration import administer, describe_configuration
from seatrial.core.clock import boottime_ns
from seatrial.core.codec import OPS, STATUSES
from seatrial.core.config import Settings
from seatrial.core.domain_administration import describe_tree
from seatrial.core.domain_news import DomainNews
from seatrial.core.errors import CorruptSegment, Fenced, NodeError, ProtocolError
from seatrial.core.handshake import Life, key_of
from seatrial.core.identity import check_identity, new_identity, write_identity
from seatrial.core.journal import Journal
from seatrial.core.links import Links, initial_configuration
from seatrial.core.metrics import Exporter, Sample
from seatrial.core.replica import Replica
from seatrial.core.stores import Stores
from seatrial.core.transport import Inbound, Link, listening_socket
from seatrial.core.tree import Tree
from seatrial.core.uplinks import Uplink
from seatrial.core.wal import Wal

FATAL_EXIT = 255
LEADER = 2                      # of Raft.role
MEMBER, CLIENT, UPLINK, LINK = range(4)     # of take_output's kinds
STATUS_OK, STATUS_BAD_REQUEST = STATUSES.index("ok"), STATUSES.index("bad-request")
OP_STATUS = OPS["status"]
MS = 1_000_000


class Node:
    """One running node."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        config = settings.config
        limits = config.limits
        self.settings = settings
        self.journal = journal
        self.cluster = settings.cluster
        self.node = settings.node
        self.keys = settings.keys
        self.protocol_max = config.protocol
        self.started_ns = boottime_ns()
        mutants.activate(config.mutant)
        self.wal = self._open_wal()
        self.replica = Replica(
            self.node, initial_configuration(settings),
            seed=int.from_bytes(os.urandom(8), "little"), now_ns=self.started_ns,
            heartbeat_ns=config.heartbeat_ms * MS,
            election_ns=config.election_ms * MS, max_batch_bytes=limits.max_batch_bytes,
            max_inflight_bytes=limits.max_inflight_bytes,
            max_value_bytes=limits.max_value_bytes, max_key_bytes=limits.max_key_bytes,
            max_sessions=limits.max_sessions, session_ttl_ns=limits.session_ttl_s * 1000 * MS,
            max_uncommitted_bytes=limits.max_uncommitted_bytes, leases=config.leases,
            snapshot_bytes=config.wal.snapshot_bytes, keep_bytes=config.wal.keep_bytes,
            domain=settings.domain if config.domain is not None else 0, tree=settings.tree,
            parent=tuple((node, str(where)) for node, where in settings.parent.items()))
        found = self.wal.recovered
        self.replica.restore(
            found.term, found.vote, found.records, first=found.first_index,
            base_term=found.base_term, snapshot=found.snapshot, partial=found.partial,
            damaged_until=found.damaged_until, damaged_term=found.damaged_term)
        members = self.replica.raft.configuration()
        if found.damaged_until and members.voters | members.outgoing == {self.node}:
            raise CorruptSegment(*found.damage[0])      # there is no leader to fetch it from
        self.wal.recovered = found._replace(records=b"", snapshot=None, partial=None)
        self.links = Links(self, self.replica.raft, settings, self.identity.store,
                           Stores(settings.data))
        self._in_tree = config.domain is not None       # of a cluster of domains
        self.uplink = self._make_uplink() if settings.parent else None
        self._news = DomainNews(journal)
        self._tree: Tree | None = None
        self._tree_version = 0
        self.inbound: dict[int, Inbound] = {}           # admitted, by number
        self.peers: dict[int, Inbound] = {}             # of those, the members' newest
        self.refusals: Counter[str] = Counter()
        self._accepted = 0
        self._open = 0
        self._inline_bytes = config.wal.inline_bytes
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._seen = (0, 0, 0)                          # role, term, leader, as logged
        self._stop = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._exporter = Exporter(self.sample)
        self._loop: asyncio.AbstractEventLoop

    def _make_uplink(self) -> Uplink:
        """Return what dials the parent."""
        key = key_of(self.keys, "link", self.settings.domain)
        assert key is not None          # config.check
        return Uplink(
            self, self.replica, self.settings.domain, key, clock=boottime_ns,
            user_timeout_ms=max(self.settings.config.election_ms, 1000),
            max_unsent_bytes=self.links.max_unsent_bytes())

    def _open_wal(self) -> Wal:
        data = self.settings.data
        known = check_identity(data, self.cluster, self.node, self.settings.domain)
        try:
            wal = Wal.open(
                data / "wal", segment_bytes=self.settings.config.wal.segment_bytes,
                create=known is None, damaged=True)
        except OSError as error:
            raise NodeError(f"can't open the log in {data / 'wal'}: {error.strerror}") from None
        self.identity = known or new_identity(self.cluster, self.node, self.settings.domain)
        if known is None or not known.store:
            self.identity = msgspec.structs.replace(
                self.identity, store=self.identity.store or os.urandom(8).hex())
            write_identity(data, self.identity)
        self.life = Life(self.identity.life, self.identity.mark)
        return wal

    # -- life -----------------------------------------------------------------------------

    async def serve(self) -> None:
        """Run until SIGTERM or SIGINT."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        await self._listen()
        self._loop.add_reader(self.wal.done_fd, self._disk_done)
        found = self.wal.recovered
        self.journal.info(
            "started", pid=os.getpid(), cluster=self.cluster,
            listen=[str(address) for address in self.settings.listen],
            term=found.term, vote=found.vote, last_index=found.last_index,
            segments=found.segments, repairs=self.wal.repairs,
            mutant=self.settings.config.mutant)
        self.links.follow()
        gc.collect()
        gc.freeze()             # what lives as long as the node is never looked at again
        self.wake()
        await self._stop.wait()
        await self._shut_down()

    async def _listen(self) -> None:
        sockets: list[tuple[socket.socket, Callable[[], asyncio.Protocol]]] = [
            (listening_socket(address), self._accept) for address in self.settings.listen]
        if self.settings.metrics is not None:
            sockets.append((listening_socket(self.settings.metrics), self._exporter.protocol))
        for sock, factory in sockets:
            self._servers.append(await self._loop.create_server(factory, sock=sock))

    async def _shut_down(self) -> None:
        """Stop in good order: nothing new comes in, what is being written is finished."""
        self.journal.info("stopping")
        for server in self._servers:
            server.close()
        await self.links.stop()
        if self.uplink is not None:
            await self.uplink.stop()
        for inbound in list(self.inbound.values()):
            inbound.transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.wal.done_fd)
        self.wal.close()
        self.journal.info("stopped", term=self.replica.raft.term)

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End the process, unless it is only a socket that broke."""
        error = context.get("exception")
        if isinstance(error, OSError) and "transport" in context:
            self.journal.warning("socket-error", reason=str(error))
            return
        self.die(context.get("message", ""), error)

    def die(self, message: str, error: BaseException | None) -> None:
        """Say loudly what is broken, with all the numbers, and end the process at once."""
        raft = self.replica.raft
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        self.journal.error(
            "fatal", message=message, error=f"{type(error).__name__}: {error}", trace=trace,
            term=raft.term, role=raft.role, leader=raft.leader, commit=raft.commit)
        line = f"seatrial: fatal: node {self.node}: {type(error).__name__}: {error}\n"
        os.write(2, line.encode())
        os._exit(FATAL_EXIT)

    # -- connections: what transport.Shell asks for ------------------------------------------

    def _accept(self) -> Inbound:
        self._accepted += 1
        self._open += 1
        return Inbound(
            self, self._accepted, self.settings.config.limits.handshake_ms / 1000,
            max(self.settings.config.election_ms, 1000))

    def domains(self) -> frozenset[int]:
        """Return the domains that may have a link to this one, as far as is known."""
        if self._tree is None:
            return frozenset()
        return frozenset(self._tree.domains) - {self._tree.root, self.settings.domain}

    def full(self) -> bool:
        """Return whether there are more connections than we take."""
        return self._open > self.settings.config.limits.max_connections

    def refused(self, reason: str) -> None:
        """Count a handshake that came to nothing."""
        self.refusals[reason] += 1

    def other_life(self, life: tuple[int, int]) -> None:
        """A member, which proved to be one, is of another life of this cluster: of two, the later
        one goes on. A node that holds nothing yet joins it; one that does must stop."""
        if life[0] <= self.life.number:
            return
        raft = self.replica.raft
        if self.settings.config.join and raft.term == 0 and raft.log.last_index == 0:
            self.life = Life(*life)
            self.identity = msgspec.structs.replace(
                self.identity, life=life[0], mark=life[1])
            write_identity(self.settings.data, self.identity)
            return
        self.die("", Fenced(
            f"the cluster lost its majority and was recovered without this node (life {life[0]},"
            f" this data is of life {self.life.number}): what is here may be looked at, but never"
            " take part again; come back as a new node"))

    def admit(self, inbound: Inbound) -> None:
        """Take in a connection whose handshake is done."""
        self.inbound[inbound.number] = inbound
        self.journal.info(
            "connected", role=inbound.role, address=inbound.address,
            peer=inbound.peer or inbound.domain)
        if inbound.role == "link":
            try:
                self.replica.link_up(inbound.number, inbound.domain, boottime_ns())
            except ProtocolError as error:      # (so many of them at a time)
                del self.inbound[inbound.number]
                inbound.close(str(error))
            self.wake()
            return
        if inbound.role != "peer":
            self.replica.client_up(inbound.number)
            return
        before = self.peers.get(inbound.peer)
        self.peers[inbound.peer] = inbound
        self.replica.peer_reset(inbound.peer)
        self.links.connected(inbound.peer)
        if before is not None:
            before.close("the member connected anew")

    def lost(self, inbound: Inbound) -> None:
        """Forget a connection."""
        self._open -= 1
        if self.inbound.pop(inbound.number, None) is None:
            return
        self.journal.info(
            "disconnected", role=inbound.role, address=inbound.address,
            peer=inbound.peer or inbound.domain)
        if inbound.role == "link":
            self.replica.link_down(inbound.number)
            self.wake()
        elif inbound.role != "peer":
            self.replica.client_down(inbound.number)
        elif self.peers.get(inbound.peer) is inbound:
            del self.peers[inbound.peer]
            self.links.disconnected(inbound.peer)

    def received(self, inbound: Inbound, data: bytes) -> None:
        """Feed the machine."""
        try:
            if inbound.role == "link":
                self.replica.receive_link(inbound.number, data, boottime_ns())
            elif inbound.role != "peer":
                self.replica.receive_client(inbound.number, data, boottime_ns())
            elif self.peers.get(inbound.peer) is inbound:
                self.replica.receive_peer(inbound.peer, data, boottime_ns())
                if self.links.outside:
                    self.links.spoke(inbound.peer, data)
        except ProtocolError as error:
            inbound.close(str(error))
        self.wake()

    def link_up(self, link: Link) -> None:
        """Our connection to a member came up."""
        self.journal.info("link-up", peer=link.peer, address=str(link.address))
        self.links.tell(link)
        self.replica.peer_up(link.peer, boottime_ns())
        self.wake()

    def link_down(self, link: Link) -> None:
        """Our connection to a member is lost."""
        self.journal.info("link-down", peer=link.peer, address=str(link.address))
        self.replica.peer_down(link.peer, boottime_ns())
        self.wake()

    # -- one iteration ---------------------------------------------------------------------

    def wake(self) -> None:
        """Flush once after everything that is ready in this iteration was taken in."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._stop.is_set():
            return
        replica, wal = self.replica, self.wal
        now = boottime_ns()
        while True:
            for connection, request, op, body in replica.take_admin():
                self._administer(connection, request, op, body)
            for peer, body in replica.take_notices():
                self._hear(peer, body)
            replica.poll(now)
            replica.holds_chunks = not wal.roomy    # else entries would wait for a segment
            group = None if wal.busy else replica.take_persist()
            self._send(replica.take_output())
            if group is None or not wal.submit(
                    *group, inline=self._light(len(group[4]) + len(group[7]))):
                break
            now = boottime_ns()
            replica.persisted(group[0], now)
        self.links.follow()
        if self.uplink is not None:
            self.uplink.follow()
        self._notice_changes()
        self._arm_timer(now)

    def _hear(self, peer: int, body: bytes) -> None:
        try:
            self.links.heard(peer, body)
        except ProtocolError as error:
            if peer in self.peers:
                self.peers[peer].close(str(error))
        except Fenced as error:
            self.die("", error)

    def _light(self, size: int) -> bool:
        """Return whether to sync a group write here, with the whole loop waiting for the disk."""
        return size <= self._inline_bytes and (
            self.replica.raft.role != LEADER or self.links.alone())

    def _send(self, output: list[tuple[int, int, bytes]]) -> None:
        inbound, links = self.inbound, self.links
        for kind, number, data in output:
            if kind == MEMBER:
                links.send(number, data)
                continue
            if kind == UPLINK:
                if self.uplink is not None:
                    self.uplink.send(data)
                continue
            client = inbound.get(number)
            if client is None:
                continue
            client.transport.write(data)
            if client.choked:
                self._check_choked(client)

    def _check_choked(self, client: Inbound) -> None:
        unsent = client.transport.get_write_buffer_size()
        if unsent > (self.links.max_unsent_bytes() if client.role == "link"
                     else self.settings.config.limits.max_unsent_bytes):
            client.close(f"it does not fetch its answers: {unsent} bytes wait")

    def _disk_done(self) -> None:
        """The log's writer finished a group."""
        self.replica.persisted(self.wal.completed(), boottime_ns())
        self.wake()

    def _arm_timer(self, now: int) -> None:
        """Have the timer fire no later than the machine wants.

        One that fires too early costs nothing and is left alone: deadlines move with every
        message.
        """
        deadline = self.replica.deadline_ns()
        if self._timer is not None:
            if deadline >= self._timer_ns:
                return
            self._timer.cancel()
        self._timer_ns = deadline
        self._timer = self._loop.call_later(max(0, deadline - now) / 1e9, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.replica.tick(boottime_ns())
        if self._in_tree:
            self._news.tell_links(self.replica.status()["domain"])
        self.wake()

    # -- what others may know ------------------------------------------------------------------

    def _notice_changes(self) -> None:
        raft = self.replica.raft
        if self._in_tree and self.replica.tree_version != self._tree_version:
            self._tree_version, self._tree = self.replica.tree_version, self.replica.tree()
            self._news.tell_tree(self._tree)
        now = raft.role, raft.term, raft.leader
        if now == self._seen:
            return
        status = self.replica.status()
        before, self._seen = self._seen, now
        if before[:2] != now[:2]:
            self.journal.info(
                "role", role=status["role"], term=raft.term, last_index=status["last_index"],
                commit=status["commit"])
        if before[2] != now[2]:
            self.journal.info("leader", leader=raft.leader, term=raft.term)

    def _administer(self, connection: int, request: int, op: int, body: bytes) -> None:
        if op == OP_STATUS:
            self.replica.reply(
                connection, request, STATUS_OK, msgspec.json.encode(self.describe()))
            return
        inbound = self.inbound.get(connection)
        if inbound is None or inbound.role != "admin":
            self.replica.reply(connection, request, STATUS_BAD_REQUEST, b"")
            return
        self.journal.info("asked", op=op, body=body.decode(errors="replace"))
        administer(self.replica, connection, request, op, body, boottime_ns())

    def _status(self) -> dict[str, Any]:
        """Return what the machine says of itself, with times as others read them."""
        found = self.replica.status()
        since = found.pop("snapshot_ns") or self.started_ns
        age_ns = boottime_ns() - since if found["snapshot_index"] else 0
        return found | {"snapshot_age_s": round(age_ns / 1e9, 3)}

    def describe(self) -> dict[str, Any]:
        """Return all that ``status`` shows."""
        stats = self.wal.stats()
        return self._status() | {
            "cluster": self.cluster, "life": self.life.number, "pid": os.getpid(),
            "uptime_s": round((boottime_ns() - self.started_ns) / 1e9, 3),
            "mutant": self.settings.config.mutant,
            "state_hashes": {index: f"{value:016x}"
                             for index, value in self.replica.kv.hashes().items()},
            "members": {node: address for node, (address, _)
                        in self.links.configuration.details.items()},
            "membership": describe_configuration(self.replica) | {
                "outside": self.links.outside},
            "tree": describe_tree(self._tree),
            "protocol": self.protocol_max,
            "connections": self._connections(),
            "links": self.links.backlog(),
            "wal": {"segment": self.wal.segment, "syncs": stats.syncs, "bytes": stats.bytes,
                    "sync_ns": stats.sync_ns},
        }

    def _connections(self) -> dict[str, int]:
        counts = Counter({"client": 0, "peer": 0, "admin": 0, "link": 0})
        counts.update(inbound.role for inbound in self.inbound.values())
        return dict(counts)

    def sample(self) -> Sample:
        """Return all that is measured."""
        found = self.links.configuration
        return Sample(
            self._status() | {
                "voters": len(found.voters), "learners": len(found.learners),
                "joint": int(found.joint), "outside": int(self.links.outside)},
            self.wal.stats(), self._connections(), dict(self.refusals),
            self.journal.lost)


def run(settings: Settings) -> None:
    """Run a node in this process until it is told to stop. Raises NodeError."""
    journal = Journal(settings.node, settings.config.log.level, settings.log_file)

    async def main() -> None:
        node = Node(settings, journal)
        try:
            await node.serve()
        finally:
            node.wal.close()

    try:
        uvloop.run(main())
    finally:
        journal.close()
