from collections.abc import Iterable

from .log import Log

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
    def __init__(
        self, node: int, members: Iterable[int], seed: int, now_ns: int, heartbeat_ns: int,
        election_ns: int, max_batch_bytes: int, max_inflight_bytes: int,
    ) -> None: ...
    def restore(self, term: int, vote: int, records: bytes) -> None: ...

def _arm(mutant: int) -> None: ...
