"""Which kind of index suits how many images, and which of them it is trained on.

`auto` is exact search as long as that takes a few hundredths of a second, and above it IVF-PQ
(Jegou et al.: Product Quantization for Nearest Neighbor Search, 2011): the vectors in lists around
centroids, as codes of a byte for every few dimensions. Its best are ranked again by the exact
vectors.
"""

import math

import faiss
import numpy as np

from pipeline.data.arrays import Ints

# Images that are searched exactly: a million of 128 dimensions take 0.05 s on one core.
MOST_FLAT = 1_000_000
# As faiss advises: lists for each root of the number of images, training vectors for each list.
LISTS_PER_ROOT, TRAINING_PER_LIST = 4, 64
# Each quantizer has 256 centroids, for which faiss samples 256 vectors each.
LEAST_TRAINING = 65_536
MOST_CODE_BYTES, LEAST_PART = 64, 4


def choose_factory(factory: str, *, images: int, dimension: int) -> str:
    """Return a faiss factory string; `auto` by the number of images.

    >>> choose_factory("auto", images=1_000_000, dimension=128)
    'Flat'
    >>> choose_factory("auto", images=4_000_000, dimension=128)
    'IVF8192,PQ32,RFlat'
    >>> choose_factory("auto", images=10**8, dimension=1280)
    'IVF32768,PQ64,RFlat'
    >>> choose_factory("HNSW32", images=10, dimension=128)
    'HNSW32'
    """
    if factory != "auto":
        return factory
    if images <= MOST_FLAT:
        return "Flat"
    lists = 2 ** round(math.log2(LISTS_PER_ROOT * math.sqrt(images)))
    most = min(MOST_CODE_BYTES, max(1, dimension // LEAST_PART))
    parts = max(each for each in range(1, most + 1) if dimension % each == 0)
    return f"IVF{lists},PQ{parts},RFlat"


def sample_rows(index: faiss.Index, images: int, *, seed: int) -> Ints:
    """Return int64 [n], ascending: the rows that an index is trained on."""
    ivf = faiss.try_extract_index_ivf(index)
    lists = 1 if ivf is None else ivf.nlist
    wanted = max(LEAST_TRAINING, TRAINING_PER_LIST * lists)
    if images <= wanted:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).choice(images, wanted, replace=False))
