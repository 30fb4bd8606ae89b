"""Whom this node dials, and where: links follow the configuration.

A node has a link to every member of the newest configuration in its log, and to whoever is
connected to it: a leader or candidate that it has not heard of yet must get its answers. The
address is the one in the configuration; of a node that is not in it, what that node says itself
(notice.py), then the configuration file's.

* Links open as soon as a configuration is in the log and close when it is committed: until then
  it may be taken back.
* Who is no member is told so, by every member, and then closes its links; so do they. It answers
  whoever speaks to it as to a member, as the leader does when it is made one again.
"""
from __future__ import annotations

import asyncio

from seatrial.core.config import Address, Settings, parse_address
from seatrial.core.errors import Fenced, ProtocolError
from seatrial.core.membership import Configuration
from seatrial.core.notice import SINCE_PROTOCOL, Notice, decode_notice
from seatrial.core.raft import Raft
from seatrial.core.stores import Stores
from seatrial.core.transport import Link, Shell

FRAME_TYPE = 8                  # its offset in a frame (codec.pxd)
ASKING = b"\x01\x03\x05\x07"     # VOTE, APPEND, HEARTBEAT, PRE_VOTE: they want an answer


def initial_configuration(settings: Settings) -> Configuration:
    """Return the configuration before the first one in the log: the file's."""
    priorities = settings.config.priorities
    return Configuration(settings.members, details={
        node: (str(address), priorities.get(node, 0))
        for node, address in settings.members.items()})


