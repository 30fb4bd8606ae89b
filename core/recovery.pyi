from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from seatrial.core.retention import Retention

class Frame(NamedTuple):
    path: Path
    offset: int
    term: int
    vote: int
    base: tuple[int, int]
    entries: int
    records: bytes
    seal: bool

class Repair(NamedTuple):
    sequence: int
    offset: int
    size: int
    zeros: bool

class Damage(NamedTuple):
    path: Path
    offset: int
    what: str

class Snapshot(NamedTuple):
    last_index: int
    last_term: int
    records: bytes

class Recovered(NamedTuple):
    term: int
    vote: int
    records: bytes
    first_index: int
    base_term: int
    last_index: int
    snapshot: Snapshot | None
    partial: Snapshot | None
    damaged_until: int
    damaged_term: int
    damage: tuple[Damage, ...]
    frames: int
    segments: int
    voided: int
    end_sequence: int
    end_offset: int
    torn: int
    torn_frame: bool
    prepared: int
    repairs: tuple[Repair, ...]

def segment_path(directory: Path, sequence: int) -> Path: ...
def list_segments(directory: Path) -> list[tuple[int, Path]]: ...
def read_segment(path: Path) -> bytes: ...
def header_of(sequence: int, path: Path, data: bytes) -> tuple[int, bool]: ...
def broken_frames(sequence: int, path: Path, data: bytes) -> list[Damage]: ...
def recover_images(
    images: Iterable[tuple[int, Path, bytes]], visit: Callable[[Frame], None] | None = None,
    retention: Retention | None = None,
) -> Recovered: ...
def recover(
    directory: Path, visit: Callable[[Frame], None] | None = None,
    retention: Retention | None = None,
) -> Recovered: ...
