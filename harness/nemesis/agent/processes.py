"""Processes stopped, or about to be killed.

Each is known by its start time too: a pid alone may have been given to somebody else since.
"""
from __future__ import annotations

import os
import signal

from .files import Json, locked, read_json
from .journal import begin, boot_id, entry_path, journal


def pause(request: Json) -> Json:
    """Stop these processes."""
    with locked():
        entry = begin(request, "pause", pids=identify(request["pids"]))
        for pid, start in entry["pids"]:
            send_signal(pid, start, signal.SIGSTOP)
    return {}


def resume(entry: Json, ending: set[str]) -> None:
    """Let the processes of a pause go on that no other fault, beside those that end, holds."""
    if entry["boot"] == boot_id():              # else nobody we know
        for pid, start in entry["pids"]:
            if not paused_by_another(pid, start, ending):
                send_signal(pid, start, signal.SIGCONT)


def paused_by_another(pid: int, start: int, ending: set[str]) -> bool:
    """Tell whether a fault that goes on holds this process too."""
    return any(entry["kind"] == "pause" and [pid, start] in entry["pids"]
               for entry in journal() if entry["id"] not in ending)


def stopped(request: Json) -> Json:
    """Return which processes of a pause are stopped and which run."""
    pids = journalled_pids(request["id"])
    return {name: [pid for pid, start in pids if is_stopped(pid, start) is wanted]
            for name, wanted in (("stopped", True), ("running", False))}


def aim(request: Json) -> Json:
    """Journal the processes that are about to be killed; return those that run."""
    with locked():
        entry = begin(request, "kill", pids=identify(request["pids"]))
    return {"pids": [pid for pid, _ in entry["pids"]]}


def gone(request: Json) -> Json:
    """Return which processes of a kill still run."""
    pids = journalled_pids(request["id"])
    return {"alive": [pid for pid, start in pids if start_time(pid) == start]}


def journalled_pids(fault: str) -> list[list[int]]:
    """Return [pid, start time] of a fault's processes."""
    entry = read_json(entry_path(fault))
    return [] if entry is None else list(entry["pids"])


def identify(pids: list[int]) -> list[list[int]]:
    """Return [pid, start time] of each of these processes that runs."""
    return [[pid, start] for pid in pids for start in [start_time(pid)] if start is not None]


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when there is none."""
    fields = stat_fields(f"/proc/{pid}/stat")
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def stat_fields(path: str) -> list[str] | None:
    """Return the fields of a /proc stat file from the state on, or None when it is gone."""
    try:
        with open(path, "rb") as file:          # noqa: PTH123 (hot while waiting for a stop)
            text = file.read().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2:].split()


def send_signal(pid: int, start: int, number: int) -> bool:
    """Signal exactly the process that had this pid and start time; False when it is gone."""
    try:
        fd = os.pidfd_open(pid)                 # from here on the pid can't change its owner
    except ProcessLookupError:
        return False
    try:
        if start_time(pid) != start:
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def is_stopped(pid: int, start: int) -> bool:
    """Tell whether a process lives and each of its threads is stopped."""
    if start_time(pid) != start:
        return False
    for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 (as above)
        fields = stat_fields(f"/proc/{pid}/task/{task}/stat")
        if fields is not None and fields[0] != "T":
            return False
    return True
