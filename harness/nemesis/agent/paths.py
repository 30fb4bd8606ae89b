"""Where the agent's files are: all in the folder that it was uploaded into, but for the view.

Others read these names from here when they need them (``paths.RUN``), as tests put them elsewhere.
"""
from __future__ import annotations

from pathlib import Path

ARCHIVE = Path(__file__).parents[1].resolve()
STATE = ARCHIVE.parent
JOURNAL = STATE / "journal"
RUN = STATE / "run.json"
PEERS = STATE / "peers.json"
ALIVE = STATE / "alive"
LIFE = STATE / "resident.lock"
VIEW = Path("/run") / f"{STATE.name}.view"      # tmpfs: beacons must not disturb the disk
