from collections.abc import Iterable

from .membership import Change
from .raft_rounds import RaftRounds

class RaftLeading(RaftRounds):
    def change(
        self, changes: Iterable[Change], connection: int = 0, request: int = 0,
    ) -> None: ...

def _arm(mutant: int) -> None: ...
