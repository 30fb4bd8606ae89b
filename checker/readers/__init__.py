"""Histories in the formats of others, turned into ours. A format is a function from a source.

============ =======================================================================
format       what it is
============ =======================================================================
arrow        our own stream, or a run's folder that holds one (history.py)
parquet      a table with the same columns, or with type, f, value and what else there is
edn          Jepsen's history.edn: maps of :process, :type, :f, :value, maybe :key
jepsen-text  Jepsen's log: ``INFO  jepsen.util - 0 :invoke :write 3``: porcupine's etcd logs
json         the same maps as JSON, in one array or one on each line
limo         calls and returns of a queue or stack, as LiMo has them
fastlin      operations of a queue, stack or priority queue with their times
awdit        transactions on registers by session, as AWDIT has them
plume        the same as Plume has them
============ =======================================================================
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import CheckerError
from ..history import History
from .columns import read_arrow, read_parquet
from .fastlin import read_fastlin
from .jepsen import read_edn, read_text
from .json_events import read_json
from .limo import read_limo
from .sessions import read_awdit, read_plume
from .source import MARK, Source

ARROW_STREAM = b"\xff\xff\xff\xff"
PARQUET = b"PAR1"
COMPRESSED: Mapping[bytes, str] = {
    b"\x1f\x8b": "zcat", b"\x28\xb5\x2f\xfd": "zstdcat", b"BZh": "bzcat",
    b"\xfd7zXZ": "xzcat"}
OBSERVES_FAILED_CAS = frozenset({"jepsen-text"})    # as porcupine's model of these logs does

READERS: Mapping[str, Callable[[Source], History]] = {
    "arrow": read_arrow,
    "parquet": read_parquet,
    "edn": read_edn,
    "jepsen-text": read_text,
    "json": read_json,
    "limo": read_limo,
    "fastlin": read_fastlin,
    "awdit": read_awdit,
    "plume": read_plume,
}
BEGINNINGS: Mapping[str, str] = {       # of a text: what its first lines look like
    "jepsen-text": r"INFO\b",
    "json": r'\[?\s*\{\s*"',
    "limo": r"(?:#.*\n|\s)*#\s*@object\b|\[\d+\]\s+call\b",
    "fastlin": r"#\s*(?:queue|stack|priorityqueue)\s*\n\s*\w+ -?\w+ \d+ \d+\s",
    "awdit": r"[rw] -?\d+ -?\d+\s",
    "plume": r"[rw]\(-?\d+,",
    "edn": r"[\[({;#,]",
}


def read(path: Path | str, format: str | None = None) -> tuple[History, str]:
    """Read a history; returns it with its format, guessed from the content when not given.

    path: a file, a run's folder, or ``-`` for standard input.
    """
    source = Source.of(path)
    if format is None:
        format = guess(source)
    if format not in READERS:
        raise CheckerError(f"unknown format {format!r}; expected one of {', '.join(READERS)}")
    return READERS[format](source), format


def guess(source: Source) -> str:
    """Tell a format from how the source begins."""
    if source.head.startswith(PARQUET):
        return "parquet"
    if source.path is not None and source.path.suffix == ".arrow":
        return "arrow"
    return guess_stream(source.head, source)


def guess_stream(head: bytes, source: Source) -> str:
    """Tell a format that can be read while it arrives from how it begins."""
    if head.startswith(ARROW_STREAM):
        return "arrow"
    for magic, program in COMPRESSED.items():
        if head.startswith(magic):
            raise source.bad(f"compressed; expected it unpacked, as by {program} FILE | "
                             "seatrial check -")
    text = head.removeprefix(MARK).decode(errors="replace").lstrip()
    if not text:
        raise source.bad("no events in it")
    for format, pattern in BEGINNINGS.items():
        if re.match(pattern, text):
            return format
    raise source.bad("it begins like no format that is known; expected one of "
                     f"{', '.join(READERS)} (--format)")
