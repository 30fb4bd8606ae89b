"""The end of faults: of one, or of all in the journal.

Each kind's part is loaded when there is a fault of it: Python compiles an archive's modules anew
at each start, and hosts may be slow.
"""
from __future__ import annotations

from . import paths
from .files import Json, locked, read_json
from .journal import boot_id, entry_path, forget, journal


def stop(request: Json) -> Json:
    """End one fault; ``undone`` is empty when it isn't in the journal (any more).

    What takes time, and a cluster that can be reached, is done without the lock: others must be
    able to end the partition that is in its way.
    """
    path = entry_path(request["id"])
    entry = read_json(path)
    if entry is not None and entry["kind"] == "administer":
        from .administration import run_back
        run_back(entry, resigned=False)
        entry["undo"] = []
    with locked():
        return {"undone": undo([entry] if entry is not None and path.exists() else [])}


def heal() -> list[Json]:
    """Undo everything journalled. Rules are looked at even when nothing is journalled."""
    from .cuts import apply_cuts
    entries = undo(journal(), resigned=True)
    apply_cuts([])
    return entries


def disband() -> list[Json]:
    """Heal and end the run here. Both under one lock: a command of a controller that has given
    up may come late, and must find either a run that will be healed or none.
    """
    with locked():
        entries = heal()
        paths.RUN.unlink(missing_ok=True)
    return entries


def undo(entries: list[Json], *, resigned: bool = False) -> list[Json]:
    """End these faults, each forgotten once it is undone; what a tool does last, as it may fail,
    and what takes a cluster that can be reached at the very end.

    resigned: what an administrator did stays when it can't be undone: there may be no cluster any
    more that could agree to it. It is told in the entry's ``failed``.
    """
    ending = {entry["id"] for entry in entries}
    for entry in entries:
        give_back(entry, ending)
        if entry["kind"] not in ("cut", "administer"):
            forget(entry["id"])
    cuts = [entry["id"] for entry in entries if entry["kind"] == "cut"]
    if cuts:
        from .cuts import apply_cuts
        apply_cuts([entry for entry in journal() if entry["id"] not in ending])
    for fault in cuts:
        forget(fault)
    for entry in entries:
        if entry["kind"] == "administer":
            from .administration import run_back
            run_back(entry, resigned=resigned)
            forget(entry["id"])
    if any(entry.get("how") == "lost" and entry["boot"] == boot_id() for entry in entries):
        from .disk import lose_power
        lose_power()
    return entries


def give_back(entry: Json, ending: set[str]) -> None:
    """Undo on this host what a fault did there, but for rules: they follow from the journal."""
    if entry["kind"] == "pause":
        from .processes import resume
        resume(entry, ending)
    elif entry["kind"] == "shape":
        from .shaping import unshape
        unshape(entry)
    elif entry["kind"] == "clock":
        from .clock import restore_clock
        restore_clock(entry)
    elif entry["kind"] == "disk":
        from .disk import restore_disk
        restore_disk(entry)
