"""Trees of domains as simulated worlds know them: the core's own."""
from seatrial.core.tree import BadTree, Domain, Tree

__all__ = ["BadTree", "Domain", "Tree"]
