from .replica_requests import ReplicaRequests

class ReplicaWrites(ReplicaRequests):
    def restore(
        self, term: int, vote: int, records: bytes, *, first: int = 1, base_term: int = 0,
        snapshot: tuple[int, int, bytes] | None = None,
        partial: tuple[int, int, bytes] | None = None, damaged_until: int = 0,
        damaged_term: int = 0,
    ) -> None: ...
    def take_persist(
        self,
    ) -> tuple[int, int, int, int, bytes, int, int, bytes, int] | None: ...
    def persisted(self, seq: int, now_ns: int) -> None: ...

def _arm(mutant: int) -> None: ...
