from .membership import Configuration
from .raft_elections import RaftElections

ROLES: tuple[str, ...]

class Raft(RaftElections):
    def __init__(
        self, node: int, configuration: Configuration, seed: int, now_ns: int, heartbeat_ns: int,
        election_ns: int, max_batch_bytes: int, max_inflight_bytes: int, leases: bool = ...,
        lease_drift_ppm: int = ..., domain: int = ..., child: bool = ...,
    ) -> None: ...
    def restore(
        self, term: int, vote: int, records: bytes, *, first: int = 1, base_term: int = 0,
        damaged_until: int = 0, damaged_term: int = 0,
    ) -> None: ...

def _arm(mutant: int) -> None: ...
