from collections.abc import Callable
from typing import Any

from .tree import Tree
from .uplink import Uplink

class Children(Uplink):
    exclusions: int
    inclusions: int
    def newest_tree(self) -> Tree: ...
    def change_tree(
        self, change: Callable[[Tree], Tree], connection: int, request: int,
    ) -> None: ...
    def children_status(self) -> dict[int, dict[str, Any]]: ...
