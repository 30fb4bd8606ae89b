"""Files of JSON that survive a crash of the host, and the lock on what they say."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import paths

Json = dict[str, Any]


def write_json(path: Path, value: Any) -> None:
    """Write a file whole and durably: what is journalled must survive the host's crash."""
    new = path.with_suffix(".new")
    with new.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make renames and deletions in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: Path) -> Any:
    """Return a file's value, or None when it isn't there."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Let one command at a time change the journal and what follows from it."""
    with (paths.STATE / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
