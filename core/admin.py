"""Asking nodes over plain blocking sockets: ``status``, changes of the members, leadership.

``Cluster`` is the patient side of administration.py. It finds the leader by itself, and says what
is to be true in the end rather than what is to be sent: a change whose answer was lost is looked
for in the leader's configuration before it is sent again, so it is never made twice.
"""
from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from seatrial.core.codec import OPS, STATUSES, decode_response, encode_request, split_frames
from seatrial.core.config import Address, parse_address
from seatrial.core.errors import ConfigError, HandshakeRefused, NodeError, ProtocolError
from seatrial.core.handshake import NONCE_BYTES, ConnectorHandshake

READ_BYTES = 1 << 16
MAX_ANSWER_BYTES = 1 << 20
ONE_NODE_S = 2.0                # one that does not answer must not use up all our time
ONE_ANSWER_S = 5.0              # then the leader is looked for again, and what became of it
PAUSE_S = 0.05
CAUGHT_UP_ENTRIES = 1000        # administration.MAX_LAG_ENTRIES: what a new voter may lack

Status = dict[str, Any]


def fetch_status(address: Address, cluster: str, key: bytes, timeout_s: float) -> Status:
    """Return what the node says of itself. Raises NodeError naming the address."""
    _, value = ask(address, cluster, key, "status", b"", timeout_s)
    try:
        return msgspec.json.decode(value or b"{}", type=Status)
    except msgspec.DecodeError as error:
        raise NodeError(f"{address}: {error}") from None


