"""What the tests of the write-ahead log share: records, groups, and a log to damage."""
from __future__ import annotations

import time
from pathlib import Path

from seatrial.core.codec import describe_record, encode_record, split_records
from seatrial.core.recovery import Frame, Recovered, recover, segment_path
from seatrial.core.wal import Wal

SEGMENT = 4096


def record(index: int, term: int = 1, payload: bytes = b"") -> bytes:
    """Return a record whose payload tells it apart from others with its index."""
    return encode_record(index, term, 0, payload or b"%d in term %d" % (index, term))


def group(first: int, count: int, term: int = 1, size: int = 0) -> bytes:
    """Return ``count`` records from ``first`` on, concatenated."""
    return b"".join(
        record(i, term, b"%d/%d" % (i, term) + bytes(size)) for i in range(first, first + count))


class Ends:
    """Knows of a log's entries by term, so that each group write can say after which it goes."""

    def __init__(self, found: Recovered | None = None) -> None:
        self.terms = {0: 0}
        if found is not None:
            self.terms = {found.first_index - 1: found.base_term}
            self.note(found.records)

    def note(self, records: bytes) -> tuple[int, int]:
        """Take in a group write's entries; return its base."""
        entries = [describe_record(record) for record in split_records(records)]
        base = entries[0]["index"] - 1 if entries else max(self.terms)
        base_term = self.terms.get(base, 0)
        self.terms = {index: term for index, term in self.terms.items() if index <= base}
        self.terms |= {entry["index"]: entry["term"] for entry in entries}
        return base, base_term


def write_groups(directory: Path, groups: list[tuple[int, int, bytes]]) -> None:
    """Write (term, vote, records) one after the other, and let the next segment be made."""
    wal = Wal.open(directory, segment_bytes=SEGMENT)
    ends = Ends(wal.recovered)
    try:
        for seq, (term, vote, records) in enumerate(groups, 1):
            wal.submit(seq, term, vote, len(split_records(records)), records,
                       *ends.note(records), inline=True)
            wal.finish()
        while not segment_path(directory, wal.segment + 1).exists():
            time.sleep(0.001)
    finally:
        wal.close()


def reopen(directory: Path) -> tuple[Recovered, list[str]]:
    """Open the log for writing, as a node does, and close it; return what it recovered."""
    wal = Wal.open(directory, segment_bytes=SEGMENT)
    wal.close()
    return wal.recovered, wal.repairs


def frames(directory: Path) -> list[Frame]:
    """Return all frames of the log in order."""
    found: list[Frame] = []
    recover(directory, found.append)
    return found
