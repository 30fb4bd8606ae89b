"""The tree of domains in a report, drawn from the test as it ran."""
from __future__ import annotations

import json

from pydantic import ValidationError

from .. import topology
from ..topology.section import TreeSection, made
from ..topology.tree import Tree


def tree_of(test: bytes) -> Tree | None:
    """Return the tree of a test that says its domains; None for others."""
    try:
        section = json.loads(test)["topology"]
        if not section.get("domains"):
            return None
        given = TreeSection.model_validate(
            {key: section[key] for key in TreeSection.model_fields if key in section})
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None             # a run that broke early may have left anything
    return made(given.domains, given.pools, given.timers)


def drawing(test: bytes) -> str:
    """Return that tree as it is drawn; nothing for others."""
    tree = tree_of(test)
    return "" if tree is None else topology.draw(tree)
