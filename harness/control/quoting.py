"""From an argument vector to the one string that SSH carries, with nothing left to interpret.

SSH sends a command as a string, which the login shell of the remote user parses. ``shlex``
quotes for POSIX shells, so that is what a host's login shell must be.
"""
from __future__ import annotations

import shlex
from collections.abc import Sequence

MAX_BYTES = 128 * 1024 - 1  # Linux: MAX_ARG_STRLEN, for the argument of the shell's -c


NO_STDIN = b"exec </dev/null; "


def command_line(argv: Sequence[str], *, stdin: bool = True) -> bytes:
    """Quote ``argv`` for a POSIX shell. ValueError where no quoting could carry it.

    stdin: whether the command is going to be sent one; else its end is said here (session.py).
    """
    if not argv:
        raise ValueError("an empty command")
    if any("\0" in arg for arg in argv):
        raise ValueError(f"{argv[0]!r}: an argument holds a NUL, which no command can take")
    line = (b"" if stdin else NO_STDIN) + shlex.join(argv).encode("utf-8", "surrogateescape")
    if len(line) > MAX_BYTES:
        raise ValueError(f"{argv[0]!r}: {len(line)} bytes of arguments, at most {MAX_BYTES}: "
                         "send them on stdin or as a file")
    return line


def shorten(argv: Sequence[str], limit: int = 120) -> str:
    """The command as a person would type it, cut for an error message."""
    text = shlex.join(argv).replace("\n", "\\n")
    return text if len(text) <= limit else text[: limit - 3] + "..."
