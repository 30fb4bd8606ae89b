from .membership import Configuration
from .raft_state import RaftState

class RaftMembers(RaftState):
    def configuration(self) -> Configuration: ...

def _arm(mutant: int) -> None: ...
