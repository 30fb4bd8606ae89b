from typing import Any

from .cluster import Cluster
from .tree_scope import TreeScope

class TreeSpace(Cluster):
    scope: TreeScope
    def members(self) -> list[Any]: ...
