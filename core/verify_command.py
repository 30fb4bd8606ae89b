"""``verify`` of ``python -m seatrial.core``: stopped nodes' data, or running ones' states.

Exit codes: 0 all is well; 1 something is lost, broken or different; 254 and 255 as everywhere.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from seatrial.core.admin import fetch_status
from seatrial.core.config import parse_address
from seatrial.core.errors import ConfigError, NodeError
from seatrial.core.member_commands import cluster, where
from seatrial.core.verification import Member, compare, render, render_compared

Found = dict[str, Any]


def verify(options: argparse.Namespace) -> int:
    """Check data directories and compare them, or compare running members."""
    if options.online == bool(options.directory):
        raise ConfigError("verify needs directories of stopped nodes, or --online")
    if options.online:
        return _online(options)
    members = [Member(path) for path in options.directory]
    found = [member.check() for member in members]
    compared = compare(members) if len(members) > 1 else None
    if options.json:
        print(msgspec.json.encode(
            found[0] if compared is None else {"members": found, "compared": compared}).decode())
    else:
        for one in found:
            print(render(one))
        if compared is not None:
            print(render_compared(compared))
    return int(any(one["problems"] for one in found)
               or (compared is not None and bool(compared["problems"])))


def _online(options: argparse.Namespace) -> int:
    """Compare the hashes that running members remember of their states at clock entries."""
    seen = cluster(options)
    hashes: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for node, address in seen.status()["members"].items():
        try:
            status = fetch_status(
                parse_address(address), seen.cluster, seen.key, options.timeout)
            hashes[node] = status["state_hashes"]
        except NodeError as error:
            problems.append(f"node {node}: {error}")
    common = set.intersection(*(set(of) for of in hashes.values())) if hashes else set()
    index = max(map(int, common), default=0)
    compared: Found = {"index": index, "problems": problems, "hashes": {
        f"node {node}": of[str(index)] for node, of in hashes.items() if index}}
    if index == 0:
        problems.append("no clock entry of which all remember the state's hash: clock entries are"
                        " written while sessions or locks can expire")
    if len(set(compared["hashes"].values())) > 1:
        problems.append(f"the states after entry {index} differ")
    print(msgspec.json.encode(compared).decode() if options.json else render_compared(compared))
    return int(bool(problems))


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    sub = commands.add_parser(
        "verify", help="check stopped nodes' data wholly, and compare members' states")
    sub.add_argument("directory", type=Path, nargs="*", metavar="DATA")
    sub.add_argument("--online", action="store_true", help="compare running members instead")
    where(sub)
    sub.set_defaults(run=verify)
