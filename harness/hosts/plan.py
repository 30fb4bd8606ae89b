"""What a lab consists of: its hosts, client pools and their addresses.

Every lab uses the same addresses, because each has a network of its own: IPv4 from
198.18.0.0/15 (RFC 2544, benchmarking), IPv6 from one fixed ULA /64.

| who             | IPv4          | IPv6                  |
|-----------------|---------------|-----------------------|
| controller      | 198.18.0.1    | fd73:6561:7472::1     |
| host ``n<i>``   | 198.18.1.i    | fd73:6561:7472::1:i   |
| i-th client pool| 198.18.2.i    | fd73:6561:7472::2:i   |

The controller's and the pools' addresses are on the bridge of the control namespace, so that
a client which binds to its pool's address can be cut off without cutting off the controller.
"""
from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..errors import BadInput
from .vm.machine import Machine

PREFIX4, PREFIX6 = 15, 64
ULA = "fd73:6561:7472::"
MAX_HOSTS = MAX_POOLS = 99
LOCAL, VM = "local", "vm"
POOL_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class Address(msgspec.Struct, frozen=True):
    """A name on the lab's network. ``ipv6`` is None on machines without IPv6."""

    name: str
    ipv4: str
    ipv6: str | None


class Plan(msgspec.Struct, frozen=True):
    """Everything about a lab's shape that is decided before it is made.

    machine: what its hosts are, where they are virtual machines; None: namespaces.
    """

    lab: str
    controller: Address
    hosts: tuple[Address, ...]
    pools: tuple[Address, ...]
    machine: Machine | None = None

    @property
    def world(self) -> str:
        """What ``--on`` calls such hosts."""
        return LOCAL if self.machine is None else VM

    @property
    def everyone(self) -> tuple[Address, ...]:
        """All who have an address."""
        return (self.controller, *self.hosts, *self.pools)


def plan(lab: str, nodes: int, pools: Iterable[str], machine: Machine | None = None) -> Plan:
    """Give names and addresses to ``nodes`` hosts and to the client pools."""
    pools = tuple(pools)
    if not 1 <= nodes <= MAX_HOSTS:
        raise BadInput(f"nodes: {nodes}: a lab has 1 to {MAX_HOSTS} hosts")
    if len(pools) > MAX_POOLS:
        raise BadInput(f"pools: {len(pools)}: a lab has at most {MAX_POOLS} client pools")
    made = Plan(
        lab,
        _address("controller", 0, 1),
        tuple(_address(f"n{i}", 1, i) for i in range(1, nodes + 1)),
        tuple(_address(name, 2, i) for i, name in enumerate(pools, 1)),
        machine,
    )
    taken = {address.name for address in (made.controller, *made.hosts)}
    for name in pools:
        if not POOL_NAME.fullmatch(name) or name in taken:
            raise BadInput(f"pools: {name!r}: expected a name of lower-case letters, digits and "
                           "'-' that nobody else in the lab has")
        taken.add(name)
    return made


def _address(name: str, group: int, number: int) -> Address:
    has_ipv6 = Path("/proc/sys/net/ipv6").exists()
    return Address(name, f"198.18.{group}.{number}",
                   f"{ULA}{group or ''}{':' if group else ''}{number}" if has_ipv6 else None)
