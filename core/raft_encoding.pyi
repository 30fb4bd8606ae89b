from collections.abc import Mapping

from .raft import Raft

FIELDS: dict[str, dict[str, str]]

class RaftEncoding:
    def encoded(self, raft: Raft, names: Mapping[int, int] | None = None) -> bytes: ...
    def decoded(self, raft: Raft, state: bytes) -> None: ...
