"""Looking into a node's log without the node: what ``dump-wal`` and ``verify`` print.

``verify`` looks at each segment by itself, then at what they make together: whether terms and
indexes follow each other, which entries and snapshots are there, and what a node would miss that
starts on it. It names every damage it finds, not only the first.

Both only read. On the log of a running node the newest group write may be in flight; it then
looks torn.
"""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from seatrial.core.codec import describe_record, split_records
from seatrial.core.errors import CorruptSegment, NodeError, WalError
from seatrial.core.recovery import (
    Damage,
    Frame,
    Recovered,
    broken_frames,
    list_segments,
    read_segment,
    recover,
)

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
        "vote": frame.vote, "base": frame.base[0], "base_term": frame.base[1],
        "seal": frame.seal,
        "records": [
            {name: shorten(value) for name, value in describe_record(record).items()}
            for record in split_records(frame.records)
        ],
    }


def frame_line(frame: dict[str, Any]) -> str:
    """Return one frame as a person reads it."""
    head = (f"{frame['segment']} @{frame['offset']} term {frame['term']} vote {frame['vote']}"
            f" after {frame['base']} of term {frame['base_term']}"
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
    """Check every byte of the log; return what is in it, and all that is wrong with it.

    ``damage`` says where bytes are not what was written; ``refused`` why a node would not start
    on this log, None if it would.
    """
    directory = log_directory(path)
    damage = [
        found for sequence, segment in list_segments(directory)
        for found in broken_frames(sequence, segment, read_segment(segment))
    ]
    try:
        log = recover(directory)
    except WalError as error:
        if isinstance(error, CorruptSegment) and not any(
                (found.path, found.offset) == (error.path, error.offset) for found in damage):
            damage.append(Damage(error.path, error.offset, error.what))
        return {"refused": str(error), "damage": [described(found) for found in damage]}
    damage += [found for found in log.damage
               if not any(found[:2] == known[:2] for known in damage)]
    refused = None
    if log.damaged_until:
        refused = (f"entries up to {log.damaged_until} were written, and of those after"
                   f" {log.last_index} something is missing")
    return {"refused": refused, "damage": [described(found) for found in damage]} | summary(log)


def described(damage: Damage) -> dict[str, Any]:
    """Return one damage as it is shown in JSON."""
    return {"segment": damage.path.name, "offset": damage.offset, "what": damage.what}


def summary(log: Recovered) -> dict[str, Any]:
    """Return what a log holds, without the bytes of its records."""
    left_out = ("records", "repairs", "damage", "snapshot", "partial")
    found = {name: value for name, value in log._asdict().items() if name not in left_out}
    for name, snapshot in (("snapshot", log.snapshot), ("partial", log.partial)):
        found[name] = snapshot and {
            "index": snapshot.last_index, "term": snapshot.last_term,
            "bytes": sum(describe_record(chunk)["length"] - 72
                         for chunk in split_records(snapshot.records))}
    return found


def render_verified(found: dict[str, Any]) -> str:
    """Return the outcome of ``verify`` as a person reads it."""
    lines = [f"{damage['segment']} @{damage['offset']}: {damage['what']}"
             for damage in found["damage"]]
    lines += summary_lines(found)
    if found["refused"]:
        lines.append(f"refused: {found['refused']}")
    return "\n".join([*lines, "damaged" if found["damage"] or found["refused"] else "good"])


def summary_lines(found: dict[str, Any]) -> list[str]:
    """Return what a log holds as a person reads it; nothing for one that can't be read."""
    lines: list[str] = []
    if "segments" in found:
        torn = f", {found['torn']} bytes of an unfinished write at the end" if found["torn"] else ""
        lines.append(
            f"{found['segments']} segments, {found['frames']} frames, records"
            f" {found['first_index']}..{found['last_index']} ({found['voided']} voided),"
            f" term {found['term']}, vote {found['vote']}{torn}")
        lines += [
            f"{text} snapshot at entry {found[name]['index']} of term {found[name]['term']}:"
            f" {found[name]['bytes']} bytes"
            for name, text in (("snapshot", "complete"), ("partial", "incomplete")) if found[name]]
    return lines
