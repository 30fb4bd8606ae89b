"""Columnar histories: our own Arrow stream, and Parquet.

A Parquet file has our columns (history.py), or just ``type`` and ``f`` and what it has of
``process``, ``value``, ``key``, ``time``: types as names or numbers, values of any Arrow type.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..history import SCHEMA, TYPE_NAMES, History
from .events import Events
from .source import Source


def read_arrow(source: Source) -> History:
    """Our own format."""
    if source.path is not None:
        return History.read(source.path)
    return History.of_stream(pa.BufferReader(source.data), source.name)


def read_parquet(source: Source) -> History:
    """A table with an event in each row."""
    file = pa.BufferReader(source.data) if source.path is None else str(source.path)
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise source.bad(f"not a Parquet file: {error}") from error
    if set(SCHEMA.names) <= set(table.schema.names):
        try:
            return History(table.select(SCHEMA.names).cast(SCHEMA), where=source.name)
        except (pa.ArrowException, ValueError) as error:
            raise source.bad(f"columns of other types than a history's: {error}") from error
    missing = [name for name in ("type", "f") if name not in table.schema.names]
    if missing:
        raise source.bad(f"no column {' and no column '.join(missing)}; its columns are "
                         f"{', '.join(table.schema.names)}")
    columns = {name: table.column(name).to_pylist() for name in table.schema.names
               if name in SCHEMA.names}
    n = table.num_rows
    nothing: list[Any] = [None] * n
    for row, f in enumerate(columns["f"], 1):
        if not isinstance(f, str):
            raise source.bad(f"f is {f!r}; expected what was done, such as read", row)
    return Events(
        _types(source, columns["type"]), columns.get("process", nothing), columns["f"],
        columns.get("value", nothing), columns.get("key"), columns.get("time"),
        list(range(1, n + 1))).history(source)


def _types(source: Source, cells: Sequence[Any]) -> list[int]:
    codes: dict[Any, int] = {name: code for code, name in enumerate(TYPE_NAMES)}
    codes |= {code: code for code in range(len(TYPE_NAMES))}
    try:
        return [codes[cell] for cell in cells]
    except (KeyError, TypeError):
        row = next(i for i, cell in enumerate(cells) if cell not in codes)
        raise source.bad(f"the type {cells[row]!r}; expected one of {', '.join(TYPE_NAMES)}, or "
                         "0 to 3", row + 1) from None
