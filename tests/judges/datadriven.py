"""Reading the notation of cockroachdb/datadriven: a command with arguments, ----, the answer.

A command's first line is its name and arguments (``key=value``, ``key=(a,b)``); further lines
are its input. The answer ends at an empty line. Lines that begin with # are remarks.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ARGUMENT = re.compile(r"(\w+)=(\([^)]*\)|\S+)")


@dataclass(frozen=True)
class Case:
    """One command and the answer that its authors expect."""

    where: str
    command: str
    arguments: dict[str, str]
    input: str
    expected: str

    def listed(self, key: str) -> list[str]:
        """Return the parts of ``key=(a,b)``; none for an argument that is absent or ``zero``."""
        text = self.arguments.get(key, "").strip("()")
        return [] if text in ("", "zero") else [part.strip() for part in text.split(",")]

    def numbers(self, key: str) -> list[int]:
        """The same as numbers; ``_`` (unknown) is 0."""
        return [0 if part == "_" else int(part) for part in self.listed(key)]


def cases(path: Path) -> Iterator[Case]:
    """Read all cases of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].startswith("#"):
            at += 1
            continue
        bar = lines.index("----", at)
        end = next((i for i in range(bar, len(lines)) if not lines[i].strip()), len(lines))
        yield Case(f"{path.name}:{at + 1}", lines[at].split()[0],
                   dict(ARGUMENT.findall(lines[at])), "\n".join(lines[at + 1:bar]),
                   "\n".join(lines[bar + 1:end]))
        at = end
