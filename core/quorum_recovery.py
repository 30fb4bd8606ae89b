"""A cluster that lost the majority of its voters for ever goes on with what its survivors hold.

This is outside of Raft: an entry that was committed by a majority of which no survivor is one is
lost, and nobody can tell which. So it is never done by itself, and each step says what it may cost
(recover_command.py). The way is CockroachDB's (collect, plan, apply), not etcd's
``force-new-cluster`` or Consul's ``peers.json``, because those take one survivor without looking at
the others:

1. ``collect``: each stopped survivor says what it holds;
2. ``make_plan``: the same on every survivor, from what all of them said. The one whose log is the
   most up to date (paper, 5.4.1) holds every entry that any of them holds and that was committed;
3. ``apply`` on that one: its state, all its entries applied, becomes the snapshot that a new log
   begins with, its configuration the survivors alone. On the others: nothing but the new life is
   noted; they follow, and their leader replaces what differs.

What keeps the lost ones from ever being a second majority beside the new one:

* the *life* of the cluster, one higher, which members prove to each other as they connect
  (handshake.py). A node of an older life stops as soon as it meets one of a newer;
* the term, which is far beyond any that the lost may have reached, and so are index and root index:
  no session's id, fencing token or entry of theirs can be taken for one of the new life. (A
  token that the lost gave away is older than any that comes now.)

What can't be prevented: a majority of the old voters that comes back where it reaches none of the
survivors works, for clients that find it. So the lost must be destroyed, or kept from clients.

All or nothing: the new log is built beside the old one; from the moment in which the identity names
the new life, marked as unfinished, no node starts on the directory, and ``apply`` given again
finishes it. Before that moment nothing has changed. The old log is kept beside the new one.
"""
from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec

from seatrial.core.codec import describe_record, encode_record, split_records
from seatrial.core.config import Settings
from seatrial.core.errors import ConfigError, InvariantViolation, NodeError
from seatrial.core.handshake import Life
from seatrial.core.identity import Identity, read_identity, write_identity
from seatrial.core.kv import KeyValue
from seatrial.core.links import initial_configuration
from seatrial.core.membership import Configuration
from seatrial.core.recovery import Snapshot, list_segments, recover
from seatrial.core.segment_files import sync_directory
from seatrial.core.verification import FLAGS_AT, LAST_CHUNK, RECORD_BYTES, Member, stopped
from seatrial.core.wal import Wal

AHEAD = 1 << 20                 # of terms and indexes that the lost may have given away
NEW, OLD = "wal.new", "wal.life"
KIND_SNAPSHOT = 5
EPOCH = 1 << 16
MAX_LIFE = 255                  # a byte of the handshake


