from pathlib import Path
from typing import NamedTuple

from seatrial.core.recovery import Recovered

DEFAULT_SEGMENT_BYTES: int
MIN_SEGMENT_BYTES: int

class WalStats(NamedTuple):
    syncs: int
    bytes: int
    sync_ns: int
    sync_us_log2: tuple[int, ...]
    group_bytes_log2: tuple[int, ...]
    freed: int
    recycled: int

class Wal:
    directory: Path
    recovered: Recovered
    repairs: list[str]
    done_fd: int
    durable: int
    segment: int
    freed: int
    recycled: int
    @classmethod
    def open(
        cls, directory: str | Path, *, segment_bytes: int = ..., create: bool = True,
        damaged: bool = False,
    ) -> Wal: ...
    @property
    def tidy(self) -> bool: ...
    @property
    def roomy(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    def submit(
        self, seq: int, term: int, vote: int, count: int, records: bytes, base: int = 0,
        base_term: int = 0, chunk: bytes = b"", first: int = 0, *, inline: bool = False,
    ) -> bool: ...
    def completed(self) -> int: ...
    def finish(self) -> int: ...
    def stats(self) -> WalStats: ...
    def close(self) -> None: ...
