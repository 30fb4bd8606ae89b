from collections.abc import Iterable, Mapping
from typing import NamedTuple

class BadConfiguration(ValueError): ...

class Change(NamedTuple):
    kind: str
    node: int
    address: str = ""
    priority: int | None = None

class Configuration:
    voters: frozenset[int]
    outgoing: frozenset[int]
    learners: frozenset[int]
    learners_next: frozenset[int]
    auto_leave: bool
    details: Mapping[int, tuple[str, int]]
    def __init__(
        self, voters: Iterable[int] = (), *, outgoing: Iterable[int] = (),
        learners: Iterable[int] = (), learners_next: Iterable[int] = (),
        auto_leave: bool = False, details: Mapping[int, tuple[str, int]] | None = None,
    ) -> None: ...
    @property
    def joint(self) -> bool: ...
    @property
    def nodes(self) -> frozenset[int]: ...
    def simple(self, changes: Iterable[Change]) -> Configuration: ...
    def enter_joint(
        self, changes: Iterable[Change], auto_leave: bool = False,
    ) -> Configuration: ...
    def leave_joint(self) -> Configuration: ...
    def encode(self) -> bytes: ...
    @staticmethod
    def decode(payload: bytes) -> Configuration: ...
