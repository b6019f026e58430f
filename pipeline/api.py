"""The library for other programs: images, arrays and folders in, arrays and numbers out.

It needs no project. What is random depends on a seed alone. On one machine the same call gives the
same bits. Vectors equal those of the pipeline up to rounding: outside of a stage, nothing fixes the
bits of a processor, and with `embed.precision` bf16 the pipeline rounds more.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import faiss
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline import api_checks
from pipeline.comparison.compare import Side, compare
from pipeline.comparison.verdict import judge
from pipeline.data import embeddings
from pipeline.data.arrays import Mask, Vectors
from pipeline.data.decoding import UndecodableError, decode, to_upright_rgb
from pipeline.errors import UserError, escape_unprintable
from pipeline.evaluation.measure import measure
from pipeline.index import build, search
from pipeline.index.distances import DISTANCES, prepare_vectors
from pipeline.index.search import Neighbors
from pipeline.mining.by_embeddings import mine_by_embeddings
from pipeline.mining.triplets import MinedTriplets
from pipeline.models.devices import find_device, usable_cores
from pipeline.models.embed_images import batches_of, embed_batch, embed_by_threads, images_at_once
from pipeline.models.embedder import Embedder, EmbedderSpec, build_baseline, load_embedder
from pipeline.models.preprocessing import least_side, resize_and_crop

__all__ = [
    "build_index",
    "compare_models",
    "embed_images",
    "load_model",
    "load_network",
    "measure_retrieval",
    "mine_triplets",
    "read_embeddings",
    "read_index",
    "search_index",
]

NETWORK = "timm:tf_efficientnet_lite0"
BATCH = 128

ImageLike = str | Path | bytes | Image.Image


def load_network(
    name: str = NETWORK,
    *,
    weights: str | Path | None = "packaged",
    image_size: int = 224,
    pooling: str = "avg",
    seed: int = 0,
) -> Embedder:
    """Return a network that is not trained further, as an embedder.

    name, weights, pooling: as of `backbone` in params.yaml. image_size: pixels, square. seed: of
    random weights (weights None).

    >>> load_network(image_size=96).dim
    1280

    Raises:
        UserError: there is no such network, or its weights cannot be had.
    """
    return build_baseline(name, image_size=image_size, pooling=pooling, weights=weights, seed=seed)


def load_model(directory: str | Path) -> Embedder:
    """Return a model that the pipeline made, such as models/finetuned, on the processor.

    >>> from tempfile import TemporaryDirectory
    >>> from pipeline.models.embedder import save_embedder
    >>> with TemporaryDirectory() as folder:
    ...     save_embedder(load_network(image_size=96), Path(folder))
    ...     load_model(folder).dim
    1280

    Raises:
        UserError: a file is missing or not as it was written.
    """
    return load_embedder(Path(directory))


def embed_images(model: Embedder, images: Iterable[ImageLike], *, hflip: bool = False) -> Vectors:
    """Return float32 [N, D], the embeddings of images: paths, encoded bytes, or PIL images.

    Of each, the square in the middle, on the GPU if there is one. hflip: the mean with that of
    its mirror image, at twice the cost.

    However it is given, an image is upright, on white where it is transparent, and of 16 bits of
    gray scaled to 8. Turn a PIL image yourself by ImageOps.exif_transpose, or its EXIF turns it
    again. A large JPEG is decoded at a smaller size, which a PIL image no longer can be: its vector
    differs a little.

    >>> photos = [Image.new("RGB", (90, 60), color) for color in ("red", "green", "blue")]
    >>> embed_images(load_network(image_size=96), photos).shape
    (3, 1280)

    Raises:
        UserError: `images` is one of them, or one cannot be read or decoded; the line names it.
    """
    listed, spec, device = api_checks.list_images(images), model.spec, find_device()
    at_once = images_at_once(BATCH, spec.image_size, device)
    model.to(device).to(memory_format=torch.channels_last).eval()
    resized = _Resized(listed, spec)
    batches = batches_of([len(listed)], at_once)

    def embed(pixels: torch.Tensor) -> Vectors:
        return embed_batch(model, at_once, torch.float32, hflip, pixels.to(device))

    found = embed_by_threads(embed, resized, batches, usable_cores(), "embed")
    return np.concatenate([np.empty((0, model.dim), np.float32), *found])


class _Resized(Sequence[NDArray[np.uint8]]):
    """Images as the input of a network, uint8 [S, S, 3]; each is read when it is asked for."""

    def __init__(self, images: Sequence[ImageLike], spec: EmbedderSpec) -> None:
        self._images, self._spec = images, spec
        # Threads ask for images, and two of them perhaps for one that Pillow has yet to decode.
        self._locks = {id(image): Lock() for image in images if isinstance(image, Image.Image)}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: Any) -> Any:
        size = self._spec.image_size
        return resize_and_crop(self._decode(row), size, self._spec.interpolation)

    def _decode(self, row: int) -> Image.Image:
        """Return an image as RGB, upright; the error names its file, or its row."""
        image, side = self._images[row], least_side(self._spec.image_size)
        has_name = isinstance(image, str | Path)
        name = escape_unprintable(str(image)) if has_name else f"image {row}"
        try:
            if isinstance(image, Image.Image):
                with self._locks[id(image)]:
                    return to_upright_rgb(image)
            encoded = image if isinstance(image, bytes) else Path(image).read_bytes()
            return decode(encoded, least_size=(side, side))
        except (OSError, ValueError) as error:  # of a path
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{name}: cannot be read ({reason})") from None
        except UndecodableError as error:
            raise UserError(f"{name}: {error}; {error.advice}") from None


def read_embeddings(folder: str | Path) -> tuple[list[str], Vectors]:
    """Return (image_ids, float32 [N, D]) that the pipeline made, such as embeddings/finetuned.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     made = Path(folder, "finetuned")
    ...     embeddings.write_embeddings(made, ["a", "b"], np.eye(2, 8, dtype=np.float32))
    ...     ids, vectors = read_embeddings(str(made))
    >>> ids, vectors.shape
    (['a', 'b'], (2, 8))

    Raises:
        UserError: one is missing, damaged or not of the manifest.
    """
    return embeddings.read_embeddings(Path(folder))


def read_index(directory: str | Path) -> tuple[faiss.Index, list[str]]:
    """Return (index, image_id of each row) that the pipeline made, such as index/finetuned.

    Its rows are in the order of the embeddings that it was built of. Where `postprocess` is not
    none, it holds these post-processed, and `search_index` needs vectors and queries that are too.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     made = build_index(np.eye(2, 8, dtype=np.float32))
    ...     build.write_index(Path(folder), made, ["a", "b"])
    ...     index, ids = read_index(folder)
    >>> index.ntotal, ids
    (2, ['a', 'b'])

    Raises:
        UserError: a file is missing or not as it was written, or the two are not of one index.
    """
    return build.read_index(Path(directory))


def build_index(
    vectors: Vectors, *, distance: str = "cosine", factory: str = "auto", seed: int = 0
) -> faiss.Index:
    """Return a faiss index of float32 [N, D], whose row i is vector i.

    distance: cosine or euclidean. factory: as of `index` in params.yaml. seed: of the sample that
    an approximate index is trained on.

    >>> build_index(np.eye(4, 8, dtype=np.float32)).ntotal
    4

    Raises:
        UserError: the vectors are not finite numbers [N, D], or faiss has no such index for so
            many.
    """
    api_checks.check_name("distance", distance, DISTANCES)
    vectors = api_checks.to_vectors("vectors", vectors)
    return build.build_index(vectors, factory=factory, distance=distance, seed=seed)


def search_index(index: faiss.Index, vectors: Vectors, queries: Vectors, k: int = 10) -> Neighbors:
    """Return the k nearest rows of each query, int64 [Q, k], and their scores, float32 [Q, k].

    Best first, ties in the order of rows; -1 and -inf where there are fewer. A score is the cosine,
    or minus the Euclidean distance, as the index was built for.

    vectors: float32 [N, D], those that the index was built of, by which equal scores are told
    apart. queries: float32 [Q, D].

    >>> vectors = np.eye(4, 8, dtype=np.float32)
    >>> search_index(build_index(vectors), vectors, vectors[1:2], k=2).rows
    array([[1, 0]])

    Raises:
        UserError: vectors are not those of the index by their number, queries not as long as they,
            or k is below 1.
    """
    api_checks.check_count("k", k)
    vectors = api_checks.to_all_vectors_of(index, vectors)
    queries = api_checks.to_vectors_of(index, "queries", queries)
    if not index.ntotal:
        empty = np.full((len(queries), k), -np.inf, np.float32)
        return Neighbors(np.full(empty.shape, -1), empty)
    distance = build.distance_of(index)
    gallery = prepare_vectors(vectors, distance=distance)
    asked = prepare_vectors(queries, distance=distance)
    nothing = np.full(len(queries), -1)  # no query is a row of the index
    return search.search_index(index, gallery, asked, nothing, k, distance=distance)


def measure_retrieval(
    vectors: Vectors,
    labels: Sequence[int] | Sequence[Sequence[int]],
    *,
    is_query: Mask | None = None,
    is_gallery: Mask | None = None,
    distance: str = "cosine",
    k: Sequence[int] = (1, 5, 10),
    knn: int = 0,
) -> dict[str, float]:
    """Return metric -> its mean over the queries, by the exact ranking of the whole gallery.

    An image of the gallery is relevant where it shares a label with the query, which is never its
    own result. Of images that tie, the earlier is first. What each metric is: docs/results.md.

    vectors: float32 [N, D]. labels: of each image one, or several. is_query, is_gallery: bool [N];
    None: all. k: of recall, precision and ndcg. knn: how many neighbors vote; 0: none.

    >>> vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    >>> found = measure_retrieval(vectors, [5, 5, 6, 6], k=[1])
    >>> found["recall_at_1"], found["map"]
    (1.0, 1.0)

    Raises:
        UserError: no query has a relevant image, a k is larger than the gallery, vectors are not
            finite numbers [N, D], or labels or masks not of as many images.
    """
    api_checks.check_name("distance", distance, DISTANCES)
    api_checks.check_count("knn", knn, least=0)
    vectors = api_checks.to_vectors("vectors", vectors)
    return measure(
        vectors,
        api_checks.to_label_sets(labels, count=len(vectors)),
        api_checks.to_mask("is_query", is_query, count=len(vectors)),
        api_checks.to_mask("is_gallery", is_gallery, count=len(vectors)),
        distance=distance,
        k=api_checks.list_counts("k", k),
        knn=knn,
    ).means


def mine_triplets(
    vectors: Vectors,
    labels: Sequence[int] | Sequence[Sequence[int]],
    *,
    positives: str = "random",
    negatives: str = "semi_hard",
    per_anchor: int = 1,
    distance: str = "cosine",
    candidates: int | None = None,
    seed: int = 0,
) -> MinedTriplets:
    """Return triplets of each image: an anchor, one that shares a label, and one that shares none.

    positives: hard, easy or random. negatives: hard, semi_hard or random. candidates: the nearest
    negatives are looked for among so many images, sampled from the seed; None: among all.

    >>> vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    >>> mined = mine_triplets(vectors, [5, 5, 6, 6], negatives="hard")
    >>> mined.anchors, mined.positives, mined.negatives
    (array([0, 1, 2, 3]), array([1, 0, 3, 2]), array([3, 3, 1, 1]))

    Raises:
        UserError: vectors are not finite numbers [N, D], labels not of as many images, or there is
            no such way to choose.
    """
    api_checks.check_name("positives", positives, api_checks.POSITIVES)
    api_checks.check_name("negatives", negatives, api_checks.NEGATIVES)
    api_checks.check_name("distance", distance, DISTANCES)
    api_checks.check_count("per_anchor", per_anchor)
    if candidates is not None:
        api_checks.check_count("candidates", candidates)
    vectors = api_checks.to_vectors("vectors", vectors)
    return mine_by_embeddings(
        vectors,
        api_checks.to_label_sets(labels, count=len(vectors)),
        positives=positives,
        negatives=negatives,
        per_anchor=per_anchor,
        distance=distance,
        candidates=candidates,
        seed=seed,
    )


def compare_models(
    a: pd.DataFrame | Sequence[pd.DataFrame],
    b: pd.DataFrame | Sequence[pd.DataFrame],
    class_of: pd.Series,
    *,
    seed: int = 0,
) -> tuple[str, pd.DataFrame]:
    """Return whether B is better than A, in a word, and the differences of all metrics.

    The word is one of better, partly better, worse, partly worse, mixed, no difference and
    inconclusive; map decides it. Each metric has its 95% interval over the queries, or over classes
    where there are enough, and a p-value, also corrected by Holm for the number of metrics.

    a, b: a table with a row for each query: image_id, average_precision, recall_at_1, …, as
    results/<model>/queries.parquet is; or several, one for each training of the same setting, so
    that the luck of training counts. class_of: image_id -> its classes, a tuple.

    >>> ids, rng = [f"{row:02}" for row in range(40)], np.random.default_rng(0)
    >>> a = pd.DataFrame({"image_id": ids, "average_precision": rng.uniform(0.2, 0.4, 40)})
    >>> b = a.assign(average_precision=a["average_precision"] + 0.3)
    >>> word, metrics = compare_models(a, b, pd.Series([("cup",)] * 40, index=ids))
    >>> word, f"{metrics['difference'][0]:.3f}"
    ('better', '0.300')

    Raises:
        UserError: a side has no table, a table is not one of queries, no query is in all of them,
            or one has no class.
    """
    of_a, of_b = api_checks.list_tables("a", a), api_checks.list_tables("b", b)
    api_checks.check_classes(class_of, [*of_a, *of_b])
    sides = [Side(tables, trained=len(tables) > 1) for tables in (of_a, of_b)]
    found = compare(sides[0], sides[1], class_of, seed=seed)
    return judge(found.metrics).word, found.metrics
