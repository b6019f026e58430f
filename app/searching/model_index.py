"""A model with its index: embeds an image and finds its neighbors."""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from time import perf_counter

import faiss
import numpy as np
import torch
from PIL import Image

from app.searching.added_images import ADDED, has_added
from app.searching.catalog import require_files
from pipeline.data.arrays import Ints, Mask, Vectors
from pipeline.data.embeddings import read_embeddings, read_lineage
from pipeline.data.joins import RowLookup
from pipeline.data.lineage import MODEL_FILES, Lineage, check_lineage, digest_model
from pipeline.errors import UserError, name_choices
from pipeline.index.build import (
    IDS_FILE,
    INDEX_FILE,
    distance_of,
    read_index,
    read_index_lineage,
    read_index_postprocessing,
    read_postprocessing_digest,
)
from pipeline.index.distances import prepare_vectors
from pipeline.index.filtered_search import filtered_search
from pipeline.index.postprocessing import average_with_neighbors
from pipeline.index.reranking import TOP, rerank
from pipeline.index.search import Neighbors
from pipeline.index.stored_vectors import StoredVectors
from pipeline.models import devices
from pipeline.models.embed_images import embed_pixels
from pipeline.models.embedder import load_embedder
from pipeline.models.preprocessing import least_side, resize_and_crop, resize_and_pad

CROPS = ("center", "none")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Neighbor:
    """An image of the index that was found. score: the cosine, or minus the Euclidean distance."""

    image_id: str
    score: float


@dataclass(frozen=True)
class _Part:
    """An index, and the image_id of each of its rows."""

    index: faiss.Index
    ids: list[str]


