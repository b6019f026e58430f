"""A model with its index: embeds an image and finds its neighbors."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING

import faiss
import numpy as np
import torch
from PIL import Image

from app.searching.added_images import ADDED, has_added
from app.searching.best_model import BEST
from app.searching.catalog import require_files
from app.searching.joined_index import JoinedIndex
from pipeline.data.arrays import Ints, Mask, Vectors
from pipeline.data.embeddings import read_embeddings, read_lineage
from pipeline.data.joins import RowLookup
from pipeline.data.lineage import MODEL_FILES, TEXT_FILE, Lineage, check_lineage, digest_model
from pipeline.errors import UserError, name_choices
from pipeline.index.build import (
    IDS_FILE,
    INDEX_FILE,
    read_index_lineage,
    read_index_postprocessing,
    read_postprocessing_digest,
)
from pipeline.index.combined_queries import combine
from pipeline.index.distances import prepare_vectors
from pipeline.index.postprocessing import average_with_neighbors
from pipeline.index.reranking import TOP, rerank
from pipeline.index.search import Neighbors
from pipeline.models import devices
from pipeline.models.embed_images import embed_pixels
from pipeline.models.embedder import load_embedder
from pipeline.models.preprocessing import least_side, resize_and_crop, resize_and_pad

CROPS = ("center", "none")

if TYPE_CHECKING:  # it imports open_clip
    from pipeline.models.text_side import TextSide

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Neighbor:
    """An image of the index that was found. score: the cosine, or minus the Euclidean distance."""

    image_id: str
    score: float


class ModelIndex:
    """A model and its index, loaded and run once, so that the first search is as fast as others.

    Many threads may use one ModelIndex at a time; each uses one core. For one image, more cores
    save little time, and where other work needs the cores too, to wait for them takes ten times
    as long.

    Attributes:
        model: the model's name.
        ids: image_id of each row of the index.
        distance: cosine or euclidean, as the index was built for.
        understands_text: whether texts can be searched.

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
        self._index = JoinedIndex(self._index_dirs)
        self.ids, self.distance = self._index.ids, self._index.distance
        loaded = load_embedder(self._model_dir)  # a damaged model is told before another one
        self._digest = digest_model(self._model_dir)
        self._postprocessing = read_index_postprocessing(self._index_dirs[0])
        self._lineage = self._check_parts(self._postprocessing.dim or loaded.dim)
        if self._postprocessing.reads_vectors:
            self._index.stored  # noqa: B018 - so that the first search does not wait for it
        self._read_lock = Lock()
        # Asked once: while dvc repro runs, the file may be gone, or of another model.
        self.understands_text = (self._model_dir / TEXT_FILE).is_file()
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
            self._index.kind,
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
        for folder, found in zip(self._index_dirs, self._index.dims, strict=True):
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
            if found != dim:
                raise UserError(
                    f"{folder}: found vectors of length {found}; {self._model_dir} makes "
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
    def takes_parts(self) -> bool:
        """Whether queries of several parts can be searched."""
        return self._index.keeps_vectors

    def embed_text(self, text: str) -> Vectors:
        """Return float32 [D], a text in the space of the images; the first call takes seconds.

        Raises:
            UserError: the model understands images alone.
        """
        with self._read_lock:
            text_side = self._text_side
        _use_one_core()
        vector: Vectors = text_side.embed([text])[0]
        return vector

    @cached_property
    def _text_side(self) -> "TextSide":
        if not self.understands_text:
            raise UserError(
                f"model: found '{self.model}', which understands images alone; allowed with texts: "
                "a baseline whose backbone.name is one of open_clip"
            )
        from pipeline.models.text_side import load_text_side

        return load_text_side(self._model_dir)

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

    def read_prepared(self, rows: Ints) -> Vectors:
        """Return float32 [n, d], the images of int64 [n] rows of `ids` in the space of the index;
        from the embed stage's table, because not every kind of index keeps its vectors.

        Raises:
            UserError: as `read_vector`.
        """
        with self._read_lock:
            lookup, vectors = self._embeddings
        places = [lookup.find(self.ids[row]) for row in rows.tolist()]
        return prepare_vectors(self._postprocessing.apply(vectors[places]), distance=self.distance)

    def search(
        self,
        vector: Vectors,
        k: int,
        *,
        allowed: Mask | None = None,
        exclude: str | None = None,
        by_score: bool = False,
        unwanted: Vectors | None = None,
    ) -> list[Neighbor]:
        """Return the k nearest images, best first, ties in the order of the index; the first
        re-ranked where the index says so, so that a score may be higher than the one before it.

        vector: float32 [D], of `embed` or `read_vector`; or [P, D], of all parts of one query.
        allowed: bool [N], which rows of `ids` may be found; None for all. exclude: the image_id of
        the query, which is never its own neighbor. Fewer are returned where fewer are allowed.
        by_score: as if nothing were re-ranked. unwanted: float32 [Q, D], of what the results are
        not to be like.

        Raises:
            UserError: as `combine`.
        """
        own_row = self._index.find_row(exclude)
        _use_one_core()
        queries = self._prepare(vector, unwanted)  # (1, d)
        if self._postprocessing.steps.query_expansion:
            nearest = self._index.find(
                queries[0], self._postprocessing.steps.query_expansion, allowed, own_row
            )
            queries = self._expand(queries, nearest)
        neighbors = 0 if by_score else self._postprocessing.steps.rerank
        count = max(k, TOP) if neighbors else k
        found = self._index.find(queries[0], count, allowed, own_row, needed=k)
        places = np.arange(len(found.rows))
        if neighbors:
            first = self._index.read(found.rows[:TOP])
            places[: len(first)] = rerank(queries[0], first, neighbors)
        return [
            Neighbor(self.ids[found.rows[place]], float(found.scores[place]))
            for place in places[:k]
        ]

    def mask_without(self, image_ids: Collection[str]) -> Mask:
        """Return bool [N], the rows of `ids` but for some images."""
        return self._index.mask_without(image_ids)

    def _prepare(self, vector: Vectors, unwanted: Vectors | None) -> Vectors:
        """Return float32 [1, d], the query in the space of the index."""
        parts = np.atleast_2d(vector)
        count = len(parts)
        if unwanted is not None:
            parts = np.concatenate([parts, unwanted])
        mapped = self._postprocessing.apply(parts)
        prepared = prepare_vectors(mapped, distance=self.distance)
        if len(prepared) == 1:
            return prepared
        wanted, others = prepared[:count], prepared[count:]
        length = np.linalg.norm(wanted, axis=1).mean()  # 1 for the cosine
        combined: Vectors = length * combine(wanted, others, self._index.sample)[None]
        return combined

    @property
    def postprocessing(self) -> str | None:
        """What is done between embeddings and results, in words; None for nothing."""
        done = self._postprocessing
        return None if done.is_nothing else done.steps.describe()

    @property
    def reranks(self) -> bool:
        """Whether the first result may not be the one of the highest score."""
        return self._postprocessing.steps.rerank > 0

    def _expand(self, queries: Vectors, nearest: Neighbors) -> Vectors:
        """Return float32 [1, d]: the query averaged with its nearest images."""
        gallery = self._index.read(nearest.rows)
        places = np.arange(len(gallery))[None]
        scores = nearest.scores[None]
        return average_with_neighbors(queries, gallery, places, scores, distance=self.distance)

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
        raise UserError(f"model: {name_choices(model, names | {BEST})}")
