"""Whom the resident sends beacons to."""
from __future__ import annotations

from . import paths
from .files import Json, write_json


def peers(request: Json) -> Json:
    """Write down whom the resident sends beacons to."""
    write_json(paths.PEERS, request["peers"])
    return {}
