from .log import Log

class RaftState:
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

def _arm(mutant: int) -> None: ...
