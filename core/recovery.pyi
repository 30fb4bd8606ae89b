from collections.abc import Callable
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

def segment_path(directory: Path, sequence: int) -> Path: ...
def list_segments(directory: Path) -> list[tuple[int, Path]]: ...
def recover(directory: Path, visit: Callable[[Frame], None] | None = None) -> Recovered: ...
