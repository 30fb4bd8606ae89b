"""Workloads and systems by name, so that a user's package plugs in the way ours does.

A name is looked up in the entry points ``seatrial.workloads`` and ``seatrial.systems`` of
everything installed. Where seatrial itself runs from its source tree without being
installed, the same table is read from the tree's pyproject.toml, its one source. A name of
the form ``package.module:Class`` is imported as it stands.

What is found must be a class with an ``Options`` model (a yamlfile.Section) and is made from
the validated options: ``Class(options)``.
"""
from __future__ import annotations

import importlib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from .testfile import Part
from .yamlfile import Document, Section, suggestion

WORKLOADS, SYSTEMS = "seatrial.workloads", "seatrial.systems"


@cache
def known(group: str) -> Mapping[str, str]:
    """Return name -> ``module:Class`` of everything registered in a group: looked up once, as
    simulated runs ask for it many times a second."""
    found = _source_tree(group)
    found.update({point.name: point.value for point in entry_points(group=group)})
    return found


def make(group: str, part: Part, document: Document, at: str) -> Any:
    """Make the workload or system that the document's section ``at`` asks for."""
    cls = _find(group, part.name, document, at)
    options = getattr(cls, "Options", None)
    if not (isinstance(options, type) and issubclass(options, Section)):
        raise document.error((at, "name"), f"{part.name} has no Options model (a Section)")
    return cls(document.validate(options, part.options, (at, "options")))


def _find(group: str, name: str, document: Document, at: str) -> Any:
    """Return the class of that name, or raise the line that tells what there is."""
    table = known(group)
    target = name if ":" in name else table.get(name)
    if target is None:
        kind = group.partition(".")[2].removesuffix("s")
        raise document.error((at, "name"), f"unknown {kind} {name!r}; {suggestion(name, table)}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError) as error:
        raise document.error((at, "name"), f"can't import {module!r}: {error}") from None
    except AttributeError:
        raise document.error((at, "name"), f"{module} has no {attribute!r}") from None


def _source_tree(group: str) -> dict[str, str]:
    """Return what pyproject.toml registers when this file lies in the source tree."""
    path = Path(__file__).resolve().parents[1] / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError):
        return {}
    if project.get("name") != "seatrial":
        return {}
    return dict(project.get("entry-points", {}).get(group, {}))
