"""A run to be done again: which test and seed, and what it gave then, as far as anybody knows."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from .errors import BadInput
from .launch import SIM, Request
from .results import Results, read_results
from .store import RunFolder
from .yamlfile import At, Document

Overrides = Mapping[str, tuple[At, Any]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """``results``: of a run whose folder is there; without one there may be a digest to compare."""

    path: Path
    document: Document
    seed: int
    folder: RunFolder | None = None
    results: Results | None = None
    digest: str | None = None
    commit: str | None = None
    overrides: Overrides = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.path}" if self.folder else f"{self.path}, seed {self.seed}"

    @property
    def verdict(self) -> str | None:
        """The verdict of then."""
        return self.results.verdict if self.results else None

    def request(self, store: Path) -> Request:
        """Return the request that runs it again in the simulated world."""
        return Request(self.path, store.absolute(), SIM, overrides=dict(self.overrides))


def recorded(path: Path, overrides: Overrides, *, digest: str | None = None,
             commit: str | None = None) -> Recorded:
    """Return the run in a folder of the store, or the one of a test file with a seed.

    overrides: as on the command line of ``run``; a folder's test is as it ran.
    """
    if path.is_dir():
        if overrides or digest or commit:
            option = next(iter(overrides), "--digest" if digest else "--commit")
            raise BadInput(f"{option}: only with a test file; {path} is the folder of a run, which "
                           "says itself what was run")
        return _from_folder(RunFolder(path.resolve()), path)
    document = Document.load(path)
    for option, (at, value) in overrides.items():
        document.override(at, value, option)
    seed = document.data.get("seed")
    if seed is None:
        raise BadInput(f"{path}: has no seed of its own: say which with --seed")
    return Recorded(path, document, seed, digest=digest, commit=commit, overrides=overrides)


def _from_folder(folder: RunFolder, path: Path) -> Recorded:
    results = read_results(folder.results)
    try:
        data = msgspec.json.decode(folder.test.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise BadInput(f"{folder.test}: can't read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise BadInput(f"{folder.test}: expected the test of a run: {error}") from error
    digest = getattr(results, "trace_digest", None)
    return Recorded(path, Document(str(folder.test), data, {}), results.seed, folder, results,
                    digest, results.commit)
