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
    chunks_sent: int
    transfers_resumed: int
    config_index: int
    config_version: int
    transfer_to: int
    damaged_until: int
    term_start: int

def _arm(mutant: int) -> None: ...
