"""Where a history is read from: a file, a run's folder, or standard input."""
from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import BadHistory
from ..history import FILE_NAME

STDIN = "-"
HEAD = 4096
JEPSENS = "history.edn"         # in a folder of Jepsen's store
MARK = b"\xef\xbb\xbf"          # what some programs begin UTF-8 with


class Undecided(Exception):
    """What has come of a history does not tell yet how its values are to be read."""


@dataclass
class Source:
    """The bytes of a history, read when somebody asks for them; ``name`` is for messages.

    What holds from one piece of a history to the next: numbers, of processes without one; most,
    the largest of a process; tuples, whether values are Jepsen's ``[key value]``, None: not known
    yet. whole: whether nothing follows.
    """

    name: str
    path: Path | None
    numbers: dict[Any, int] = field(default_factory=dict)
    most: int = -1
    tuples: bool | None = None
    whole: bool = True

    @classmethod
    def of(cls, path: Path | str) -> Source:
        """Return the source that a user named: ``-`` is standard input."""
        if str(path) == STDIN:
            return cls("standard input", None)
        path = Path(path)
        if path.is_dir():
            jepsens = path / JEPSENS
            path /= FILE_NAME
            if not path.exists() and jepsens.exists():
                path = jepsens
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
    def text(self) -> bytes:
        """All of it, where it is text."""
        return self.data.removeprefix(MARK)

    @property
    def lines(self) -> list[str]:
        """Its lines, as text. Bytes that are no text stay apart from each other."""
        return self.text.decode(errors="surrogateescape").splitlines()

    def bad(self, message: str, line: int | None = None) -> BadHistory:
        """Return the error that names this source and a line of it."""
        return BadHistory(message, where=self.name, line=line)

    def _load(self, path: Path, most: int) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise self.bad(f"can't read it: {error.strerror}") from error
