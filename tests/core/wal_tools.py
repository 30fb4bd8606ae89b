"""What the tests of the write-ahead log share: records, groups, and a log to damage."""
from __future__ import annotations

import time
from pathlib import Path

from seatrial.core.codec import encode_record, split_records
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


def write_groups(directory: Path, groups: list[tuple[int, int, bytes]]) -> None:
    """Write (term, vote, records) one after the other, and let the next segment be made."""
    wal = Wal.open(directory, segment_bytes=SEGMENT)
    try:
        for seq, (term, vote, records) in enumerate(groups, 1):
            wal.submit(seq, term, vote, len(split_records(records)), records, inline=True)
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
