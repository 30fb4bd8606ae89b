"""Which build of the node a process must import to run a test.

What was imported can't be exchanged: a planted bug needs a process that was started with the
build that holds it.
"""
from __future__ import annotations

from pathlib import Path
from typing import cast

from seatrial.core import mutants

from ..launch import Plan
from .hosts import SimulatedSystem


def other_build(chosen: Plan) -> Path | None:
    """Return the folder that a process must import from first to run this, None if ours will do."""
    system = cast(SimulatedSystem, chosen.system)
    system.prepare()
    return None if mutants.NAMES else system.python_path()
