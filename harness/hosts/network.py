"""The lab's network: a bridge in the control namespace, a veth pair or a tap to every host.

No default route anywhere and no link to the machine's own network: nothing can leave. IPv6
addresses skip duplicate detection (``nodad``), which would keep them unusable for 2 s.
One ``ip -batch`` makes all links at once; one more in each host sets up its end.
"""
from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from .plan import PREFIX4, PREFIX6, Address, Plan

BRIDGE = "lab"
HOST_LINK = "eth0"


def make_bridge(plan: Plan, pids: Mapping[str, int], taps: Iterable[str] = ()) -> None:
    """In the control namespace: bridge, addresses, and a link into each host's namespace.

    pids: host name -> a process in the host's network namespace. taps: names of hosts that are
    virtual machines.
    """
    _quick_ipv6()
    lines = [
        "link set lo up",
        # mcast_snooping off: a bridge without a querier would swallow neighbour discovery.
        f"link add {BRIDGE} type bridge stp_state 0 mcast_snooping 0",
        f"link set {BRIDGE} up",
        *_addresses((plan.controller, *plan.pools), BRIDGE),
    ]
    for name, pid in pids.items():
        lines.append(f"link add {name} type veth peer name {HOST_LINK} netns {pid}")
        lines.append(f"link set {name} master {BRIDGE} up")
    for name in taps:
        lines.append(f"tuntap add dev {name} mode tap")
        lines.append(f"link set {name} master {BRIDGE} up")
    _ip(lines)


def set_up_host(host: Address) -> None:
    """In the host's namespace: bring up its end of the link."""
    _quick_ipv6()
    _ip(["link set lo up", f"link set {HOST_LINK} up", *_addresses((host,), HOST_LINK)])


def hosts_file(plan: Plan, host: Address) -> str:
    """The text of /etc/hosts on ``host``."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    for address in plan.everyone:
        lines += [f"{ip} {address.name}" for ip in (address.ipv4, address.ipv6) if ip]
    return "\n".join([*lines, f"127.0.1.1 {host.name}"]) + "\n"


def _addresses(of: Iterable[Address], link: str) -> list[str]:
    lines = []
    for address in of:
        lines.append(f"address add {address.ipv4}/{PREFIX4} dev {link}")
        if address.ipv6:
            lines.append(f"address add {address.ipv6}/{PREFIX6} dev {link} nodad")
    return lines


def _quick_ipv6() -> None:
    """Switch IPv6 on in this namespace (containers start with it off), without detection."""
    for name, value in (("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0")):
        for scope in Path("/proc/sys/net/ipv6/conf").glob("*"):  # all, default, each link
            with suppress(OSError):  # read-only, as in some containers
                (scope / name).write_text(value)


def _ip(lines: list[str]) -> None:
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), check=False,
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip: {done.stderr.strip().splitlines()[0]}")