class Links:
    """All links of one node."""

    def __init__(
        self, shell: Shell, raft: Raft, settings: Settings, store: str, stores: Stores
    ) -> None:
        self.configuration = raft.configuration()
        self.outside = False            # as far as is known, this node is no member
        self._shell = shell
        self._raft = raft
        self._settings = settings
        self._store = store             # of our own directory
        self._stores = stores           # of the others'
        self._said: dict[int, str] = {}     # of who is connected: its directory
        self._by_node: dict[int, Link] = {}
        self._connected: dict[int, Address | None] = {}     # to us; and where it listens
        self._spoke: set[int] = set()   # who did to us, since we are outside
        self._version = 0               # of the configuration; 0: not begun
        self._settled = False           # it is committed
        self._told = 0                  # index of the newest one that is said to leave us out

    async def stop(self) -> None:
        """Close all."""
        links, self._by_node = list(self._by_node.values()), {}
        await asyncio.gather(*(link.stop() for link in links))

    def send(self, node: int, data: bytes) -> None:
        """Send, or drop where there is no link: consensus repeats what matters."""
        link = self._by_node.get(node)
        if link is not None:
            link.send(data)

    def backlog(self) -> dict[int, dict[str, int]]:
        """Return what waits in each link, and what was dropped."""
        return {peer: {"unsent_bytes": link.unsent_bytes, "dropped_bytes": link.dropped_bytes}
                for peer, link in sorted(self._by_node.items())}

    def max_unsent_bytes(self) -> int:
        """Return more than consensus keeps on its way to a member by itself."""
        limits = self._settings.config.limits
        return max(limits.max_unsent_bytes, 2 * limits.max_inflight_bytes)

    def alone(self) -> bool:
        """Return whether nobody else has a vote."""
        return self.configuration.voters | self.configuration.outgoing == {self._shell.node}

    # -- events -------------------------------------------------------------------------------

    def follow(self) -> None:
        """Look for news of the configuration: once an iteration."""
        raft = self._raft
        if raft.config_version != self._version:
            self._version = raft.config_version
            self._settled = False
            self.configuration = raft.configuration()
            self._shell.journal.info(
                "configuration", index=raft.config_index, members=str(self.configuration))
        elif self._settled or raft.commit < raft.config_index:
            return
        if raft.commit >= raft.config_index:
            self._settled = True
            self._stores.keep(self.configuration.nodes)
            for peer, store in self._said.items():
                if peer in self.configuration.nodes:
                    self._stores.heard(peer, store, theirs=0, ours=self._raft.config_index)
            for link in self._by_node.values():
                self.tell(link)
        self._reconcile()

    def connected(self, peer: int) -> None:
        """A node connected to us."""
        self._connected.setdefault(peer, None)
        self._reconcile()

    def disconnected(self, peer: int) -> None:
        """Its connection to us is gone."""
        del self._connected[peer]
        self._spoke.discard(peer)
        self._said.pop(peer, None)
        self._reconcile()

    def spoke(self, peer: int, data: bytes) -> None:
        """A node sent this to us, who are no member: does it take us for one?"""
        if peer not in self._spoke and len(data) > FRAME_TYPE and data[FRAME_TYPE] in ASKING:
            self._spoke.add(peer)
            self._reconcile()

    def heard(self, peer: int, body: bytes) -> None:
        """Take a notice. Raises ProtocolError; Fenced when this node has forgotten what it was."""
        notice = decode_notice(body)
        if notice.yours not in ("", self._store):
            if notice.since < self._raft.config_index:
                raise ProtocolError("it has not heard yet that this node is a new member")
            raise Fenced(f"node {peer} knows this node with other data, which held what it had"
                         " acknowledged: bring that back, or remove this node from the members and"
                         " add it as a new one")
        if (peer in self.configuration.nodes
                and not self._stores.heard(peer, notice.store, theirs=notice.at,
                                           ours=self._raft.config_index)):
            raise ProtocolError("it comes with other data than before: it has forgotten what it"
                                " acknowledged, and can't take part under this number")
        if peer in self._connected:
            self._said[peer] = notice.store
        if peer in self._connected:
            self._connected[peer] = notice.where
        if notice.config_index > self._raft.config_index and self._shell.node not in notice.nodes:
            self._told = max(self._told, notice.config_index)
            self._spoke.discard(peer)
        self._reconcile()

    def tell(self, link: Link) -> None:
        """Say where we listen; and to one that is no member, that it is none."""
        if not link.up or link.protocol < SINCE_PROTOCOL:
            return
        index, nodes = 0, frozenset[int]()
        if self._settled and link.peer not in self.configuration.nodes:
            index, nodes = self._raft.config_index, self.configuration.nodes
        known = self._stores.of(link.peer)
        link.send(Notice(str(self._settings.address), index, nodes, self._store, known.store,
                         known.since, self._raft.config_index if self._settled else 0).encode())

    # -- who is dialled -------------------------------------------------------------------------

    def _reconcile(self) -> None:
        if not self._version:
            return
        self._find_out_whether_outside()
        wanted = set(self._spoke)
        if not self.outside:
            wanted |= self.configuration.nodes | self._connected.keys()
        wanted.discard(self._shell.node)
        for peer, link in list(self._by_node.items()):
            if peer not in wanted:
                if self._settled or self.outside:
                    self._close(link)
            elif (self._address(peer) or link.address) != link.address:
                self._close(link)
        for peer in sorted(wanted - self._by_node.keys()):
            address = self._address(peer)
            if address is not None:
                link = Link(self._shell, peer, address, self._settings.config.election_ms,
                            self.max_unsent_bytes())
                self._by_node[peer] = link
                link.start()

    def _find_out_whether_outside(self) -> None:
        raft = self._raft
        before = self.outside
        self.outside = self._told > raft.config_index or (
            self._settled and raft.config_index > 0
            and self._shell.node not in self.configuration.nodes)
        if self.outside == before:
            return
        self._spoke.clear()
        if self.outside:
            self._shell.journal.warning(
                "not-a-member", index=max(self._told, raft.config_index))

    def _close(self, link: Link) -> None:
        self._shell.journal.info("link-closed", peer=link.peer, address=str(link.address))
        del self._by_node[link.peer]
        link.retire()

    def _address(self, peer: int) -> Address | None:
        details = self.configuration.details.get(peer)
        if details is not None and details[0]:
            try:
                return parse_address(details[0])
            except ValueError as error:
                self._shell.journal.error("bad-address", peer=peer, reason=str(error))
        return self._connected.get(peer) or self._settings.members.get(peer)
