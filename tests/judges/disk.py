"""A node's disk in the differential test: what recovery.pyx would give back, without files."""
from __future__ import annotations

import struct
import zlib

NOOP, DATA, CONFIG = 0, 1, 3        # as both sides name them
RECORD = struct.Struct("<I4xQQ24xQ8xB")         # length, index, term, client, kind
CHUNK = struct.Struct("<I4xQQ32xQB")            # length, index, term, where it begins, kind
RECORD_SIZE, LAST_CHUNK_AT = 72, 65             # bytes before the payload; where the flags are
SUMMED = struct.Struct("<QQB")


def is_last(chunk: bytes) -> bool:
    """Whether a chunk is its snapshot's last."""
    return bool(chunk[LAST_CHUNK_AT] & 1)


class Disk:
    """What survives a crash, and a sum of entries 1..i for every i that it holds."""

    def __init__(self, sums: dict[tuple[int, int], int]) -> None:
        self.term = self.vote = 0
        self.first, self.base_term = 1, 0
        self.records: list[bytes] = []
        self.entries: list[tuple[int, int, int, int]] = []      # index, term, kind, id
        self.sums = [0]                 # the first: of what came before the log
        self.known = sums               # of the entries that a snapshot stands for, by its last
        self.chunks: list[bytes] = []   # of a snapshot that is not complete
        self.size = 0                   # of these
        self.broken = False             # a connection or a process ended amidst them
        self.resumed = 0                # times that such a snapshot was gone on with
        self.snapshot = (0, 0, b"")     # index, term, chunks

    @property
    def last(self) -> int:
        return self.first + len(self.records) - 1

    def term_at(self, index: int) -> int:
        return self.base_term if index == self.first - 1 else self.entries[index - self.first][1]

    def holds(self, index: int, term: int) -> bool:
        return self.first - 1 <= index <= self.last and self.term_at(index) == term

    def write(self, term: int, vote: int, records: bytes, chunk: bytes) -> None:
        self.term, self.vote = term, vote
        if chunk:
            self.take_chunk(chunk)
        at = 0
        while at < len(records):
            length, index, entry_term, client, kind = RECORD.unpack_from(records, at)
            if kind == CONFIG and entry_term > self.term_at(index - 1):
                kind = NOOP     # the first leader's, which says what the members' files did
            kind = NOOP if kind == NOOP else CONFIG if kind == CONFIG else DATA
            client = client if kind == DATA else 0
            assert self.first <= index <= self.last + 1, "a write left a gap"
            place = index - self.first
            del self.records[place:], self.entries[place:], self.sums[place + 1:]
            self.records.append(records[at:at + length])
            self.entries.append((index, entry_term, kind, client))
            self.sums.append(zlib.crc32(SUMMED.pack(entry_term, client, kind), self.sums[-1]))
            at += length

    def take_chunk(self, chunk: bytes) -> None:
        """Add to a snapshot; one that is complete voids a log that isn't its own (recovery.pyx)."""
        length, index, term, begins, _ = CHUNK.unpack_from(chunk)
        if begins == 0:
            self.chunks, self.size = [], 0
        self.resumed += self.broken and begins > 0
        self.broken = False
        assert begins == self.size, "a chunk that continues nothing"
        assert not self.chunks or self.partial()[:2] == (index, term), "chunks of two snapshots"
        self.chunks.append(chunk)
        self.size += length - RECORD_SIZE
        if not is_last(chunk):
            return
        self.snapshot = index, term, b"".join(self.chunks)
        self.chunks, self.size = [], 0
        if self.holds(index, term):
            found = self.sums[index + 1 - self.first]
            assert self.known.setdefault((index, term), found) == found, "not the same log"
        else:
            self.first, self.base_term = index + 1, term
            self.records, self.entries, self.sums = [], [], [self.known[index, term]]

    def trim(self, first: int) -> None:
        """The entries before ``first`` are needless."""
        dropped = first - self.first
        if dropped > 0:
            self.base_term = self.term_at(first - 1)
            self.first = first
            del self.records[:dropped], self.entries[:dropped], self.sums[:dropped]

    def partial(self) -> tuple[int, int, bytes]:
        """What there is of a snapshot that is not complete."""
        _, index, term, _, _ = CHUNK.unpack_from(self.chunks[0])
        return index, term, b"".join(self.chunks)
