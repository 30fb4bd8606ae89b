"""Values that go by: those that nobody needs any more are forgotten."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..operations import NIL, OBJECTS, Values

MANY = 50_000               # values that are kept without asking who needs them


class PassingValues(Values):
    """Tokens for values, as ``Values`` has them; a forgotten value gets a new token."""

    def __init__(self, *, empty_is_nil: bool = False) -> None:
        super().__init__(empty_is_nil=empty_is_nil)
        self._known: dict[int, tuple[bytes, Any]] = {}
        self._next = OBJECTS
        self._enough = MANY

    def __len__(self) -> int:
        return len(self._known)

    def _keep(self, packed: bytes, value: Any) -> int:
        self._known[self._next] = packed, value
        self._next += 1
        return self._next - 1

    def value(self, token: int) -> Any:
        """Return the value that a token stands for."""
        if token == NIL:
            return None
        return self._known[token][1] if token >= OBJECTS else token

    def are_many(self) -> bool:
        """Whether it is time to forget some."""
        return len(self._known) > self._enough

    def forget_all_but(self, needed: Iterable[int]) -> None:
        """Forget values that nobody needs."""
        self._known = {token: self._known[token] for token in set(needed) if token in self._known}
        self._tokens = {packed: token for token, (packed, _) in self._known.items()}
        self._enough = 2 * len(self._known) + MANY
