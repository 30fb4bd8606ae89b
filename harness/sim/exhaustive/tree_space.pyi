from collections.abc import Iterable
from typing import Any

from .search import Search
from .tree_scope import TreeScope

NAMES: dict[str, int]

class TreeSpace(Search):
    scope: TreeScope
    def __init__(self, scope: TreeScope, limit: int) -> None: ...
    @property
    def local_states(self) -> int: ...
    @property
    def local_steps(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def play(self, actions: Iterable[tuple[str, int, int]]) -> list[Any]: ...
