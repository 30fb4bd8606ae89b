"""``verify``: whether a stopped node's data is all there, and whether members' data agree.

Of one directory: every segment, frame and record by its checks (inspection.py); that the newest
snapshot's chunks make one stream, which loads into a state machine and gives the hash that it
names; that the entries after it follow each other, can be applied, and give the hashes that the
leader's clock entries tell; the configurations that were in force.

Of several, given together: where their logs part, and whether their states are equal at the last
entry that all of them hold.

It only reads, and takes the log's lock, so that no node runs on what is being read. Entries that
are not committed are applied as well: nobody can tell them apart on a disk.
"""
from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from seatrial.core import identity, inspection
from seatrial.core.codec import describe_record, split_records
from seatrial.core.errors import CorruptSnapshot, DirectoryInUse, InvariantViolation, WalError
from seatrial.core.kv import KeyValue
from seatrial.core.membership import BadConfiguration, Configuration
from seatrial.core.recovery import Frame, Recovered, Snapshot, list_segments, recover
from seatrial.core.segment_files import LOCK

RECORD_BYTES = 72
FLAGS_AT, LAST_CHUNK = 65, 1            # of a chunk's record
BLOCK_END = 0xD04E49414D4F4401.to_bytes(8, "little")
KEEP_AT = RECORD_BYTES + 16             # of an adoption (mirror.pxd)
OFFSET_AT, CRC_AT, PIECE_AT = (RECORD_BYTES + at for at in (24, 32, 40))    # of a piece

Found = dict[str, Any]


@contextlib.contextmanager
def stopped(directory: Path) -> Iterator[None]:
    """Hold a log's lock, so that nobody else uses it. Raises DirectoryInUse."""
    try:
        fd = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:                     # a copy of the segments alone, or one that we may not lock
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DirectoryInUse(
            f"the log in {directory} is open in another process: stop the node first") from None
    finally:
        os.close(fd)


