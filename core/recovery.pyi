from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

class Frame(NamedTuple):
    path: Path
    offset: int
    term: int
    vote: int
    entries: int
    records: bytes
    seal: bool

class Repair(NamedTuple):
    sequence: int
    offset: int
    size: int
    zeros: bool

class Recovered(NamedTuple):
    term: int
    vote: int
    records: bytes
    first_index: int
    last_index: int
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
def recover_images(
    images: Iterable[tuple[int, Path, bytes]], visit: Callable[[Frame], None] | None = None
) -> Recovered: ...
def recover(directory: Path, visit: Callable[[Frame], None] | None = None) -> Recovered: ...
