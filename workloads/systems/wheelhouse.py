"""The wheelhouse: one archive of wheels for each state of the code, made once and kept.

Its name is a digest of everything that goes into it (the files of the node, the versions of
what it needs, this Python), so that a second run finds it and a changed source never meets an
old build. It is made in a folder of its own and renamed when complete: an interrupted build
leaves nothing that looks finished, and two builds at once don't disturb each other. Only the
newest few are kept.
"""
from __future__ import annotations

import hashlib
import os
import platform
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from seatrial.harness.errors import HarnessFailure

from . import wheels

KEPT = 4
ARCHIVE = "wheels.tar"


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """An archive of wheels, and what a host must be to use it."""

    archive: Path
    digest: str
    python: str
    machine: str


def cache() -> Path:
    """Return the folder where wheelhouses are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "seatrial" / "wheelhouse"


def wheelhouse(*, mutants: bool) -> Wheelhouse:
    """Return the wheelhouse of the code as it is now; make it if there is none."""
    digest = _digest(mutants)
    place = cache() / digest
    try:
        if not (place / ARCHIVE).exists():
            _make(place, mutants)
        os.utime(place)  # the order of _forget_old
    except OSError as error:
        raise HarnessFailure(f"{cache()}: can't keep wheels there: {error.strerror}") from error
    python = ".".join(platform.python_version_tuple()[:2])
    return Wheelhouse(place / ARCHIVE, digest, python, platform.machine())


def _make(place: Path, mutants: bool) -> None:
    """Make a wheelhouse beside its place, then rename it."""
    cache().mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=cache()))
    try:
        _fill(part, mutants)
        _move(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _forget_old()


def _fill(folder: Path, mutants: bool) -> None:
    """Make all wheels in ``folder`` and the archive of them."""
    made = [wheels.build_mutants(folder) if mutants else wheels.pack_node(folder)]
    made += [wheels.repack(folder, dist) for dist in wheels.needed()]
    with tarfile.open(folder / ARCHIVE, "w") as archive:
        for path in made:
            archive.add(path, path.name)


def _move(part: Path, place: Path) -> None:
    """Rename a complete wheelhouse to its place, unless another process was first."""
    try:
        part.rename(place)
    except OSError:
        if not (place / ARCHIVE).exists():
            raise


def _forget_old() -> None:
    """Remove all but the newest wheelhouses."""
    found = [path for path in cache().iterdir() if not path.name.startswith(".")]
    found.sort(key=lambda path: path.stat().st_mtime_ns)
    for path in found[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def _digest(mutants: bool) -> str:
    """Return a digest of all that decides what the wheelhouse holds."""
    total = hashlib.sha256()
    parts = [platform.python_version(), wheels.platform_tag(), str(mutants)]
    parts += [f"{dist.name}=={dist.version}" for dist in wheels.needed()]
    if mutants:
        root, sources = wheels.mutant_sources()
        files = [(str(path.relative_to(root)), path) for path in sources]
    else:
        files = wheels.node_files()
    for part in parts:
        total.update(f"{part}\n".encode())
    for name, path in files:
        data = path.read_bytes()
        total.update(f"{name} {len(data)}\n".encode())
        total.update(data)
    return total.hexdigest()[:20]
