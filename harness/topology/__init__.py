"""Trees of domains: what a person writes of them, what is refused, and how they are drawn.

    section.py   keys, types, ranges  --+
    rules.py     what can't be          |-->  tree.py  -->  node_config.py  what each node is told
    files.py     a file of its own    --+        |
                                                 +------->  drawing.py      the tree as text
    status.py    what nodes say of themselves, by domain  -----^
    live.py      the same of a tree that is known from them alone
"""
from .drawing import draw
from .files import load, tree_of
from .live import Heard, running
from .node_config import node_config, tree_values
from .policy import Policy
from .section import TreeSection
from .status import LINK_STATES, DomainStatus, Lag, NodeStatus, gather, said
from .tree import Domain, MaxLag, Node, Pool, Timers, Tree

__all__ = ["LINK_STATES", "Domain", "DomainStatus", "Heard", "Lag", "MaxLag", "Node", "NodeStatus",
           "Policy", "Pool", "Timers", "Tree", "TreeSection", "draw", "gather", "load",
           "node_config", "running", "said", "tree_of", "tree_values"]
