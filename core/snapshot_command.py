"""``snapshot`` of ``python -m seatrial.core``: have nodes take a snapshot of their state now.

Any node can be asked, each for itself: a snapshot is a member's own affair. A node answers when its
snapshot is durable, or at once when nothing was applied since the one before.
"""
from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import msgspec

from seatrial.core.admin import PAUSE_S, Cluster, ask
from seatrial.core.config import Address, load, parse_address, read_key
from seatrial.core.errors import ConfigError, NodeError
from seatrial.core.member_commands import where

Taken = dict[str, Any]


def take_snapshot(address: Address, cluster: str, key: bytes, timeout_s: float) -> Taken:
    """Return what a node says of the snapshot that it took. Raises NodeError, ConfigError."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = max(0.01, deadline - time.monotonic())
        status, value = ask(address, cluster, key, "snapshot", b"{}", left)
        line = value.decode(errors="replace")
        if status == "ok":
            return msgspec.json.decode(value, type=Taken) | {"address": str(address)}
        if status != "busy":
            raise ConfigError(f"{address}: "
                              + (line if status == "bad-request" and line else
                                 "it does not know this request: it is older"))
        if time.monotonic() >= deadline:
            raise NodeError(f"{address}: not done within {timeout_s:g} s: {line}")
        time.sleep(PAUSE_S)


def _asked(options: argparse.Namespace) -> tuple[list[Address], str, bytes]:
    """Return the nodes that the options name, and how to speak with them."""
    if options.config is not None:
        settings = load(options.config)
        addresses, cluster, key = [settings.address], settings.cluster, settings.keys["admin"]
        seeds = [*addresses, *settings.members.values()]
    elif options.address and options.key and options.cluster:
        try:
            addresses = seeds = [parse_address(text) for text in options.address]
        except ValueError as error:
            raise ConfigError(f"--address: {error}") from None
        cluster, key = options.cluster, read_key(options.key)
    else:
        raise ConfigError("this needs --config, or --address, --key and --cluster")
    if options.all:
        members = Cluster(seeds, cluster, key, options.timeout).status()["membership"]
        addresses = [parse_address(text) for text in members["addresses"].values()]
    return addresses, cluster, key


def snapshot(options: argparse.Namespace) -> int:
    """Ask them one after the other, so that not all have that work at once."""
    taken, failed = [], 0
    addresses, cluster, key = _asked(options)
    for address in addresses:
        try:
            found = take_snapshot(address, cluster, key, options.timeout)
        except NodeError as error:
            print(f"seatrial: {error}", file=sys.stderr)
            failed = failed or error.exit_code
            continue
        taken.append(found)
        if not options.json:
            print(f"node {found['node']}: snapshot at entry {found['index']} of term"
                  f" {found['term']}, {found['bytes']} bytes, state {found['hash']};"
                  f" log from {found['first_index']}")
    if options.json:
        print(msgspec.json.encode(taken).decode())
    return failed


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    sub = commands.add_parser("snapshot", help="have a node, or all, take a snapshot now")
    where(sub)
    sub.add_argument("--all", action="store_true", help="every member of the configuration")
    sub.set_defaults(run=snapshot)
