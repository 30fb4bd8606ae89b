"""The nodes' logs of a run, searched for what must not be there (checker/log_patterns.py)."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from seatrial.checker import CheckResult
from seatrial.checker.log_patterns import check_log_patterns

from .errors import BadInput
from .testfile import LogSearch


def log_checks(search: LogSearch, files: Mapping[str, Path]) -> list[CheckResult]:
    """Search files; nothing where there is nothing to look for, or to look at unasked."""
    if not search.patterns and not (search.known and files):
        return []
    return [check_log_patterns(files, known=search.known, patterns=search.patterns,
                               ignore=search.ignore)]


def logs_of_run(nodes: Path) -> Mapping[str, Path]:
    """Return all that was fetched from the nodes, if it was: name -> file (store.py)."""
    return {str(path.relative_to(nodes)): path for path in nodes.rglob("*") if path.is_file()}


def logs_at(places: Iterable[Path]) -> Mapping[str, Path]:
    """Return the files that a user named, and all in named folders: name -> file."""
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            found |= {str(path): path for path in place.rglob("*") if path.is_file()}
        elif place.is_file():
            found[str(place)] = place
        else:
            raise BadInput(f"{place}: no such file or folder")
    return found
