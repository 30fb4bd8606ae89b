"""The node's build with planted bugs: which there are, and where to import it from.

A process that shall run a planted bug in itself, as the simulated world does, needs that build
as ``seatrial.core`` before anything is imported; so it lies unpacked beside the wheelhouse that
it is part of (wheelhouse.py), for as long as that is kept.
"""
from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from seatrial.harness.errors import BadInput
from seatrial.harness.yamlfile import suggestion

from .wheelhouse import wheelhouse
from .wheels import NAME, mutant_names

FOLDER = "site"


def must_be_known(mutant: str) -> None:
    """Refuse a bug that the node's sources do not hold."""
    known = mutant_names()
    if mutant not in known:
        raise BadInput(f"system.options.mutant: no planted bug is called {mutant!r}; "
                       f"{suggestion(mutant, known)}")


def mutants_folder() -> Path:
    """Return a folder that holds the build with planted bugs, for PYTHONPATH; make it if needed."""
    archive = wheelhouse(mutants=True).archive
    place = archive.with_name(FOLDER)
    if not place.exists():
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=archive.parent))
        try:
            _unpack(archive, part)
            _move(part, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return place


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the node's own wheel, which is a zip of what is to be imported."""
    with tarfile.open(archive) as wheels:
        name = next(name for name in wheels.getnames() if name.startswith(f"{NAME}-"))
        packed = wheels.extractfile(name)
        assert packed is not None, name
        with zipfile.ZipFile(packed) as wheel:
            wheel.extractall(folder)


def _move(part: Path, place: Path) -> None:
    """Rename a complete folder to its place, unless another process was first."""
    try:
        part.rename(place)
    except OSError:
        if not place.exists():
            raise
