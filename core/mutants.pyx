"""The planted bugs of a +mutants build: their names, and switching one on.

A normal build has ``NAMES == ()`` and can activate nothing. Only modules that contain a bug
are armed, each through its own ``arm`` function (mutant.h keeps one variable a module).
"""
from seatrial.core.mutant cimport SEATRIAL_MUTANT_NAMES
from importlib import import_module

MODULES = tuple(import_module(f"seatrial.core.{name}") for name in (
    "children", "chunks", "clock", "domain", "downlinks", "group_write", "keys", "kv", "locks",
    "log", "raft", "raft_elections", "raft_following", "raft_leading", "raft_members",
    "raft_rounds", "raft_snapshots", "raft_state", "recovery", "replica_reads",
    "replica_requests", "replica_snapshots", "replica_writes", "retention", "root_commit",
    "segment", "sessions", "snapshot", "uplink",
))
NAMES = tuple(SEATRIAL_MUTANT_NAMES.decode().split(",")) if SEATRIAL_MUTANT_NAMES[0] else ()


def activate(name: str | None) -> None:
    """Switch on the planted bug ``name``, or all off with None.

    Raises ValueError when this build holds no bug of that name.
    """
    if name is not None and name not in NAMES:
        known = ", ".join(NAMES) or "this build has none"
        raise ValueError(f"unknown mutant {name!r}: expected one of: {known}")
    number = 0 if name is None else NAMES.index(name) + 1
    for module in MODULES:
        module._arm(number)
