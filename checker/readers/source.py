"""Where a history is read from: a file, a run's folder, or standard input."""
from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import BadHistory
from ..history import FILE_NAME

STDIN = "-"
HEAD = 4096


@dataclass
class Source:
    """The bytes of a history, read when somebody asks for them; ``name`` is for messages."""

    name: str
    path: Path | None

    @classmethod
    def of(cls, path: Path | str) -> Source:
        """Return the source that a user named: ``-`` is standard input."""
        if str(path) == STDIN:
            return cls("standard input", None)
        path = Path(path)
        if path.is_dir():
            path /= FILE_NAME
        return cls(str(path), path)

    @cached_property
    def data(self) -> bytes:
        """All of it."""
        if self.path is None:
            return sys.stdin.buffer.read()
        return self._load(self.path, -1)

    @cached_property
    def head(self) -> bytes:
        """How it begins; enough to tell the format."""
        return self.data[:HEAD] if self.path is None else self._load(self.path, HEAD)

    @property
    def lines(self) -> list[str]:
        """Its lines, as text."""
        return self.data.decode(errors="replace").splitlines()

    def bad(self, message: str, line: int | None = None) -> BadHistory:
        """Return the error that names this source and a line of it."""
        return BadHistory(message, where=self.name, line=line)

    def _load(self, path: Path, most: int) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise self.bad(f"can't read it: {error.strerror}") from error
