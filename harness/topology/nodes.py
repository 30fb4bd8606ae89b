"""The nodes of a domain as a file gives them: how many, their hosts, or hosts with addresses."""
from __future__ import annotations

import ipaddress
import re
import reprlib
from collections.abc import Iterable
from typing import Any

NODES_MAX = 9                   # of one domain
HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
EXPECTED = "a number of nodes, a list of hosts, or a mapping of hosts to HOST:PORT"


def checked(given: Any) -> int | list[str] | dict[str, str]:
    """Return what was given, or raise ValueError with what was expected."""
    if isinstance(given, bool) or not isinstance(given, int | list | dict):
        raise ValueError(f"expected {EXPECTED}, got {reprlib.repr(given)}")
    count = given if isinstance(given, int) else len(given)
    if not 1 <= count <= NODES_MAX:
        raise ValueError(f"expected 1 to {NODES_MAX} nodes, got {count}")
    if isinstance(given, int):
        return given
    _must_be_hosts(given)
    if isinstance(given, dict):
        for host, address in given.items():
            if not is_address(address):
                raise ValueError(f"{host}: expected HOST:PORT or [ADDRESS]:PORT, "
                                 f"got {reprlib.repr(address)}")
    return given


def _must_be_hosts(names: Iterable[Any]) -> None:
    seen = set()
    for name in names:
        if not isinstance(name, str) or not HOST.fullmatch(name):
            raise ValueError("expected names of hosts, of lower-case letters, digits, '.' and "
                             f"'-', got {reprlib.repr(name)}")
        if name in seen:
            raise ValueError(f"{name} is named twice")
        seen.add(name)


def is_address(text: Any) -> bool:
    """Tell whether a text is ``host:port`` or ``[v6]:port``."""
    if not isinstance(text, str):
        return False
    host, colon, port = text.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return False
    if host.startswith("[") and host.endswith("]"):
        try:
            return bool(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            return False
    return HOST.fullmatch(host.lower()) is not None
