"""A topology in a file of its own, which several tests can refer to.

A test file says ``topology: {file: layers.yml}``, relative to its own folder. That file is read
and refused by its own name and lines; then its content stands where the reference stood, so that
what a run saves of its test is whole.
"""
from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..yamlfile import At, Document
from .rules import complaints
from .section import Domains, PoolSection, TimersSection, TreeSection, made
from .tree import Tree

SECTION = "topology"


class Judged(Protocol):
    """What the rules look at: a topology of its own file, or of a test file."""

    @property
    def domains(self) -> Domains | None:
        """None where hosts are only counted."""

    @property
    def pools(self) -> dict[str, PoolSection]:
        """Name -> clients."""

    @property
    def timers(self) -> TimersSection:
        """Leases, promises, exclusion."""

    @property
    def shared_hosts(self) -> bool:
        """Whether a host may be in several domains."""


def load(path: Path) -> Tree:
    """Read and validate a file that holds a topology and nothing else."""
    return tree_of(Document.load(path))


def tree_of(document: Document) -> Tree:
    """Return the tree that a whole document describes."""
    section = document.validate(TreeSection, document.data)
    must_be_possible(document, section, ())
    return made(section.domains, section.pools, section.timers)


def must_be_possible(document: Document, section: Judged, at: At) -> None:
    """Raise what is wrong with the tree in the document's section at ``at``."""
    if section.domains is None:
        return
    for key, expected in complaints(section.domains, section.pools, section.timers,
                                    shared_hosts=section.shared_hosts):
        raise document.error((*at, *key), expected)


def with_file(document: Document) -> None:
    """Put the content of the file that a test's topology refers to in its place."""
    section = document.data.get(SECTION)
    if not isinstance(section, dict) or not isinstance(section.get("file"), str):
        return                  # validation is going to say what is wrong with it, if anything is
    others = [key for key in section if key != "file"]
    if others:
        raise document.error((SECTION, str(others[0])), "expected nothing beside topology.file")
    path = Path(document.name).parent / section["file"]
    if not path.is_file():
        raise document.error((SECTION, "file"), f"{path}: no such file")
    inner = Document.load(path)
    tree_of(inner)
    document.data[SECTION] = inner.data