def root_entries(records: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the root's entries that hold after these of one domain's log, and the pieces of the
    newest snapshot that came down its link, which they follow (mirror.pyx)."""
    held: list[bytes] = []
    pieces: list[bytes] = []
    base: list[bytes] = []
    for record in records:
        seen = describe_record(record)
        if seen["kind"] == "adopt":         # what the mirror held beyond `keep` is void
            keep = int.from_bytes(record[KEEP_AT:KEEP_AT + 8], "little")
            while held and describe_record(held[-1])["rindex"] > keep:
                held.pop()
        elif seen["kind"] == "piece":
            if int.from_bytes(record[OFFSET_AT:OFFSET_AT + 8], "little") == 0:
                pieces = []
            pieces.append(record)
        elif seen["kind"] == "base":
            held, base = [], pieces
        elif seen["rindex"]:
            held.append(record)
    return held, base


def members_of(block: bytes) -> bytes:
    """Return the configuration that a snapshot's block holds: of a domain's only its first part
    (raft_snapshots.pxd, BlockEnd)."""
    if block[-8:] != BLOCK_END:
        return block
    return block[:int.from_bytes(block[-16:-12], "little")]


class Member:
    """One node's data, read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = inspection.log_directory(path)
        self.problems: list[str] = []
        self.segments: dict[str, Found] = {}
        self.log: Recovered | None = None
        self.terms: dict[int, tuple[int, int]] = {}     # of each entry: its term and check
        self._block = b""                               # the snapshot's configuration
        with stopped(self.directory):
            self.found = inspection.verify(self.directory)
            for _, segment in list_segments(self.directory):
                self.segments[segment.name] = {
                    "segment": segment.name, "bytes": segment.stat().st_size, "frames": 0,
                    "first": 0, "last": 0, "chunks": 0}
            with contextlib.suppress(WalError):         # which is in ``found``
                self.log = recover(self.directory, self._seen)
        self.identity = identity.read_identity(path)
        if self.log is not None:
            self.records = split_records(self.log.records)
            for record in self.records:
                seen = describe_record(record)
                self.terms[seen["index"]] = seen["term"], seen["crc"]

    def _seen(self, frame: Frame) -> None:
        """Count a frame in its segment."""
        segment = self.segments[frame.path.name]
        segment["frames"] += 1
        for record in split_records(frame.records):
            seen = describe_record(record)
            if seen["kind"] == "snapshot":
                segment["chunks"] += 1
            else:
                segment["first"] = min(segment["first"] or seen["index"], seen["index"])
                segment["last"] = seen["index"]

    @property
    def snapshot_index(self) -> int:
        """Return the entry that the newest snapshot ends with; 0: there is none."""
        found = self.log and self.log.snapshot
        return found.last_index if isinstance(found, Snapshot) else 0

    def state(self, until: int | None = None) -> tuple[KeyValue, bytes]:
        """Return the state after entry ``until`` (the last), and the snapshot's configuration.

        Raises CorruptSnapshot and InvariantViolation.
        """
        assert self.log is not None
        machine, block = KeyValue(), b""
        if isinstance(self.log.snapshot, Snapshot):
            chunks = split_records(self.log.snapshot.records)
            block = machine.load(
                (chunk[RECORD_BYTES:], describe_record(chunk)["client"],
                 bool(chunk[FLAGS_AT] & LAST_CHUNK)) for chunk in chunks)
        records = self.records if until is None else [
            record for record in self.records if describe_record(record)["index"] <= until]
        entries, pieces = root_entries(records)
        if pieces:
            machine = KeyValue()
            machine.load((piece[PIECE_AT:], int.from_bytes(piece[CRC_AT:CRC_AT + 4], "little"),
                          piece is pieces[-1]) for piece in pieces)
        for record in entries:
            if describe_record(record)["rindex"] > machine.applied:
                machine.execute(record)
        return machine, block

    def check(self) -> Found:
        """Return all that is known of it; ``problems`` is empty when all is well."""
        found = self.found | {
            "path": str(self.path), "identity": self.identity and msgspec.structs.asdict(
                self.identity), "segment_table": list(self.segments.values()),
            "problems": self.problems}
        self.problems += [f"{d['segment']} @{d['offset']}: {d['what']}" for d in found["damage"]]
        if found["refused"]:
            self.problems.append(found["refused"])
        if self.log is None:
            return found
        try:
            machine, block = self.state()
        except (CorruptSnapshot, InvariantViolation) as error:
            self.problems.append(str(error))
            return found
        found["state"] = {
            "index": machine.applied, "hash": f"{machine.hash():016x}",
            "keys": len(machine.items()), "sessions": machine.session_count(),
            "locks": machine.lock_count()}
        self._block = members_of(block)
        found["configurations"] = self._configurations()
        return found

    def configurations(self) -> list[tuple[int, bytes]]:
        """Return (entry, payload) of the snapshot's configuration and those after it; only after
        ``check``."""
        return [*([(self.snapshot_index, self._block)] if self._block else []),
                *((seen["index"], record[RECORD_BYTES:])
                  for record, seen in ((each, describe_record(each)) for each in self.records)
                  if seen["index"] > self.snapshot_index and self._is_own(seen))]

    def _is_own(self, seen: Found) -> bool:
        """Return whether a record holds a configuration of this domain, not the root's of a
        child's."""
        domain = self.identity.domain if self.identity is not None else 1
        return seen["kind"] == "config" and (
            not seen["rindex"] or int(seen["epoch"]) & 0xFFFF == domain)

    def _configurations(self) -> list[Found]:
        out = []
        for index, payload in self.configurations():
            try:
                out.append({"index": index, "configuration": str(Configuration.decode(payload))})
            except BadConfiguration as error:
                self.problems.append(f"the configuration of entry {index}: {error}")
        return out


def compare(members: list[Member]) -> Found:
    """Return where members' logs part and whether their states are equal before that."""
    logs = [member for member in members if member.log is not None]
    if len(logs) < 2:
        return {"index": 0, "hashes": {}, "problems": ["fewer than two logs can be read"]}
    low = max(member.snapshot_index for member in logs)
    high = min(member.log.last_index for member in logs if member.log is not None)
    index = high
    while index > low and len({member.terms.get(index) for member in logs}) > 1:
        index -= 1
    if index < low or index == 0:
        return {"index": 0, "hashes": {}, "problems": [
            f"nothing to compare: one snapshot ends with entry {low}, one log with entry {high}"]}
    hashes, problems = {}, []
    for member in logs:
        try:
            hashes[str(member.path)] = f"{member.state(index)[0].hash():016x}"
        except (CorruptSnapshot, InvariantViolation) as error:
            problems.append(f"{member.path}: {error}")
    if len(set(hashes.values())) > 1:
        problems.append(f"the states after entry {index} differ")
    for member in logs:
        different = [i for i, of in member.terms.items() if i <= index and any(
            of[0] == other.terms[i][0] and of[1] != other.terms[i][1]
            for other in logs if i in other.terms)]
        if different:
            problems.append(
                f"{member.path}: entry {different[0]} has the term of another member's, but not"
                " its bytes")
    return {"index": index, "hashes": hashes, "problems": problems}


def render(found: Found) -> str:
    """Return one member's data as a person reads it."""
    owner = found["identity"]
    lines = [found["path"] + (f": node {owner['node']} of {owner['cluster']}" if owner else "")]
    lines.append(f"  {'segment':<20} {'bytes':>10} {'frames':>8} {'entries':>17} {'chunks':>7}")
    for segment in found["segment_table"]:
        entries = f"{segment['first']}..{segment['last']}" if segment["first"] else ""
        lines.append(f"  {segment['segment']:<20} {segment['bytes']:>10} {segment['frames']:>8}"
                     f" {entries:>17} {segment['chunks']:>7}")
    lines += [f"  {line}" for line in inspection.summary_lines(found)]
    if "state" in found:
        state = found["state"]
        lines.append(
            f"  state after entry {state['index']}: {state['keys']} keys, {state['sessions']}"
            f" sessions, {state['locks']} locks, hash {state['hash']}")
        lines += [f"  configuration of entry {one['index']}: {one['configuration']}"
                  for one in found["configurations"]]
    lines += [f"  {problem}" for problem in found["problems"]]
    return "\n".join([*lines, "damaged" if found["problems"] else "good"])


def render_compared(found: Found) -> str:
    """Return the comparison as a person reads it."""
    lines = [f"{path}: state after entry {found['index']}: {value}"
             for path, value in found["hashes"].items()]
    return "\n".join([*lines, *found["problems"], "different" if found["problems"] else "equal"])