class ModelIndex:
    """A model and its index, loaded and run once, so that the first search is as fast as others.

    Many threads may use one ModelIndex at a time; each uses one core. For one image, more cores
    save little time, and where other work needs the cores too, to wait for them takes ten times
    as long.

    Attributes:
        model: the model's name.
        ids: image_id of each row of the index.
        distance: cosine or euclidean, as the index was built for.

    Raises:
        UserError: a file is missing or damaged, the index is empty, or another model made it.
    """

    def __init__(self, root: Path, model: str) -> None:
        _check_name(root, model)
        started = perf_counter()
        self.model = model
        self._root = root
        self._model_dir = root / "models" / model
        # The images with labels, and those that were added.
        folders = [model, f"{ADDED}/{model}"] if has_added(root) else [model]
        self._index_dirs = [root / "index" / folder for folder in folders]
        self._embedding_dirs = [root / "embeddings" / folder for folder in folders]
        require_files(root, [self._model_dir / name for name in MODEL_FILES])
        files = (IDS_FILE, INDEX_FILE)
        require_files(root, [folder / name for folder in self._index_dirs for name in files])
        self._parts = [_Part(*read_index(folder)) for folder in self._index_dirs]
        self.ids = [image_id for part in self._parts for image_id in part.ids]
        if not self.ids:
            raise UserError(f"{self._index_dirs[0]}: holds no images; run: dvc repro index")
        loaded = load_embedder(self._model_dir)  # a damaged model is told before another one
        self._digest = digest_model(self._model_dir)
        self._postprocessing = read_index_postprocessing(self._index_dirs[0])
        self._lineage = self._check_parts(self._postprocessing.dim or loaded.dim)
        self.distance = distance_of(self._parts[0].index)
        if self._postprocessing.reads_vectors:
            self._stored = [StoredVectors(part.index) for part in self._parts]
        self._rows = RowLookup(self.ids, table=self._index_dirs[0])
        self._read_lock = Lock()
        devices.make_deterministic()
        self._device = devices.find_device()
        self._precision = devices.resolve_precision(self._lineage.precision, self._device)
        on_device = loaded.to(self._device)
        self._embedder = on_device.to(memory_format=torch.channels_last).eval()
        # The first call is slow: torch chooses kernels, and numba loads its compiled functions.
        self.search(self.embed(Image.new("RGB", (8, 8))), 1)
        logger.debug(
            "%s: %s of %d images in %d dimensions, by %s; loaded on %s in %.1f s",
            self._index_dirs[0],
            type(self._parts[0].index).__name__,
            len(self.ids),
            loaded.dim,
            self.distance,
            self._device,
            perf_counter() - started,
        )

    def _check_parts(self, dim: int) -> Lineage:
        """Return how the vectors of all parts were made: alike, by the model, of `dim` numbers."""
        lineage: Lineage | None = None
        digest = read_postprocessing_digest(self._index_dirs[0])
        for folder, part in zip(self._index_dirs, self._parts, strict=True):
            if read_postprocessing_digest(folder) != digest:
                raise UserError(
                    f"{folder}: made with another post-processing than {self._index_dirs[0]}; "
                    "run: dvc repro index"
                )
            lineage = check_lineage(
                read_index_lineage(folder),
                model=self._digest,
                source=self._model_dir if lineage is None else self._index_dirs[0],
                path=folder,
                stage="index",
                same_as=lineage,
            )
            if part.index.d != dim:
                raise UserError(
                    f"{folder}: found vectors of length {part.index.d}; {self._model_dir} makes "
                    f"{dim}; run: dvc repro index"
                )
        if lineage is None:
            raise ValueError("an index has one part or more")
        return lineage

    def embed(self, image: Image.Image, *, crop: str = "center") -> Vectors:
        """Return float32 [D], embedded as the images of the index are, with hflip where they are.

        crop: "center" takes the square in the middle, as the embed stage does; "none" takes the
        whole image, padded to a square by reflection.

        Raises:
            UserError: the crop is unknown.
        """
        spec = self._embedder.spec
        if crop == "center":
            pixels = resize_and_crop(image, spec.image_size, spec.interpolation)
        elif crop == "none":
            pixels = resize_and_pad(image, spec.image_size, spec.interpolation)
        else:
            raise UserError(f"crop: {name_choices(crop, CROPS)}")
        batch = torch.from_numpy(pixels)[None].to(self._device)  # (1, S, S, 3)
        _use_one_core()
        with torch.inference_mode(), devices.autocast(self._device, self._precision):
            vectors = embed_pixels(self._embedder, batch, hflip=self._lineage.hflip)  # (1, D)
        vector: Vectors = vectors[0].float().cpu().numpy()
        return vector

    @property
    def least_side(self) -> int:
        """The least width and height, in pixels, that photos are decoded at, as the index's are."""
        return least_side(self._embedder.spec.image_size)

    def read_vector(self, image_id: str) -> Vectors:
        """Return float32 [D], an image's row in the table that the embed stage wrote.

        Raises:
            UserError: the table is missing or of another model, or the image is not in it.
        """
        with self._read_lock:
            rows, vectors = self._embeddings
        vector: Vectors = vectors[rows.find(image_id)]
        return vector

    def search(
        self,
        vector: Vectors,
        k: int,
        *,
        allowed: Mask | None = None,
        exclude: str | None = None,
        by_score: bool = False,
    ) -> list[Neighbor]:
        """Return the k nearest images, best first, ties in the order of the index; the first
        re-ranked where the index says so, so that a score may be higher than the one before it.

        vector: float32 [D], of `embed` or `read_vector`. allowed: bool [N], which rows of `ids` may
        be found; None for all. exclude: the image_id of the query, which is never its own neighbor.
        Fewer are returned where fewer are allowed. by_score: as if nothing were re-ranked.
        """
        own_row = None if exclude is None else self._rows.get(exclude)
        _use_one_core()
        mapped = self._postprocessing.apply(vector[None])
        queries = prepare_vectors(mapped, distance=self.distance)  # (1, d)
        if self._postprocessing.steps.query_expansion:
            nearest = self._find(
                queries[0], self._postprocessing.steps.query_expansion, allowed, own_row
            )
            queries = self._expand(queries, nearest)
        neighbors = 0 if by_score else self._postprocessing.steps.rerank
        count = max(k, TOP) if neighbors else k
        found = self._find(queries[0], count, allowed, own_row, needed=k)
        places = np.arange(len(found.rows))
        if neighbors:
            first = self._read_stored(found.rows[:TOP])
            places[: len(first)] = rerank(queries[0], first, neighbors)
        return [
            Neighbor(self.ids[found.rows[place]], float(found.scores[place]))
            for place in places[:k]
        ]

    @property
    def postprocessing(self) -> str | None:
        """What is done between embeddings and results, in words; None for nothing."""
        done = self._postprocessing
        return None if done.is_nothing else done.steps.describe()

    @property
    def reranks(self) -> bool:
        """Whether the first result may not be the one of the highest score."""
        return self._postprocessing.steps.rerank > 0

    def _find(
        self,
        query: Vectors,
        k: int,
        allowed: Mask | None,
        own_row: int | None,
        needed: int | None = None,
    ) -> Neighbors:
        """Return the k nearest: rows of `ids`, int64 [n], and their scores, best first.

        needed: as in `filtered_search`.
        """
        found, first = [], 0
        for part in self._parts:
            rows = slice(first, first + len(part.ids))
            nearest = filtered_search(
                part.index,
                query,
                k,
                distance=self.distance,
                allowed=None if allowed is None else allowed[rows],
                own_row=_row_within(own_row, rows),
                needed=needed,
            )
            found.append(Neighbors(nearest.rows + first, nearest.scores))
            first = rows.stop
        scores = np.concatenate([each.scores for each in found])
        order = np.argsort(-scores, kind="stable")[:k]
        return Neighbors(np.concatenate([each.rows for each in found])[order], scores[order])

    def _expand(self, queries: Vectors, nearest: Neighbors) -> Vectors:
        """Return float32 [1, d]: the query averaged with its nearest images."""
        gallery = self._read_stored(nearest.rows)
        places = np.arange(len(gallery))[None]
        scores = nearest.scores[None]
        return average_with_neighbors(queries, gallery, places, scores, distance=self.distance)

    def _read_stored(self, rows: Ints) -> Vectors:
        """Return float32 [n, d], the vectors in the index of int64 [n] rows of `ids`."""
        vectors, first = np.empty((len(rows), self._parts[0].index.d), np.float32), 0
        for part, stored in zip(self._parts, self._stored, strict=True):
            here = (rows >= first) & (rows < first + len(part.ids))
            if here.any():
                vectors[here] = stored.read(rows[here] - first)
            first += len(part.ids)
        return vectors

    @cached_property
    def _embeddings(self) -> tuple[RowLookup, Vectors]:
        require_files(self._root, self._embedding_dirs)
        read = [
            self._read_embeddings(*folders)
            for folders in zip(self._embedding_dirs, self._index_dirs, strict=True)
        ]
        ids = [image_id for part, _ in read for image_id in part]
        filled = [part for ids, part in read if ids]
        vectors = filled[0] if len(filled) == 1 else np.concatenate(filled)  # not to copy them
        return RowLookup(ids, table=self._embedding_dirs[0]), vectors

    def _read_embeddings(self, embeddings: Path, index: Path) -> tuple[list[str], Vectors]:
        ids, vectors = read_embeddings(embeddings)
        lineage = check_lineage(
            read_lineage(embeddings),
            model=self._digest,
            source=self._model_dir,
            path=embeddings,
            stage="embed",
        )
        check_lineage(
            self._lineage,
            model=self._digest,
            source=embeddings,
            path=index,
            stage="index",
            same_as=lineage,
        )
        return ids, vectors


def _row_within(row: int | None, rows: slice) -> int | None:
    """Return where `row` is in a slice of rows, None where it is not."""
    return row - rows.start if row is not None and rows.start <= row < rows.stop else None


def _use_one_core() -> None:
    # torch and faiss keep these numbers for each thread.
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


def _check_name(root: Path, model: str) -> None:
    folders = [path for path in [*root.glob("models/*"), *root.glob("index/*")] if path.is_dir()]
    names = {folder.name for folder in folders} - {ADDED}
    if not names:
        require_files(root, [root / "models" / model])
    if model not in names:
        raise UserError(f"model: {name_choices(model, names)}")
