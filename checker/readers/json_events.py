"""The same events as Jepsen's, in JSON: in one array, or one on each line."""
from __future__ import annotations

import re
from typing import Any

import msgspec

from ..history import TYPE_NAMES, History
from .events import Events
from .source import Source

TRANSACTION = "txn"         # what an event without f does, when its value is a list


class Event(msgspec.Struct):
    """An event in JSON. What else it holds is passed over."""

    type: str
    f: str | None = None
    process: int | str | None = None
    value: Any = None
    key: Any = None
    time: int | None = None


def read_json(source: Source) -> History:
    """Objects with type, f, process, value, maybe key and time."""
    data = source.text
    whole = data.lstrip().startswith(b"[")
    try:
        found = (msgspec.json.decode(data, type=list[Event]) if whole
                 else msgspec.json.Decoder(Event).decode_lines(data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise source.bad(f"not a history in JSON: {error}", _line(data, str(error), whole)
                         ) from error
    for row, event in enumerate(found):
        if event.type not in TYPE_NAMES:
            raise source.bad(f"event {row + 1} has the type {event.type!r}; expected one of "
                             f"{', '.join(TYPE_NAMES)}", row + 1)
        if event.f is None:
            if not isinstance(event.value, list):
                raise source.bad(f"event {row + 1} has no f; expected what was done, such as "
                                 "\"read\"", row + 1)
            event.f = TRANSACTION
    return Events(
        [TYPE_NAMES.index(event.type) for event in found],
        [event.process for event in found], [event.f or "" for event in found],
        [event.value for event in found], [event.key for event in found],
        [event.time for event in found], list(range(1, len(found) + 1))).history(source)


def _line(data: bytes, message: str, whole: bool) -> int:
    """The line of an error: from the byte that the message names, or the object in an array."""
    place = re.search(r"(?:byte|position) (\d+)", message)
    if place:
        return data.count(b"\n", 0, int(place[1])) + 1
    if whole:
        return 1
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                msgspec.json.decode(line, type=Event)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return number
    return 1
