"""What the arrays of the library hold, named once. Shapes stand in each docstring."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Labels = NDArray[np.int32]  # labels, and other numbers that are many and small
Mask = NDArray[np.bool_]
Vectors = NDArray[np.float32]  # embeddings [N, D]
Scores = NDArray[np.float32]  # higher is closer
Ids = Sequence[str] | NDArray[np.object_]
