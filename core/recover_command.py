"""``recover`` of ``python -m seatrial.core``: when the majority of the voters is lost for ever.

``collect`` only reads. ``apply`` says what it would do and may cost, and does it with
``--accept-data-loss`` only. Every survivor must be stopped, and given the same files.
"""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec

from seatrial.core import quorum_recovery
from seatrial.core.config import load
from seatrial.core.errors import ConfigError, NodeError
from seatrial.core.quorum_recovery import Survivor


def collect(options: argparse.Namespace) -> None:
    """Write down what a stopped node holds."""
    said = msgspec.json.encode(quorum_recovery.collect(load(options.config))).decode()
    if options.out is None:
        print(said)
        return
    try:
        options.out.write_text(said + "\n")
    except OSError as error:
        raise NodeError(f"can't write {options.out}: {error.strerror}") from None


def _read(path: Path) -> Survivor:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Survivor)
    except OSError as error:
        raise NodeError(f"can't read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not what `recover collect` says: {error}") from None


def apply(options: argparse.Namespace) -> None:
    """Bring a stopped survivor into the next life of its cluster."""
    settings = load(options.config)
    survivors = [_read(path) for path in options.survivor]
    print(quorum_recovery.describe(quorum_recovery.make_plan(survivors)))
    if not options.accept_data_loss:
        raise ConfigError("nothing was changed: this can lose what clients were told is done; say"
                          " --accept-data-loss if there is no other way")
    print(quorum_recovery.apply(settings, survivors))


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    top = commands.add_parser(
        "recover", help="go on with the survivors when a majority is lost for ever")
    steps = top.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (("collect", collect, "say what a stopped survivor holds"),
                            ("apply", apply, "make the survivors the whole cluster")):
        sub = steps.add_parser(name, help=text)
        sub.add_argument("--config", type=Path, required=True, metavar="FILE",
                         help="the survivor's own configuration")
        sub.set_defaults(run=run)
        if run is collect:
            sub.add_argument("--out", type=Path, metavar="FILE", help="instead of standard output")
    sub.add_argument("survivor", type=Path, nargs="+", metavar="FILE",
                     help="what `collect` said of each survivor, this one too")
    sub.add_argument("--accept-data-loss", action="store_true")
