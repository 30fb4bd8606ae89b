from collections.abc import Iterable
from typing import Any

from .scope import Scope
from .search import Search

NAMES: dict[str, int]

class Space(Search):
    scope: Scope
    def __init__(self, scope: Scope, limit: int) -> None: ...
    @property
    def local_states(self) -> int: ...
    @property
    def local_steps(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def play(self, actions: Iterable[tuple[str, int, int]]) -> list[Any]: ...
