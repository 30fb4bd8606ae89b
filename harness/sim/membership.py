"""What is asked of a simulated cluster's members; only this folder may look into the node."""
from seatrial.core.membership import BadConfiguration, Change, Configuration

__all__ = ["BadConfiguration", "Change", "Configuration"]
