import numpy as np
import numpy.typing as npt

def pairs(
    process: npt.NDArray[np.int32], kind: npt.NDArray[np.int8],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int, int]: ...
