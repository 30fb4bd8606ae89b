"""The harness's own errors, each with the exit code it ends in.

A message is one line for a person: it names the file, the key or the host, and says what
was expected. Anything else that escapes is a bug of ours and is reported as one.
"""
from __future__ import annotations


class SeatrialError(Exception):
    """Base of all errors that end a command with a clear line instead of a traceback."""

    exit_code = 255


class BadInput(SeatrialError):
    """The user's arguments, test file or topology are wrong (exit code 254)."""

    exit_code = 254


class HarnessFailure(SeatrialError):
    """The run itself broke: a host vanished, SSH failed, a disk filled (exit code 255)."""


def told(error: Exception) -> str:
    """Return an operating error as one line for a person."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
