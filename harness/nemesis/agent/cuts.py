"""Packets dropped, by rules in a chain of our own.

The chain exists only while something is cut. It is first in INPUT so that nobody's ACCEPT comes
before it, and never ACCEPTs anything itself: the controller's packets, and neighbour discovery
(else a one-way cut would cut both ways on IPv6), RETURN to the host's own firewall. Only the
receiver drops: senders notice nothing but silence.
"""
from __future__ import annotations

import shutil

from . import paths
from .addresses import version_of
from .files import Json, locked, read_json
from .journal import begin, journal
from .tools import command

CHAIN = "SEATRIAL-IN"
LOCK_WAIT_S = "5"
TOOLS = {4: "iptables", 6: "ip6tables"}


def cut(request: Json) -> Json:
    """Drop all packets from these addresses, in all of the host."""
    for source in request["sources"]:
        version_of(source)
    with locked():
        begin(request, "cut", sources=request["sources"])
        apply_cuts(journal())
    return {}


def apply_cuts(entries: list[Json]) -> None:
    """Make our chains drop exactly what these faults cut, in one transaction per IP version."""
    run = read_json(paths.RUN) or {"controllers": []}
    sources = sorted({source for entry in entries for source in entry.get("sources", ())})
    for version, tool in TOOLS.items():
        wanted = [source for source in sources if version_of(source) == version]
        if not wanted and shutil.which(tool) is None:
            continue
        existing = command([tool, "-w", LOCK_WAIT_S, "-S"]).splitlines()
        jump = f"INPUT -j {CHAIN}"
        script = [f"-D {jump}" for rule in existing if rule == f"-A {jump}"]
        if wanted:
            script = [f":{CHAIN} - [0:0]", *script, f"-I {jump}",
                      *chain_rules(version, run["controllers"], wanted)]
        elif f"-N {CHAIN}" in existing:
            script += [f"-F {CHAIN}", f"-X {CHAIN}"]
        if script:
            command([f"{tool}-restore", "-w", LOCK_WAIT_S, "--noflush"],
                    "\n".join(["*filter", *script, "COMMIT", ""]))


def chain_rules(version: int, controllers: list[str], sources: list[str]) -> list[str]:
    """Return our chain's rules for one IP version, in iptables-restore's language."""
    rules = [f"-A {CHAIN} -s {address} -j RETURN"
             for address in controllers if version_of(address) == version]
    if version == 6:
        rules += [f"-A {CHAIN} -p ipv6-icmp --icmpv6-type {kind} -j RETURN" for kind in (135, 136)]
    return rules + [f"-A {CHAIN} -s {address} -j DROP"
                    for address in sources if version_of(address) == version]
