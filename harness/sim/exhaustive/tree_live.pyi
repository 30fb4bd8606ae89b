from .live import Live
from .tree_space import TreeSpace

class TreeLive(Live):
    def __init__(self, space: TreeSpace) -> None: ...
