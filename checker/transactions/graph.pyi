from typing import Any

from ..history import Ints

WW: int
WR: int
RW: int
PROCESS: int
REALTIME: int
FRACTURED: int
CAUSAL: int

class Graph:
    n: int
    sources: Ints
    targets: Ints
    kinds: Ints
    def __init__(self, n: int, sources: Any, targets: Any, kinds: Any) -> None: ...
    def components(self, mask: int) -> Ints: ...
    def cycle(
        self, first: int, rest: int, *, apart: bool = False, budget: int = ...,
    ) -> list[int] | None: ...
