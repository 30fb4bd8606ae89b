from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .operations import Operations

def judge(
    operations: Operations, keys: Sequence[int], *, jobs: int = 1,
) -> tuple[npt.NDArray[np.int8], dict[int, list[int]]]: ...
