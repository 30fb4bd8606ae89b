"""The checker's own errors: one clear line that names the file, the line and what was expected."""
from __future__ import annotations


class CheckerError(Exception):
    """Base of the errors a user can act on; anything else that escapes is a bug of ours."""


class BadHistory(CheckerError):
    """A history can't be read or contradicts itself.

    ``where`` is the file, and ``line`` the line in it or the row of the history (from 1).
    """

    def __init__(self, message: str, *, where: str = "history", line: int | None = None) -> None:
        self.where, self.line, self.message = where, line, message
        super().__init__(f"{where}:{line}: {message}" if line else f"{where}: {message}")


class EngineAbsent(CheckerError):
    """The engine that was asked for is not part of this installation."""
