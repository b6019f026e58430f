"""Types of arrays by what they hold. The shapes are in each docstring."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Labels = NDArray[np.int32]  # also other small integers, where there are many
Mask = NDArray[np.bool_]
Vectors = NDArray[np.float32]  # embeddings [N, D]
Scores = NDArray[np.float32]  # higher is closer
Ids = Sequence[str] | NDArray[np.object_]
