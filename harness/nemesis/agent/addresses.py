"""Addresses of either IP version."""
from __future__ import annotations

import ipaddress

from .errors import AgentError


def version_of(address: str) -> int:
    """Return 4 or 6, refusing what isn't an address or a network."""
    try:
        return ipaddress.ip_network(address, strict=False).version
    except ValueError as error:
        raise AgentError(f"{address!r}: expected an IP address or network") from error
