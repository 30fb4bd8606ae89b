"""What there is to say of a planted bug (mutants.py, domain_mutants.py)."""
from __future__ import annotations

from typing import NamedTuple

SWARM = "examples/swarm.yml"
PARTS = ("wal", "log", "election", "replication", "commit", "sessions", "reads", "codec",
         "membership", "leases", "snapshots", "damage", "domains")
PROPERTIES = (
    # what the simulated world checks after every step (core/invariants.pyx)
    "election safety", "election by majority", "one vote a term", "terms only grow", "log matching",
    "leader append-only", "state machine safety", "leader completeness", "commit by counting",
    "commit only grows", "durability", "configuration safety", "leader leases",
    # and of trees of domains (core/domain_invariants.pyx, core/read_invariants.pyx)
    "mirror without gaps", "one prefix", "one history", "equal states", "applied only grows",
    "held as told", "one root an epoch", "epochs only grow", "acknowledged is committed",
    "confirmed is held", "linearizable reads", "bounded reads", "sessions go forward",
    # what the node checks itself, and stops at
    "assertion", "recovery",
    # what is judged when a run is over
    "linearizable", "liveness", "livelock",
)


class Mutant(NamedTuple):
    """One planted bug. breaks: the properties of which it is expected to break one. file: the
    test whose seeds find it."""

    name: str
    part: str
    what: str
    source: str
    breaks: tuple[str, ...]
    file: str = SWARM
