"""Whether the processes and ports of a node answer."""
from __future__ import annotations

import socket

from .files import Json
from .processes import stat_fields

CONNECT_S = 0.5


def check(request: Json) -> Json:
    """Return processes that don't run (or are stopped), and ports where nobody answers."""
    return {"idle": [pid for pid in request["pids"]
                     if (stat_fields(f"/proc/{pid}/stat") or "X")[0] in "TZX"],
            "closed": [port for port in request["ports"]
                       if not any(accepts(address, port) for address in request["addresses"])]}


def accepts(address: str, port: int) -> bool:
    """Tell whether something on this host listens there."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True
