"""Looking into a node's log without the node: what ``dump-wal`` and ``verify`` print.

Both only read. On the log of a running node the newest group write may be in flight; it then
looks torn.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from seatrial.core.codec import describe_record, split_records
from seatrial.core.errors import NodeError
from seatrial.core.recovery import Frame, list_segments, recover

SHOWN_BYTES = 32


def log_directory(path: Path) -> Path:
    """Return the log's directory, given it or the node's data directory."""
    directory = path / "wal" if (path / "wal").is_dir() else path
    if not list_segments(directory):
        raise NodeError(f"no write-ahead log in {path}")
    return directory


def shorten(value: Any) -> Any:
    """Return bytes as text of a length that fits a line; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    text = value[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return text if len(value) <= SHOWN_BYTES else f"{text}... ({len(value)} bytes)"


def describe_frame(frame: Frame) -> dict[str, Any]:
    """Return one frame as it is shown in JSON."""
    return {
        "segment": frame.path.name, "offset": frame.offset, "term": frame.term,
        "vote": frame.vote, "seal": frame.seal,
        "records": [
            {name: shorten(value) for name, value in describe_record(record).items()}
            for record in split_records(frame.records)
        ],
    }


def frame_line(frame: dict[str, Any]) -> str:
    """Return one frame as a person reads it."""
    head = (f"{frame['segment']} @{frame['offset']} term {frame['term']} vote {frame['vote']}"
            + (" sealed" if frame["seal"] else ""))
    lines = [
        "  " + " ".join(f"{name}={value}" for name, value in record.items())
        for record in frame["records"]
    ]
    return "\n".join([head, *lines])


def dump(path: Path, emit: Callable[[str], None], *, as_json: bool) -> None:
    """Emit every frame and its records, oldest first, a line each."""
    def show(frame: Frame) -> None:
        shown = describe_frame(frame)
        emit(msgspec.json.encode(shown).decode() if as_json else frame_line(shown))

    recover(log_directory(path), show)


def verify(path: Path) -> dict[str, Any]:
    """Check every byte of the log; return what is in it. Raises WalError."""
    found = recover(log_directory(path))
    left_out = ("records", "repairs")
    return {name: value for name, value in found._asdict().items() if name not in left_out}


def render_verified(found: dict[str, Any]) -> str:
    """Return the outcome of ``verify`` as a person reads it."""
    torn = f", {found['torn']} bytes of an unfinished write at the end" if found["torn"] else ""
    return (f"good: {found['segments']} segments, {found['frames']} frames, records"
            f" {found['first_index']}..{found['last_index']} ({found['voided']} voided),"
            f" term {found['term']}, vote {found['vote']}{torn}")

