from typing import Any

from .cluster import Cluster
from .scope import Scope

class Space(Cluster):
    scope: Scope
    def members(self) -> list[Any]: ...
