"""Where a host is and how to get in: everything one SSH connection needs to know."""
from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Dial = Callable[[str, int, float], socket.socket]
"""(address, port, timeout in seconds) -> a connected socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One host's SSH service.

    name: what messages call it; also what ssh_config is asked for.
    address: host name or IP. port, user: None means ssh_config's, else 22 and this user.
    key: private key file; None means ssh_config's, the agent's and the default ones.
    known_hosts: file of the only accepted host keys; None means the user's and the system's.
    sudo_password: for hosts whose sudo asks.
    ssh_config: whether the user's ssh_config, agent and default keys count.
    dial: how to connect, where it isn't simply a TCP connection from here.
    """

    name: str
    address: str
    port: int | None = None
    user: str | None = None
    key: Path | None = None
    known_hosts: Path | None = None
    sudo_password: str | None = None
    ssh_config: bool = True
    dial: Dial | None = None
    connect_timeout_s: float = 10.0

    @property
    def where(self) -> str:
        """The host as error messages name it."""
        at = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.name} ({at}:{self.port or 22})"
