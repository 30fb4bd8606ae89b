from collections.abc import Sequence

from .operations import Operations

STATUSES: tuple[str, ...]

class Search:
    def __init__(self, operations: Operations) -> None: ...
    def run(
        self, keys: Sequence[int], initial: int, *, deadline_ns: int, memory: int, effort: int,
    ) -> list[tuple[int, int, int, int, int]]: ...
    def probe(
        self, key: int, initial: int, *, anywhere: bool = False, look_ahead: bool = True,
        deadline_ns: int, memory: int, effort: int,
    ) -> tuple[str, int, list[tuple[int, ...]]]: ...
