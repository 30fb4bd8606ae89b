"""``python -m seatrial.core``: run a node, ask one, change the members, look into a log.

Exit codes: 0 done; 1 of verify: something is wrong; 254 what was given is wrong; 255 the machine,
the disk or the other node.
Errors are one line on standard error.
"""
from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import msgspec

from seatrial.core import (
    admin,
    domain_commands,
    inspection,
    member_commands,
    recover_command,
    snapshot_command,
    verify_command,
)
from seatrial.core.config import load, parse_address, read_key
from seatrial.core.errors import ConfigError, NodeError

BAD_INPUT = ConfigError.exit_code
BROKEN = NodeError.exit_code


class Parser(argparse.ArgumentParser):
    """Exits with 254 on bad usage: 2 means something else in this project."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def serve(options: argparse.Namespace) -> None:
    """Run a node."""
    from seatrial.core.node import run  # only this command needs the event loop

    run(load(options.config))


def status(options: argparse.Namespace) -> None:
    """Ask a running node."""
    if options.config is not None:
        settings = load(options.config)
        address = settings.address
        cluster, key = settings.cluster, settings.keys["admin"]
    elif options.address and options.key and options.cluster:
        cluster, key = options.cluster, read_key(options.key)
        try:
            address = parse_address(options.address)
        except ValueError as error:
            raise ConfigError(f"--address: {error}") from None
    else:
        raise ConfigError("status needs --config, or --address, --key and --cluster")
    found = admin.fetch_status(address, cluster, key, options.timeout)
    print(msgspec.json.encode(found).decode() if options.json else admin.render_status(found))


def dump_wal(options: argparse.Namespace) -> None:
    """Print a log."""
    inspection.dump(options.directory, print, as_json=options.json)


def parser() -> Parser:
    """Return the command line's grammar."""
    top = Parser(prog="python -m seatrial.core", description="The Seatrial node.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    sub = commands.add_parser("serve", help="run a node until SIGTERM")
    sub.add_argument("--config", type=Path, required=True, metavar="FILE")
    sub.set_defaults(run=serve)

    sub = commands.add_parser("status", help="ask a running node about itself")
    sub.add_argument("--config", type=Path, metavar="FILE", help="the node's own configuration")
    sub.add_argument("--address", metavar="HOST:PORT")
    sub.add_argument("--key", type=Path, metavar="FILE", help="the admin key")
    sub.add_argument("--cluster", metavar="NAME")
    sub.add_argument("--timeout", type=float, default=5.0, metavar="SECONDS")
    sub.add_argument("--json", action="store_true")
    sub.set_defaults(run=status)

    member_commands.add(commands)
    domain_commands.add(commands)
    snapshot_command.add(commands)
    verify_command.add(commands)
    recover_command.add(commands)
    sub = commands.add_parser(
        "dump-wal", help="print every frame and record of a write-ahead log")
    sub.add_argument("directory", type=Path, metavar="DIR")
    sub.add_argument("--json", action="store_true")
    sub.set_defaults(run=dump_wal)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = parser().parse_args(arguments)
    try:
        code: int | None = options.run(options)
    except NodeError as error:
        print(f"seatrial: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return BROKEN
    except Exception:
        traceback.print_exc()
        print("seatrial: internal error, please report it", file=sys.stderr)
        return BROKEN
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
