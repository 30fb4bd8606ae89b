import numpy as np
import numpy.typing as npt

from ..operations import Operations

class Found:
    def table_of(self) -> tuple[dict[str, npt.NDArray[np.int64]], list[tuple[int, int]]]: ...

def find(
    operations: Operations, rindex: npt.NDArray[np.int64], floor: npt.NDArray[np.int64],
    initial: int,
) -> tuple[dict[str, npt.NDArray[np.int64]], list[tuple[int, int]], npt.NDArray[np.int32],
           npt.NDArray[np.int64]]: ...
