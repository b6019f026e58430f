"""What one unwanted and one more wanted image add to a query, on labelled photographs.

    python -m benchmarks.feedback MIT_split/train      # a folder of class folders

The network is the default one, with its packaged weights, at 224 px. Each image is a query among
all others. Where its first ten results have a wrong one, that is said to be unwanted; and where
they have a right one, that is said to be wanted too. Printed is the precision among the first ten
of the images that were not named, for several weights of the unwanted; 0 is the query alone.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.data.arrays import Vectors
from pipeline.index import combined_queries
from pipeline.index.combined_queries import combine
from pipeline.models.embed_images import embed_pixels
from pipeline.models.embedder import build_baseline
from pipeline.models.preprocessing import resize_and_crop

NETWORK, SIDE, FIRST = "timm:tf_efficientnet_lite0", 224, 10
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
EVERY = 2  # of the images, so that it takes a minute


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else sys.exit("give a folder of class folders")
    paths = sorted(folder.glob("*/*.*"))[::EVERY]
    vectors = embed(paths)
    classes = np.array([path.parent.name for path in paths])
    cases = list(find_cases(vectors, classes))
    print(f"{len(paths)} images, {len(cases)} queries with right and wrong results")
    print("weight  query − unwanted  query + wanted − unwanted")
    for weight in WEIGHTS:
        combined_queries.UNWANTED_WEIGHT = weight
        found = [
            (
                measure(vectors, classes, [query], [wrong], [query, wrong]),
                measure(vectors, classes, [query, right], [wrong], [query, wrong, right]),
            )
            for query, right, wrong in cases
        ]
        one, both = np.mean(found, axis=0)
        print(f"{weight:6.2f}  {one:16.3f}  {both:25.3f}")


def embed(paths: Sequence[Path]) -> Vectors:
    """Return float32 [N, D]."""
    model = build_baseline(NETWORK, image_size=SIDE, pooling="avg", weights="packaged", seed=0)
    vectors = []
    with torch.inference_mode():
        for path in paths:
            pixels = resize_and_crop(Image.open(path).convert("RGB"), SIDE, "bicubic")
            vectors.append(embed_pixels(model, torch.from_numpy(pixels)[None], hflip=False).numpy())
    return np.concatenate(vectors)


def find_cases(vectors: Vectors, classes: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Yield queries with their first right and first wrong result, where they have both."""
    for query, scores in enumerate(vectors @ vectors.T):
        scores[query] = -np.inf
        first = np.argsort(-scores, kind="stable")[:FIRST]
        is_right = classes[first] == classes[query]
        if is_right.any() and not is_right.all():
            yield query, int(first[is_right][0]), int(first[~is_right][0])


def measure(
    vectors: Vectors, classes: np.ndarray, wanted: list[int], unwanted: list[int], named: list[int]
) -> float:
    """Return the precision of the first results that are not among the named."""
    scores = vectors @ combine(vectors[wanted], vectors[unwanted], vectors)
    scores[named] = -np.inf
    first = np.argsort(-scores, kind="stable")[:FIRST]
    return float((classes[first] == classes[wanted[0]]).mean())


if __name__ == "__main__":
    main()
