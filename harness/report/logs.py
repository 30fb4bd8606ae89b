"""The ends of the node logs, which is where the story of a failure usually stands."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ..redact import redacted_text

TAIL_BYTES = 8_000
MOST_FILES = 40


def log_tails(folder: Path) -> list[dict[str, Any]]:
    """Return name, size and last lines of the files that were fetched from the nodes."""
    if not folder.is_dir():
        return []
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        {"name": str(path.relative_to(folder)), "size": f"{path.stat().st_size:,} bytes",
         "tail": tail(path)}
        for path in files[:MOST_FILES]
    ]


def tail(path: Path) -> str:
    """Return the last whole lines of a text file, as text; of a binary file only that it is one."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - TAIL_BYTES, 0))
        data = file.read()
    if b"\0" in data:
        return "(binary)"
    if size > TAIL_BYTES:
        data = data.partition(b"\n")[2] or data
    return redacted_text(data.decode(errors="replace")) or "(empty)"