def ask(
    address: Address, cluster: str, key: bytes, op: str, body: bytes, timeout_s: float,
) -> tuple[str, bytes]:
    """Return status and value of a node's answer. Raises NodeError naming the address."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection(address, timeout_s) as sock:
            return _ask(sock, cluster, key, op, body, deadline)
    except HandshakeRefused as refusal:
        raise HandshakeRefused(f"{address}: {refusal}") from None
    except TimeoutError:
        raise NodeError(f"{address}: no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise NodeError(f"can't reach {address}: {error.strerror or error}") from None
    except (ProtocolError, ConnectionClosed) as error:
        raise NodeError(f"{address}: {error}") from None


class ConnectionClosed(Exception):
    """The node closed the connection."""


def _ask(
    sock: socket.socket, cluster: str, key: bytes, op: str, body: bytes, deadline: float,
) -> tuple[str, bytes]:
    handshake = ConnectorHandshake(cluster, "admin", key, os.urandom(NONCE_BYTES))
    sock.sendall(handshake.hello())
    while not handshake.done:
        sock.sendall(handshake.receive(_read(sock, deadline)))
    sock.sendall(encode_request(1, 0, 0, OPS[op], body))
    data = bytearray(handshake.leftover())
    while not (frames := split_frames(data)):
        if len(data) > MAX_ANSWER_BYTES:
            raise ProtocolError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        data += _read(sock, deadline)
    _, status, value, *_ = decode_response(frames[0])
    return STATUSES[status] if status < len(STATUSES) else f"status-{status}", value or b""


def _read(sock: socket.socket, deadline: float) -> bytes:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
    data = sock.recv(READ_BYTES)
    if not data:
        raise ConnectionClosed("the node closed the connection")
    return data


class Cluster:
    """A cluster as an administrator sees it; every method ends within ``timeout_s``."""

    def __init__(
        self, seeds: Sequence[Address], cluster: str, key: bytes, timeout_s: float
    ) -> None:
        self.cluster = cluster
        self.key = key
        self.timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self.known = list(dict.fromkeys(seeds))
        self._leader: Address | None = None

    # -- finding the leader -----------------------------------------------------------------------

    def status(self) -> Status:
        """Return the leader's status. Raises NodeError when none is found in time."""
        while True:
            complaints = []
            asked: set[Address] = set()
            best: Status | None = None
            queue = ([self._leader] if self._leader is not None else []) + self.known
            while queue:
                address = queue.pop(0)
                if address in asked:
                    continue
                asked.add(address)
                try:
                    found = fetch_status(
                        address, self.cluster, self.key, min(ONE_NODE_S, self._left()))
                except NodeError as error:
                    complaints.append(error)
                    continue
                self._learn(found, queue)
                if found["role"] == "leader" and (best is None or found["term"] > best["term"]):
                    best, self._leader = found, address
                    if not queue or found["leader"] == found["node"]:
                        return best
            if complaints and all(isinstance(error, HandshakeRefused) for error in complaints) \
                    and len(complaints) == len(asked):
                raise complaints[0]
            self._leader = None
            self._pause("no leader was found" + "".join(f"; {error}" for error in complaints[:3]))

    def _learn(self, found: Status, queue: list[Address]) -> None:
        """Take addresses from a status; the leader it names is asked next."""
        for node, text in found["members"].items():
            with contextlib.suppress(ValueError):
                address = parse_address(text)
                if address not in self.known:
                    self.known.append(address)
                    queue.append(address)
                if int(node) == found["leader"]:
                    queue.insert(0, address)

    def _left(self) -> float:
        return max(0.01, self._deadline - time.monotonic())

    def _pause(self, why: str) -> None:
        """Wait a little. Raises NodeError when the time is over."""
        if time.monotonic() >= self._deadline:
            raise NodeError(f"not done within {self.timeout_s:g} s: {why}")
        time.sleep(PAUSE_S)

    def _request(self, op: str, body: object) -> tuple[str, str]:
        """Ask the leader; a connection that breaks counts as an unknown outcome."""
        assert self._leader is not None
        try:
            status, value = ask(
                self._leader, self.cluster, self.key, op, msgspec.json.encode(body),
                min(ONE_ANSWER_S, self._left()))
        except HandshakeRefused:
            raise
        except NodeError as error:
            return "unknown", str(error)
        line = value.decode(errors="replace") if status in ("bad-request", "busy") else status
        if status == "bad-request":
            raise ConfigError(line or "the node does not know this request: it is older")
        return status, line

    # -- members ----------------------------------------------------------------------------------

    def change(
        self, changes: list[dict[str, Any]], goal: Callable[[Status], bool], *,
        force: bool = False, wait: bool = True,
    ) -> Status:
        """Make changes until ``goal`` holds of a configuration that is in force and not joint;
        without ``wait``, until they are committed. Raises ConfigError when they are refused."""
        why = ""
        while True:
            status = self.status()
            members = status["membership"]
            settled = members["committed"] and not members["joint"]
            if goal(members) and (settled or (not wait and members["committed"])):
                return status
            if not goal(members) and settled:
                _, why = self._request("change", {"changes": changes, "force": force})
            elif not settled:
                why = unsettled(status)
            self._pause(why)

    def caught_up(self, node: int) -> None:
        """Wait until a member has nearly all of the leader's log."""
        while True:
            status = self.status()
            seen = status["peers"].get(str(node))
            if seen is None:
                raise ConfigError(f"node {node} is no member any more")
            behind = status["commit"] - seen["match_index"]
            if seen["connected"] and behind <= CAUGHT_UP_ENTRIES and seen["match_index"]:
                return
            address = status["members"].get(str(node), "?")
            self._pause(
                f"node {node} is a learner now and " + (
                    f"{behind} entries behind" if seen["connected"]
                    else f"not connected at {address}")
                + "; `member promote` makes it a voter when it has caught up")

    # -- the tree of domains ----------------------------------------------------------------------

    def change_tree(self, body: dict[str, Any], goal: Callable[[Status], bool]) -> Status:
        """Have the root make a change; return its leader's status when it is committed. One whose
        answer was lost is looked for (``goal``) before it is asked for again."""
        why, lost, seen = "", False, 0
        while True:
            status = self.status()
            tree, found = status["tree"], status["domain"]
            if lost and tree is not None and goal(tree):
                seen = seen or found["mirror_end"]
                if found["committed"] >= seen:
                    return status
                why = "the change is in the log, but not committed yet"
            else:
                answer, why = self._request("tree", body)
                if answer == "ok":
                    return self.status()
                lost = lost or answer == "unknown"
            self._pause(why)

    def until_tree(self, goal: Callable[[Status], bool], why: Callable[[Status], str]) -> Status:
        """Return the status of the root's leader once it has committed such a tree; ``why`` it has
        none yet."""
        seen = 0
        while True:
            status = self.status()
            tree, found = status["tree"], status["domain"]
            seen = (seen or found["mirror_end"]) if tree is not None and goal(tree) else 0
            if seen and found["committed"] >= seen:
                return status
            self._pause("the change is in the log, but not committed yet" if seen
                        else why(status))

    # -- leadership -------------------------------------------------------------------------------

    def transfer(self, node: int) -> Status:
        """Have a node lead; 0: any other than now."""
        status = self.status()
        before = status["node"]
        if node and str(node) not in status["members"]:
            raise ConfigError(f"node {node} is not a member")
        while True:
            if status["node"] == node or (node == 0 and status["node"] != before):
                return status
            why = f"node {status['node']} still leads"
            if not status["transfer_to"]:
                _, line = self._request("transfer", {"node": node})
                why += f"; {line}" if line != "ok" else ""
            self._pause(why)
            status = self.status()


