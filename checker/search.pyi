from typing import Any

import numpy as np
import numpy.typing as npt

from .history import Ints
from .operations import Operations

STATUSES: tuple[str, ...]

class Search:
    def __init__(self, operations: Operations) -> None: ...
    def run(
        self, keys: Any, initial: int, *, deadline_ns: int, memory: int, effort: int,
    ) -> tuple[npt.NDArray[np.int8], Ints, Ints, Ints, Ints]: ...
    def probe(
        self, key: int, initial: int, *, anywhere: bool = False, look_ahead: bool = True,
        deadline_ns: int, memory: int, effort: int,
    ) -> tuple[str, int, list[tuple[int, ...]]]: ...
