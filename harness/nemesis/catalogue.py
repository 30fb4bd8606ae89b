"""The closed list of fault names that a test file may use."""
from __future__ import annotations

from collections.abc import Iterable

from ..errors import BadInput
from . import partition, process
from .kind import Kind

CATALOGUE: dict[str, Kind] = {kind.name: kind for kind in (*process.KINDS, *partition.KINDS)}


def kinds(names: Iterable[str]) -> dict[str, Kind]:
    """Return the kinds with these names; BadInput for a name that doesn't exist."""
    chosen = {}
    for name in names:
        if name not in CATALOGUE:
            raise BadInput(f"unknown fault {name!r}; expected one of {', '.join(CATALOGUE)}")
        chosen[name] = CATALOGUE[name]
    return chosen
