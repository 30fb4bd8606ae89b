"""What an administrator may ask of a node: a snapshot, other members, another leader, another tree
of domains.

A snapshot is asked of any node, and answered when it is durable. Members and leadership are
decided by the leader alone, at once: an answer is "done" (a change: committed), "not the leader"
with its number, "busy" (try again: another change is under way) or a line that says what is
wrong. The patient side, which waits until all is in force, is admin.py's.

Two changes are refused unless they are forced, because they can cost the majority: a new voter
that lags far behind, and what would leave less than a majority of voters connected.
"""
from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from seatrial.core.codec import OPS, STATUSES
from seatrial.core.config import NodeId, Priority, parse_address
from seatrial.core.domain_administration import TreeRequest, step
from seatrial.core.membership import BadConfiguration, Change, Configuration
from seatrial.core.replica import Replica
from seatrial.core.tree import BadTree

LEADER = 2                      # of Raft.role
MAX_LAG_ENTRIES = 1000          # of a learner that may be made a voter
OK, NOT_LEADER, BAD_REQUEST, BUSY = (
    STATUSES.index(name) for name in ("ok", "not-leader", "bad-request", "busy"))

T = TypeVar("T")


class Wish(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One wish of a change (membership.Change)."""

    kind: Literal["voter", "learner", "remove", "update"]
    node: NodeId
    address: Annotated[str, Meta(max_length=255)] = ""
    priority: Priority | None = None


class ChangeRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of op change."""

    changes: Annotated[list[Wish], Meta(min_length=1, max_length=64)]
    force: bool = False


class TransferRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of op transfer."""

    node: Annotated[int, Meta(ge=0, le=65535)] = 0      # 0: whoever is best


class SnapshotRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of op snapshot."""


class Refusal(Exception):
    """A request that is answered with this status and line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


def describe_configuration(replica: Replica) -> dict[str, Any]:
    """Return the configuration and how far it is, for ``status``."""
    raft = replica.raft
    found = raft.configuration()
    return {
        "index": raft.config_index, "committed": raft.commit >= raft.config_index,
        "joint": found.joint, "voters": sorted(found.voters), "outgoing": sorted(found.outgoing),
        "learners": sorted(found.learners), "learners_next": sorted(found.learners_next),
        "addresses": {node: address for node, (address, _) in found.details.items()},
        "priorities": {node: priority for node, (_, priority) in found.details.items()},
    }


def administer(
    replica: Replica, connection: int, request: int, op: int, body: bytes, now_ns: int
) -> None:
    """Answer an administrative request: now; a change when committed, a snapshot when durable."""
    raft = replica.raft
    try:
        if op == OPS["snapshot"]:
            _decode(body, SnapshotRequest)
            _snapshot(replica, connection, request)
            return
        if raft.role != LEADER:
            raise Refusal(NOT_LEADER, "")
        if op == OPS["tree"]:
            _change_tree(replica, connection, request, _decode(body, TreeRequest))
        elif op == OPS["change"]:
            _change(replica, connection, request, _decode(body, ChangeRequest))
        else:
            _transfer(replica, _decode(body, TransferRequest).node, now_ns)
            replica.reply(connection, request, OK, b"")
    except Refusal as refusal:
        value = str(refusal).encode()
        if refusal.status == NOT_LEADER:
            value = (raft.leader if raft.role != LEADER else 0).to_bytes(8, "little")
        replica.reply(connection, request, refusal.status, value)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise Refusal(BAD_REQUEST, str(error)) from None


def _snapshot(replica: Replica, connection: int, request: int) -> None:
    if replica.kv.applied == 0:
        raise Refusal(BUSY, "nothing is applied yet")
    if not replica.request_snapshot(connection, request):
        raise Refusal(BUSY, "too many wait for a snapshot already")


# -- the tree of domains ------------------------------------------------------------------------


def _change_tree(replica: Replica, connection: int, request: int, asked: TreeRequest) -> None:
    tree, found = replica.tree(), replica.status()["domain"]
    if tree is None:
        raise Refusal(BAD_REQUEST, "this cluster has no tree of domains, or this node does not"
                      " know it yet")
    if not found["root"]:
        raise Refusal(BAD_REQUEST, f"this is domain {found['id']}: the tree is changed at its"
                      f" root, domain {tree.root}")
    raft = replica.raft
    if raft.commit < raft.term_start:
        raise Refusal(BUSY, "the leader has not committed an entry of its term yet")
    if raft.transfer_to:
        raise Refusal(BUSY, f"leadership is being handed over to node {raft.transfer_to}")
    try:
        done = replica.change_tree(step(asked), connection, request)
    except BadTree as error:
        raise Refusal(BAD_REQUEST, str(error)) from None
    if not done:
        raise Refusal(BUSY, "this leader may not write to the root's log yet")


# -- changes ------------------------------------------------------------------------------------


def _change(replica: Replica, connection: int, request: int, asked: ChangeRequest) -> None:
    raft = replica.raft
    now = raft.configuration()
    if raft.commit < raft.term_start:
        raise Refusal(BUSY, "the leader has not committed an entry of its term yet")
    if raft.commit < raft.config_index or now.joint:
        raise Refusal(BUSY, "the change before this one is not in force yet")
    if raft.transfer_to:
        raise Refusal(BUSY, f"leadership is being handed over to node {raft.transfer_to}")
    for wish in asked.changes:
        _check_wish(now, wish)
    if not asked.force:
        _check_lag(replica, now, asked.changes)
        _check_majority(replica, now, asked.changes)
    try:
        replica.change(
            [Change(wish.kind, wish.node, wish.address, wish.priority) for wish in asked.changes],
            connection, request)
    except BadConfiguration as error:
        raise Refusal(BAD_REQUEST, str(error)) from None


def _check_wish(now: Configuration, wish: Wish) -> None:
    if wish.address:
        try:
            parse_address(wish.address)
        except ValueError as error:
            raise Refusal(BAD_REQUEST, f"node {wish.node}: {error}") from None
    member = wish.node in now.nodes
    if wish.kind in ("remove", "update") and not member:
        raise Refusal(BAD_REQUEST, f"node {wish.node} is not a member")
    if not member and not wish.address:
        raise Refusal(BAD_REQUEST, f"node {wish.node} is new: it needs an address")


def _check_lag(replica: Replica, now: Configuration, wishes: list[Wish]) -> None:
    peers = replica.status()["peers"]
    for wish in wishes:
        if wish.kind != "voter" or wish.node in now.voters:
            continue
        seen = peers.get(wish.node)
        if seen is None:
            raise Refusal(
                BAD_REQUEST, f"node {wish.node} is no learner yet: add it as one first, so that"
                " it catches up (or force it)")
        if not seen["connected"]:
            raise Refusal(
                BAD_REQUEST, f"node {wish.node} is not connected: as a voter it could cost the"
                " majority (or force it)")
        lag = replica.raft.commit - seen["match_index"]
        if lag > MAX_LAG_ENTRIES:
            raise Refusal(
                BAD_REQUEST, f"node {wish.node} is {lag} entries behind, more than"
                f" {MAX_LAG_ENTRIES}: wait until it has caught up (or force it)")


def _check_majority(replica: Replica, now: Configuration, wishes: list[Wish]) -> None:
    voters = set(now.voters)
    for wish in wishes:
        if wish.kind == "voter":
            voters.add(wish.node)
        elif wish.kind != "update":
            voters.discard(wish.node)
    if voters == now.voters:
        return
    peers = replica.status()["peers"]
    there = sum(node == replica.raft.node or peers.get(node, {}).get("connected", False)
                for node in voters)
    if voters and there <= len(voters) // 2:
        raise Refusal(
            BAD_REQUEST, f"only {there} of the voters {sorted(voters)} would be connected: no"
            " majority (or force it)")


# -- leadership -----------------------------------------------------------------------------------


def _transfer(replica: Replica, node: int, now_ns: int) -> None:
    raft = replica.raft
    if node == raft.node:
        return
    voters = raft.configuration().voters
    peers = replica.status()["peers"]
    node = node or _best(raft.node, voters, peers)
    if node not in voters:
        raise Refusal(BAD_REQUEST, f"node {node} is not a voter: it can't lead")
    if not peers[node]["connected"]:
        raise Refusal(BAD_REQUEST, f"node {node} is not connected to the leader")
    if not replica.transfer(node, now_ns):
        raise Refusal(BUSY, f"leadership is being handed over to node {raft.transfer_to}")


def _best(leader: int, voters: frozenset[int], peers: dict[int, dict[str, Any]]) -> int:
    """Return the connected voter that has most of the log."""
    there = [node for node in sorted(voters - {leader}) if peers[node]["connected"]]
    if not there:
        raise Refusal(BAD_REQUEST, "no other voter is connected to the leader")
    return max(there, key=lambda node: int(peers[node]["match_index"]))
