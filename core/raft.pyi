from collections.abc import Iterable

from .log import Log
from .membership import Change, Configuration

ROLES: tuple[str, ...]

class Raft:
    node: int
    term: int
    vote: int
    log: Log
    role: int
    leader: int
    commit: int
    durable_index: int
    elections: int
    conflicts: int
    config_index: int
    config_version: int
    transfer_to: int
    damaged_until: int
    term_start: int
    def __init__(
        self, node: int, configuration: Configuration, seed: int, now_ns: int, heartbeat_ns: int,
        election_ns: int, max_batch_bytes: int, max_inflight_bytes: int, leases: bool = ...,
        lease_drift_ppm: int = ...,
    ) -> None: ...
    def restore(
        self, term: int, vote: int, records: bytes, *, first: int = 1, base_term: int = 0,
        damaged_until: int = 0, damaged_term: int = 0,
    ) -> None: ...
    def configuration(self) -> Configuration: ...
    def change(
        self, changes: Iterable[Change], connection: int = 0, request: int = 0,
    ) -> None: ...

def _arm(mutant: int) -> None: ...
