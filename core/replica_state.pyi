from .chunks import Chunks
from .domain import Domain
from .kv import KeyValue
from .raft import Raft

class ReplicaState:
    raft: Raft
    kv: KeyValue
    making: Chunks
    domain: Domain
    applied: int
    served_reads: int
    served_writes: int
    refused: int
    snapshots_made: int
    snapshots_installed: int
    keep_bytes: int
    holds_chunks: bool
    def client_up(self, connection: int) -> None: ...
    def client_down(self, connection: int) -> None: ...
    def reply(self, connection: int, request: int, status: int, value: bytes) -> None: ...