class Survivor(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a stopped node holds."""

    cluster: str
    node: int
    store: str
    life: int
    mark: int
    term: int
    last_index: int
    last_term: int
    snapshot_index: int
    state_hash: str             # after the last entry
    config_index: int
    configuration: bytes        # the newest in its log, as a CONFIG entry's payload

    @property
    def members(self) -> Configuration:
        """Return the configuration."""
        return Configuration.decode(self.configuration)

    @property
    def up_to_date(self) -> tuple[int, int]:
        """Return what logs are compared by."""
        return self.last_term, self.last_index


class Plan(NamedTuple):
    """What is to become of the survivors."""

    best: Survivor
    survivors: list[Survivor]
    configuration: Configuration
    life: Life
    term: int
    last_index: int             # that the new log begins after
    lost: list[int]


# -- looking ---------------------------------------------------------------------------------------


def _demand_plain(settings: Settings) -> None:
    """Refuse a node of a tree: what is rebuilt here knows nothing of other domains' entries."""
    if settings.config.domain is not None:
        raise ConfigError("domain: a node of a tree of domains can't be recovered so yet")


def collect(settings: Settings) -> Survivor:
    """Return what a stopped node holds. Raises NodeError where it is damaged."""
    _demand_plain(settings)
    member = Member(settings.data)
    return _collected(settings, member)


def _collected(settings: Settings, member: Member) -> Survivor:
    found = member.check()
    if found["problems"]:
        raise NodeError(f"{settings.data}: {found['problems'][0]} (`verify` says it all)")
    owner = member.identity
    if owner is None or (owner.cluster, owner.node) != (settings.cluster, settings.node):
        raise ConfigError(f"{settings.data} is not the data of node {settings.node} of"
                          f" {settings.cluster!r}")
    if owner.unfinished:
        raise NodeError(f"{settings.data}: a recovery was begun and not finished")
    assert member.log is not None
    if member.log.last_index == 0:
        raise NodeError(f"{settings.data} holds no entry")
    known = member.configurations()
    index, payload = known[-1] if known else (0, initial_configuration(settings).encode())
    last_term = member.terms[member.log.last_index][0] if member.terms else member.log.base_term
    return Survivor(
        owner.cluster, owner.node, owner.store, owner.life, owner.mark, member.log.term,
        member.log.last_index, last_term, member.snapshot_index, found["state"]["hash"], index,
        payload)


# -- deciding --------------------------------------------------------------------------------------


def make_plan(survivors: list[Survivor]) -> Plan:
    """Return what is to be done, the same whoever asks. Raises ConfigError: it may not be."""
    survivors = sorted(survivors, key=lambda one: one.node)
    first, nodes = survivors[0], [one.node for one in survivors]
    if len(set(nodes)) < len(nodes):
        raise ConfigError(f"a node was given twice: {nodes}")
    for one in survivors:
        if (one.cluster, one.life, one.mark) != (first.cluster, first.life, first.mark):
            raise ConfigError(f"node {one.node} is of life {one.life} of {one.cluster!r}, node"
                              f" {first.node} of life {first.life} of {first.cluster!r}")
    best = max(survivors, key=lambda one: (one.up_to_date, -one.node))
    before = best.members
    if _majority(before, set(nodes)):
        raise ConfigError(f"{nodes} are a majority of the voters {sorted(before.voters)}: start"
                          " them, nothing needs to be lost")
    others = set(nodes) - {best.node}
    for one in survivors:
        if one.node != best.node and _majority(one.members, others):
            raise ConfigError(f"{sorted(others)} are a majority of the voters that node"
                              f" {one.node} knows, {sorted(one.members.voters)}: start them")
    for node in nodes:
        if node not in before.nodes:
            raise ConfigError(f"node {node} is no member by node {best.node}'s log")
    voters = [node for node in nodes if node not in before.learners]
    after = Configuration(
        voters or [best.node], learners=set(nodes) - set(voters or [best.node]),
        details={node: before.details[node] for node in nodes if node in before.details})
    if first.life >= MAX_LIFE:
        raise ConfigError(f"a cluster can't be recovered more than {MAX_LIFE} times")
    mark = hashlib.sha256(msgspec.json.encode(survivors)).digest()
    return Plan(
        best, survivors, after, Life(first.life + 1, int.from_bytes(mark[:2], "little") or 1),
        max(one.term for one in survivors) + AHEAD, best.last_index + AHEAD,
        sorted(before.nodes - set(nodes)))


def _majority(members: Configuration, there: set[int]) -> bool:
    """Return whether these nodes could decide something in a configuration."""
    return all(2 * len(half & there) > len(half)
               for half in (members.voters, members.outgoing) if half)


def describe(plan: Plan) -> str:
    """Say what the plan does and what it may cost."""
    best = plan.best
    lines = [f"life {plan.life.number} of {best.cluster!r} begins with what node {best.node} holds:"
             f" entries up to {best.last_index} of term {best.last_term}"]
    lines += [f"node {one.node} follows; it holds entries up to {one.last_index} of term"
              f" {one.last_term}, and what differs from node {best.node}'s is dropped"
              for one in plan.survivors if one.node != best.node]
    return "\n".join([
        *lines,
        f"members from then on: {plan.configuration}; gone for ever: nodes {plan.lost}",
        f"MAY BE LOST: whatever clients were told was done and only nodes {plan.lost} hold: after"
        f" entry {best.last_index}; how much it is, nobody can know",
        f"counts as done from then on: all that node {best.node} holds, though some of it may never"
        " have been committed",
    ])


# -- doing -----------------------------------------------------------------------------------------


def apply(settings: Settings, survivors: list[Survivor]) -> str:
    """Bring one stopped survivor into the new life; return what was done. May be given again."""
    _demand_plain(settings)
    plan = make_plan(survivors)
    mine = next((one for one in plan.survivors if one.node == settings.node), None)
    if mine is None:
        raise ConfigError(f"node {settings.node} is none of the survivors that were given")
    owner = read_identity(settings.data)
    if owner is not None and (owner.life, owner.mark) == plan.life:
        if not owner.unfinished:
            return f"node {mine.node} is of life {plan.life.number} already"
        _finish(settings.data, owner)
        return f"node {mine.node}: what was begun is finished: life {plan.life.number}"
    member = Member(settings.data)
    if _collected(settings, member) != mine:
        raise ConfigError(f"node {mine.node} no longer holds what was collected: collect it again,"
                          " and give all survivors the same files")
    assert owner is not None
    with stopped(member.directory):
        owner = msgspec.structs.replace(owner, life=plan.life.number, mark=plan.life.mark)
        if mine.node != plan.best.node:
            write_identity(settings.data, owner)
            return f"node {mine.node} is of life {plan.life.number} and follows"
        _build(settings.data / NEW, member, plan)
        owner = msgspec.structs.replace(owner, unfinished=True)
        write_identity(settings.data, owner)            # from here on there is no way back
        _finish(settings.data, owner)
    return f"node {mine.node} is of life {plan.life.number}: what it holds is what there is"


def _build(directory: Path, member: Member, plan: Plan) -> None:
    """Make the new log: one snapshot of all that this member holds. Raises on any doubt."""
    shutil.rmtree(directory, ignore_errors=True)        # of an attempt that came to nothing
    assert member.log is not None
    machine, _ = member.state()
    machine.skip(AHEAD)
    machine.begin_snapshot(plan.configuration.encode())
    size = list_segments(member.directory)[-1][1].stat().st_size
    rindex = _last_rindex(member) + AHEAD
    wal = Wal.open(directory, segment_bytes=size)
    try:
        offset, number, last = 0, 0, False
        while not last:
            data, crc, last = machine.next_chunk()
            number += 1
            wal.submit(number, plan.term, 0, 0, b"", 0, 0, encode_record(
                plan.last_index, plan.term, KIND_SNAPSHOT, data, client=crc, sequence=offset,
                rindex=rindex, epoch=EPOCH, rterm=plan.term, flags=LAST_CHUNK if last else 0))
            wal.finish()
            offset += len(data)
    finally:
        wal.close()
    sync_directory(directory.parent)
    _prove(directory, machine, plan)


def _last_rindex(member: Member) -> int:
    assert member.log is not None
    newest = member.records[-1:]
    if not newest and isinstance(member.log.snapshot, Snapshot):
        newest = split_records(member.log.snapshot.records)[:1]
    return int(describe_record(newest[0])["rindex"])


def _prove(directory: Path, machine: KeyValue, plan: Plan) -> None:
    """Read the new log back: it must give the state that went in."""
    log, read = recover(directory), KeyValue()
    if not isinstance(log.snapshot, Snapshot):
        raise InvariantViolation(f"{directory} holds no snapshot")
    block = read.load((chunk[RECORD_BYTES:], describe_record(chunk)["client"],
                       bool(chunk[FLAGS_AT] & LAST_CHUNK))
                      for chunk in split_records(log.snapshot.records))
    if (read.hash(), block, log.term, log.last_index) != (
            machine.hash(), plan.configuration.encode(), plan.term, plan.last_index):
        raise InvariantViolation(f"{directory} does not hold what was written")


def _finish(data: Path, owner: Identity) -> None:
    """Put the new log in the old one's place, which is kept."""
    new, log = data / NEW, data / "wal"
    if new.is_dir():
        if log.is_dir():
            log.rename(data / f"{OLD}{owner.life - 1}")
        new.rename(log)
        sync_directory(data)
    write_identity(data, msgspec.structs.replace(owner, unfinished=False))
