"""Histories in the formats of others, turned into ours.

============ =======================================================================
format       what it is
============ =======================================================================
arrow        our own stream, or a run's folder that holds one (history.py)
edn          Jepsen's history.edn: maps of :process, :type, :f, :value, maybe :key
edn-lines-kv the same, a map on each line: porcupine's key-value histories
jepsen-text  Jepsen's log: ``INFO  jepsen.util - 0 :invoke :write 3``: porcupine's etcd logs
json         the same maps as JSON, in one array or one on each line
============ =======================================================================
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .edn import EdnError, Reader, loads
from .errors import BadHistory, CheckerError
from .history import FILE_NAME, NEMESIS, TYPE_NAMES, History

EVENT = re.compile(r"INFO\s+jepsen\.util - (\S+)\s+:(\w+)\s+:([\w-]+)\s+(.*?)\s*$")
ARROW_STREAM = b"\xff\xff\xff\xff"
OBSERVES_FAILED_CAS = frozenset({"jepsen-text"})    # as porcupine's model of these logs does


def read(path: Path | str, format: str | None = None) -> tuple[History, str]:
    """Read a history; returns it with its format, guessed from the content when not given."""
    path = Path(path)
    if path.is_dir():
        path /= FILE_NAME
    if format is None:
        format = guess(path)
    if format not in READERS:
        raise CheckerError(f"unknown format {format!r}; expected one of {', '.join(READERS)}")
    return READERS[format](path), format


def guess(path: Path) -> str:
    """Tell a file's format from how it begins."""
    head = _load(path, 4096)
    if head.startswith(ARROW_STREAM) or path.suffix == ".arrow":
        return "arrow"
    text = head.lstrip()
    if text.startswith(b"INFO"):
        return "jepsen-text"
    if re.match(rb'\[?\s*\{\s*"', text):
        return "json"
    return "edn"


def _load(path: Path, most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise BadHistory(f"can't read it: {error.strerror}", where=str(path)) from error


def _read_arrow(path: Path) -> History:
    return History.read(path)


def _read_edn(path: Path) -> History:
    try:
        kinds, processes, fs, values, keys, times, lines = Reader(_load(path)).events()
    except EdnError as error:
        raise BadHistory(str(error), where=str(path), line=error.line) from error
    return _history(path, kinds, processes, fs, values, keys, times, lines)


def _read_jepsen_text(path: Path) -> History:
    columns: tuple[list[Any], ...] = ([], [], [], [], [])
    for number, line in enumerate(_load(path).decode(errors="replace").splitlines(), 1):
        found = EVENT.match(line)
        if found is None:
            continue                    # other lines of the log
        process, kind, f, value = found.groups()
        if kind not in TYPE_NAMES:
            continue
        try:
            cells = (TYPE_NAMES.index(kind), int(process) if process.isdigit() else NEMESIS, f,
                     loads(value), number)
        except EdnError as error:
            raise BadHistory(str(error), where=str(path), line=number) from error
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
    kinds, processes, fs, values, lines = columns
    return _history(path, kinds, processes, fs, values, None, None, lines)


class _Event(msgspec.Struct):
    """An event in JSON."""

    type: str
    f: str
    process: int | str | None = None
    value: Any = None
    key: Any = None
    time: int | None = None


def _read_json(path: Path) -> History:
    data = _load(path)
    whole = data.lstrip().startswith(b"[")
    try:
        events = (msgspec.json.decode(data, type=list[_Event]) if whole
                  else msgspec.json.Decoder(_Event).decode_lines(data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        place = re.search(r"byte (\d+)", str(error)) or re.search(r"position (\d+)", str(error))
        line = data.count(b"\n", 0, int(place[1])) + 1 if place else 1
        raise BadHistory(f"not a history in JSON: {error}", where=str(path), line=line) from error
    for row, event in enumerate(events):
        if event.type not in TYPE_NAMES:
            raise BadHistory(f"event {row + 1} has the type {event.type!r}; expected one of "
                             f"{', '.join(TYPE_NAMES)}", where=str(path), line=row + 1)
    return _history(
        path, [TYPE_NAMES.index(event.type) for event in events],
        [event.process if isinstance(event.process, int) else NEMESIS for event in events],
        [event.f for event in events], [event.value for event in events],
        [event.key for event in events], [event.time for event in events],
        range(1, len(events) + 1))


def _history(
    path: Path, kinds: Sequence[int], processes: Sequence[int], fs: Sequence[str],
    values: Sequence[Any], keys: Sequence[Any] | None, times: Sequence[int | None] | None,
    lines: Sequence[int],
) -> History:
    if not kinds:
        raise BadHistory("no events in it", where=str(path))
    known = {key: _key(key) for key in set(keys)} if keys else {}
    return History.from_columns(
        type=kinds, process=processes, f=fs, value=values,
        key=[known[key] for key in keys] if keys else None,
        time=[time or 0 for time in times] if times else None,
        lines=lines, where=str(path))


def _key(key: Any) -> bytes | None:
    if key is None:
        return None
    return key.encode() if isinstance(key, str) else str(key).encode()


READERS: Mapping[str, Callable[[Path], History]] = {
    "arrow": _read_arrow,
    "edn": _read_edn,
    "edn-lines-kv": _read_edn,
    "jepsen-text": _read_jepsen_text,
    "json": _read_json,
}
