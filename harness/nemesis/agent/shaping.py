"""Packets delayed, lost and more, on their way to chosen addresses.

A prio qdisc of our own has netem in a fourth band, which only packets for the given addresses are
sent to: the controller's are not. A host whose link somebody else shapes is left.
"""
from __future__ import annotations

import shutil

from . import paths
from .addresses import version_of
from .errors import AgentError
from .files import Json, locked, read_json
from .journal import begin, journal
from .tools import command
from .undoing import undo

PRIO, NETEM = "5ea7:", "5ea8:"      # handles of our qdiscs


def shape(request: Json) -> Json:
    """Do something to the packets that leave here for these addresses."""
    to, netem = request["to"], [str(word) for word in request["netem"]]
    versions = {address: version_of(address) for address in to}
    with locked():
        here = link()
        roots = [line for line in command(["tc", "qdisc", "show", "dev", here]).splitlines()
                 if " root " in line]
        if any(line.split()[2] != "0:" for line in roots):
            raise AgentError(f"{here}: its packets are shaped already ({roots[0].strip()})")
        begin(request, "shape", link=here)
        try:
            command(["tc", "qdisc", "add", "dev", here, "root", "handle", PRIO, "prio", "bands",
                     "4"])
            command(["tc", "qdisc", "add", "dev", here, "parent", f"{PRIO}4", "handle", NETEM,
                     "netem", "limit", "100000", *netem])
            for address, version in versions.items():
                protocol, field, bits = ("ip", "ip", 32) if version == 4 else ("ipv6", "ip6", 128)
                command(["tc", "filter", "add", "dev", here, "parent", PRIO, "protocol", protocol,
                         "prio", str(version), "u32", "match", field, "dst", f"{address}/{bits}",
                         "flowid", f"{PRIO}4"])
        except AgentError:
            undo([entry for entry in journal() if entry["id"] == request["id"]])
            raise
    return {}


def unshape(entry: Json) -> None:
    """Take our qdisc away, where it is."""
    shown = command(["tc", "qdisc", "show", "dev", entry["link"]])
    if f"qdisc prio {PRIO} root" in shown:
        command(["tc", "qdisc", "del", "dev", entry["link"], "root"])


def shaped(_request: Json) -> Json:
    """Return what netem has counted since it is there."""
    shown = command(["tc", "-s", "qdisc", "show", "dev", link()])
    _, found, ours = shown.partition(f"qdisc netem {NETEM}")
    if not found:
        return {"there": False, "packets": 0, "dropped": 0}
    words = ours.split("Sent ", 1)[1].replace("(", " ").replace(",", " ").split()
    return {"there": True, "packets": int(words[2]), "dropped": int(words[5])}


def link() -> str:
    """Return the link that has this host's address."""
    address = read_json(paths.RUN)["addresses"][0]
    shown = command(["ip", "-o", "address", "show", "to", address]).split()
    if len(shown) < 2:
        raise AgentError(f"{address}: not an address of this host")
    return shown[1]


def no_shaping() -> str | None:
    """Return why netem can't work here. It is tried where it does nothing to anybody."""
    if shutil.which("tc") is None:
        return "tc isn't installed (iproute2)"
    try:
        command(["tc", "qdisc", "add", "dev", "lo", "root", "handle", NETEM, "netem"])
        command(["tc", "qdisc", "del", "dev", "lo", "root", "handle", NETEM])
    except AgentError as error:
        return f"no netem: {error}"
    return None
