"""Control of hosts over SSH: pooled connections, escaped commands, checked keys, files, sudo."""
from .host import SshHost, on_nodes
from .target import Target

__all__ = ["SshHost", "Target", "on_nodes"]
