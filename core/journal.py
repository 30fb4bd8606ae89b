"""The node's structured log: one JSON object a line, to standard error or a file.

A line has ``time`` (seconds since 1970), ``level``, ``node``, ``event`` and what belongs to
the event. A log that can't be written (disk full, pipe gone) must not stop a node that can
still serve: such lines are counted and the count is in the metrics.
"""
from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from seatrial.core.errors import NodeError

LEVELS = ("debug", "info", "warning", "error")


class Journal:
    """Writes events at or above a level."""

    def __init__(self, node: int, level: str = "info", path: Path | None = None) -> None:
        self.node = node
        self.lost = 0
        self._threshold = LEVELS.index(level)
        self._encode = msgspec.json.Encoder().encode
        self._fd = 2
        if path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            try:
                self._fd = os.open(path, flags, 0o640)
            except OSError as error:
                raise NodeError(f"can't write the log {path}: {error.strerror}") from None

    def debug(self, event: str, **fields: Any) -> None:
        """Tell what only a developer wants to know."""
        self._write(0, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Tell of the ordinary course of things."""
        self._write(1, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Tell of something that should not last."""
        self._write(2, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Tell of something that ends the node."""
        self._write(3, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if level < self._threshold:
            return
        line = self._encode({
            "time": round(time.time(), 6), "level": LEVELS[level], "node": self.node,
            "event": event, **fields,
        })
        try:
            os.write(self._fd, line + b"\n")
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the file."""
        if self._fd != 2:
            os.close(self._fd)
            self._fd = 2