def unsettled(status: Status) -> str:
    """Say what a configuration waits for."""
    members = status["membership"]
    silent = [node for node in sorted({*members["voters"], *members["outgoing"]})
              if node != status["node"]
              and not status["peers"].get(str(node), {}).get("connected")]
    return (f"the configuration of entry {members['index']} is not in force yet"
            + (f": voters {silent} are not connected" if silent else ""))


def render_members(status: Status) -> str:
    """Return the members as a person reads them."""
    members = status["membership"]
    lines = [f"configuration of entry {members['index']}: "
             + ("in force" if members["committed"] and not members["joint"] else "joint"
                if members["joint"] else "not committed yet")]
    for name, address in members["addresses"].items():
        node = int(name)
        lines.append(
            f"  node {node} at {address}: {role_of(members, node)}, priority"
            f" {members['priorities'][name]}, {_progress(status, node)}")
    return "\n".join(lines)


def role_of(members: dict[str, Any], node: int) -> str:
    """Return what a node is in a configuration; empty: no member."""
    if node in members["learners_next"]:
        return "voter, learner next"
    if node in members["voters"]:
        return "voter" if not members["joint"] or node in members["outgoing"] else "incoming voter"
    if node in members["outgoing"]:
        return "outgoing voter"
    return "learner" if node in members["learners"] else ""


def _progress(status: Status, node: int) -> str:
    if node == status["node"]:
        return "leads"
    seen = status["peers"].get(str(node))
    if seen is None or not seen["connected"]:
        return "not connected"
    return f"{max(0, status['commit'] - seen['match_index'])} entries behind"


def render_status(status: Status) -> str:
    """Return the status as a person reads it."""
    lines = [
        f"node {status['node']} of {status['cluster']}: {status['role']} in term"
        f" {status['term']}, leader {status['leader'] or 'unknown'}",
        f"log {status['first_index']}..{status['last_index']}, durable"
        f" {status['durable_index']}, committed {status['commit']}, applied {status['applied']}",
        snapshot_line(status),
        f"up {status['uptime_s']:.0f} s, sessions {status['sessions']}, connections "
        + ", ".join(f"{role} {n}" for role, n in status["connections"].items()),
    ]
    lines += _membership_lines(status) + _domain_lines(status)
    for peer, seen in status["peers"].items():
        up = "connected" if seen["connected"] else "not connected"
        lines.append(
            f"  member {peer} at {status['members'].get(str(peer), '?')}: {up},"
            f" {seen['state']}, match {seen['match_index']}, next {seen['next_index']}")
    if status["mutant"]:
        lines.append(f"PLANTED BUG in force: {status['mutant']}")
    return "\n".join(lines)


def _domain_lines(status: Status) -> list[str]:
    """Return what is to be said of the node's place in a tree of domains."""
    found = status["domain"]
    if found is None:
        return []
    line = f"domain {found['id']}, root entries {found['committed']} committed"
    if found["root"]:
        return [line + ", the root"]
    return [f"{line}, link to the parent {found['uplink']['state']}"
            + (f" (node {found['uplink']['node']})" if found["uplink"]["node"] else "")
            + (", holds a lease" if found["lease"] else "")]


def snapshot_line(status: Status) -> str:
    """Say what snapshots there are."""
    line = "no snapshot"
    if status["snapshot_index"]:
        line = (f"snapshot at entry {status['snapshot_index']}, {status['snapshot_bytes']} bytes,"
                f" for {status['snapshot_age_s']:.0f} s")
    for key, doing in (("snapshot_written", "written"), ("snapshot_received", "received")):
        if status[key]:
            line += f"; one is being {doing}: {status[key]} bytes so far"
    return line


def _membership_lines(status: Status) -> list[str]:
    """Return what is to be said of configuration, transfer and lease."""
    members = status["membership"]
    lines = [f"configuration {status['configuration']} of entry {members['index']}"
             + ("" if members["committed"] else ", not known to be committed")]
    if members["outside"]:
        lines.append("this node is NO MEMBER")
    if status["transfer_to"]:
        lines.append(f"handing over to node {status['transfer_to']}")
    if status["lease"]:
        lines.append("holds a lease")
    return lines
