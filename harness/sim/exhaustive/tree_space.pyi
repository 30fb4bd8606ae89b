from .cluster import Cluster
from .tree_scope import TreeScope

class TreeSpace(Cluster):
    scope: TreeScope
