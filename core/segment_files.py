"""The files under a write-ahead log: made ahead, opened, repaired, locked.

A segment gets its name only when it is whole: zero-filled to its size, its header written,
all of it synced; then it is renamed and the directory is synced. So whatever bears a
segment's name has a valid header, and a crash while one is made leaves a file that the next
start removes.

A segment that the log no longer needs loses its name first, durably, the oldest before the
next: whatever crash comes, those that are left follow each other without a gap. Then it is a
*spare*: its blocks are allocated and written, so it makes a new segment by a header with a new
salt, and by a name. Some spares are kept, also over restarts; the others are removed.
"""
from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from seatrial.core.errors import DirectoryInUse, NodeError
from seatrial.core.recovery import Repair, segment_path
from seatrial.core.segment import decode_segment_header, encode_segment_header

UNFINISHED = "next.tmp"
SPARE = ".spare"
SPARES = 4                      # kept at most
LOCK = "lock"
CHUNK = 1 << 20
ZEROS = bytes(CHUNK)


class SegmentFile(NamedTuple):
    """An open segment."""

    path: Path
    fd: int
    sequence: int
    salt: int
    size: int


def never() -> bool:
    """Don't stop."""
    return False


def new_salt() -> int:
    """Return a number that no other segment's frames repeat."""
    return int.from_bytes(os.urandom(8), "little")


def sync_directory(directory: Path) -> None:
    """Make names in ``directory`` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_segment(
    directory: Path, sequence: int, size: int, stop: Callable[[], bool] = never
) -> SegmentFile | None:
    """Make an empty segment, durable under its name; None when ``stop`` said so half-way.

    It is synced piece by piece, so that it never holds up the log's own syncs for long.
    """
    salt = new_salt()
    unfinished = directory / UNFINISHED
    path = segment_path(directory, sequence)
    fd = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for offset in range(0, size, CHUNK):
            if stop():
                os.close(fd)
                return None
            write_at(fd, ZEROS[: size - offset], offset)
            os.fdatasync(fd)
        write_at(fd, encode_segment_header(sequence, salt, size), 0)
        os.fsync(fd)
        unfinished.rename(path)
        sync_directory(directory)
    except BaseException:
        os.close(fd)
        unfinished.unlink(missing_ok=True)      # a full disk needs the room
        raise
    return SegmentFile(path, fd, sequence, salt, size)


def free_segment(directory: Path, sequence: int) -> Path:
    """Take the log's oldest segment out of it, durably; return the spare that it becomes."""
    path = segment_path(directory, sequence)
    spare = path.with_suffix(SPARE)
    path.rename(spare)
    sync_directory(directory)
    return spare


def recycle_segment(directory: Path, spare: Path, sequence: int, size: int) -> SegmentFile:
    """Make an empty segment out of a spare of this size, durable under its name."""
    salt = new_salt()
    path = segment_path(directory, sequence)
    fd = os.open(spare, os.O_RDWR | os.O_CLOEXEC)
    try:
        write_at(fd, encode_segment_header(sequence, salt, size, recycled=True), 0)
        os.fdatasync(fd)
        spare.rename(path)
        sync_directory(directory)
    except BaseException:
        os.close(fd)
        raise
    return SegmentFile(path, fd, sequence, salt, size)


def keep_spares(directory: Path, size: int) -> list[Path]:
    """Return the spares of this size that may be used again; remove all others."""
    kept: list[Path] = []
    for spare in sorted(directory.glob(f"*{SPARE}")):
        if len(kept) < SPARES and spare.stat().st_size == size:
            kept.append(spare)
        else:
            spare.unlink()
    return kept


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of ``data``, however often the kernel takes only a part of it."""
    view = memoryview(data)
    while view:
        n = os.pwrite(fd, view, offset)
        view = view[n:]
        offset += n


def open_segment(path: Path) -> SegmentFile:
    """Open a segment that recovery has read and found good."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    sequence, salt, size, _ = decode_segment_header(os.pread(fd, 64, 0))
    return SegmentFile(path, fd, sequence, salt, size)


def repair_segment(directory: Path, repair: Repair) -> None:
    """Make one of recovery's repairs, durably."""
    path = segment_path(directory, repair.sequence)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for at in range(0, repair.size, CHUNK):
                n, offset = min(CHUNK, repair.size - at), repair.offset + at
                write_at(fd, ZEROS[:n] if repair.zeros else os.pread(fd, n, offset), offset)
            os.fdatasync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise NodeError(f"can't repair segment {path}: {error.strerror}") from None


def clear_leftovers(directory: Path) -> None:
    """Remove a segment that an earlier run did not finish making."""
    (directory / UNFINISHED).unlink(missing_ok=True)


def lock_directory(directory: Path) -> int:
    """Make the directory if need be and lock it against other processes; return the lock."""
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True)
            sync_directory(directory.parent)
        fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NodeError(f"can't use {directory} for the log: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise DirectoryInUse(f"the log in {directory} is open in another process") from None
    return fd
