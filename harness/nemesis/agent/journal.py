"""The faults that are in force or about to be: a file for each, there before the fault begins."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from . import paths
from .errors import AgentError
from .files import Json, read_json, sync_folder, write_json
from .life import must_be_guarded


def journal() -> list[Json]:
    """Return every fault that is in force or about to be."""
    entries = [read_json(path) for path in sorted(paths.JOURNAL.glob("*.json"))]
    return [entry for entry in entries if entry is not None]


def entry_path(fault: str) -> Path:
    """Return the journal's file of a fault, refusing ids that would leave the folder."""
    if not fault or not all(c.isalnum() or c in "-_" for c in fault):
        raise AgentError(f"fault id {fault!r}: expected letters, digits, - and _")
    return paths.JOURNAL / f"{fault}.json"


def begin(request: Json, kind: str, **details: Any) -> Json:
    """Journal a fault. The same fault begun twice is one fault."""
    must_be_guarded()
    entry = {"id": request["id"], "name": request["name"], "kind": kind, "boot": boot_id(),
             **details}
    write_json(entry_path(entry["id"]), entry)
    return entry


def forget(fault: str) -> None:
    """Take a fault that was undone out of the journal."""
    entry_path(fault).unlink()
    sync_folder(paths.JOURNAL)


def boot_id() -> str:
    """Return what tells this boot of the host from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
