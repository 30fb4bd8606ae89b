"""The tree of domains in a report, drawn from the test as it ran."""
from __future__ import annotations

import json

from pydantic import ValidationError

from .. import topology
from ..topology.section import TreeSection, made


def drawing(test: bytes) -> str:
    """Return the tree of a test that says its domains; nothing for others."""
    try:
        section = json.loads(test)["topology"]
        if not section.get("domains"):
            return ""
        given = TreeSection.model_validate(
            {key: section[key] for key in TreeSection.model_fields if key in section})
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return ""               # a run that broke early may have left anything
    return topology.draw(made(given.domains, given.pools, given.timers))
