"""The text of a story: prose, commands, and under each command what is expected to be seen.

A line that begins in the first column is a command; indented lines under it are what the runner
must print; ``#`` begins prose. docs/simulation.md shows one.
"""
from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

INDENT = "    "


class StoryError(Exception):
    """A story says what can't be understood, or can't be done; one line with its place."""


class Mismatch(AssertionError):
    """Something else was seen than the story expects."""


@dataclass
class Line:
    """One line of prose, or a command with what is expected after it."""

    number: int
    text: str
    is_command: bool = False
    expected: list[str] = field(default_factory=list)


def parsed(text: str, name: str) -> list[Line]:
    """Return the lines of a story. Raises StoryError."""
    lines: list[Line] = []
    command: Line | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if raw[:1].isspace() and stripped:
            if command is None:
                raise StoryError(f"{name}:{number}: expected a command before {stripped!r}")
            command.expected.append(stripped)
        elif not stripped or stripped.startswith("#"):
            command = None
            lines.append(Line(number, stripped))
        else:
            command = Line(number, stripped, is_command=True)
            lines.append(command)
    if not any(line.is_command for line in lines):
        raise StoryError(f"{name}:1: expected at least one command")
    return lines


def written(lines: list[Line]) -> str:
    """Return a story's text; the inverse of ``parsed``."""
    return "".join(f"{text}\n" for line in lines
                   for text in (line.text, *(INDENT + seen for seen in line.expected)))


def difference(name: str, line: Line, seen: list[str]) -> str:
    """Return how what was seen after a command differs from what the story expects."""
    marked = [one for one in difflib.ndiff(line.expected, seen) if not one.startswith("?")]
    return "\n".join([f"{name}:{line.number}: {line.text}", "  (- expected, + seen)",
                      *(f"  {one}" for one in marked)])


def play(text: str, name: str, perform: Callable[[str], list[str]], *,
         rewrite: bool = False) -> str:
    """Play a story and return its text, with ``rewrite`` that of what was seen.

    perform: does a command and returns what is seen then. Raises Mismatch, StoryError.
    """
    lines = parsed(text, name)
    for line in lines:
        if not line.is_command:
            continue
        try:
            seen = perform(line.text)
        except StoryError as error:
            raise StoryError(f"{name}:{line.number}: {error}") from None
        except Exception as error:
            error.add_note(f"{name}:{line.number}: {line.text}")
            raise
        if rewrite:
            line.expected = seen
        elif seen != line.expected:
            raise Mismatch(difference(name, line, seen))
    return written(lines)


def rewritten(path: Path, perform: Callable[[str], list[str]]) -> None:
    """Let a story's file expect what is seen now."""
    path.write_text(play(path.read_text(encoding="utf-8"), path.name, perform, rewrite=True),
                    encoding="utf-8")
