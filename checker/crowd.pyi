from typing import Any

NAMES: tuple[str, ...]

class Crowd:
    started: int
    def __init__(
        self, *, observation: str, change: str, operations: int, clients: int, keys: int,
        pending: int, observe: float, compare: float, values: int, seed: int, script: list[Any],
        script_at: int, unordered: bool = ..., lease: tuple[int, int] = ...,
    ) -> None: ...
    def fill(
        self, types: Any, processes: Any, fs: Any, keys: Any, numbers: Any, is_number: Any,
        ends: Any, text: Any,
    ) -> int: ...
