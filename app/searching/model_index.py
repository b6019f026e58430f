"""One model with its index: an image goes in, the images that look like it come out."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from app.searching.catalog import require
from pipeline.data.arrays import Mask
from pipeline.data.embeddings import read_embeddings, read_lineage
from pipeline.data.lineage import MODEL_FILES, Lineage, digest_model
from pipeline.errors import UserError, name_choices
from pipeline.index.distances import prepare_vectors
from pipeline.index.filtered_search import NOBODY, distance_of, filtered_search
from pipeline.index.search import read_index, read_index_lineage
from pipeline.models import devices, embedder
from pipeline.models.embedding import embed_pixels
from pipeline.models.preprocessing import fit, fit_whole

CROPS = ("center", "none")


@dataclass(frozen=True)
class Neighbor:
    """An image that was found. score: the cosine, or minus the Euclidean distance."""

    image_id: str
    score: float


class ModelIndex:
    """A model and its index, loaded and run once, so that the first answer is as fast as others.

    Many threads may use one Finder side by side, each with one core: for one image, cores that
    wait for each other gain little, and lose all of it tenfold where other work wants them too.

    Attributes:
        ids: image_id of each row of the index.
        distance: cosine or euclidean, as the index was built for.

    Raises:
        UserError: a file is missing or damaged, the index is empty, or another model made it.
    """

    def __init__(self, root: Path, model: str) -> None:
        _check_name(root, model)
        self.model = model
        self._model_dir, self._index_dir = root / "models" / model, root / "index" / model
        self._embeddings = root / "embeddings" / f"{model}.parquet"
        require([self._model_dir / name for name in MODEL_FILES])
        require([self._index_dir / name for name in ("ids.parquet", "index.faiss")])
        self._index, self.ids = read_index(self._index_dir)
        if not self.ids:
            raise UserError(f"{self._index_dir}: holds no images; run: dvc repro index")
        made = read_index_lineage(self._index_dir)
        self._digest = digest_model(self._model_dir)
        self._made = self._check(made, where=self._index_dir, stage="index")
        self.distance = distance_of(self._index)
        self._rows = {image_id: row for row, image_id in enumerate(self.ids)}
        self._reading = Lock()
        devices.make_deterministic()
        self._device = devices.find_device()
        self._precision = devices.resolve_precision(self._made.precision, self._device)
        loaded = embedder.load(self._model_dir).to(self._device)
        self._embedder = loaded.to(memory_format=torch.channels_last).eval()
        if loaded.dim != self._index.d:
            raise UserError(
                f"{self._index_dir}: found vectors of length {self._index.d}; {self._model_dir} "
                f"makes {loaded.dim}; run: dvc repro index"
            )
        # The first time, torch chooses its kernels and numba loads its own.
        self.find(self.embed(Image.new("RGB", (8, 8))), 1)

    def embed(self, image: Image.Image, *, crop: str = "center") -> NDArray[np.float32]:
        """Return float32 [D], as the embed stage made the index's vectors: mirrored where they are.

        crop: "center" takes the centre square, as the stage does; "none" takes the whole image,
        with its mirror image where it does not fill a square.

        Raises:
            UserError: the crop is unknown.
        """
        spec = self._embedder.spec
        if crop == "center":
            pixels = fit(image, spec.image_size, spec.interpolation)
        elif crop == "none":
            pixels = fit_whole(image, spec.image_size, spec.interpolation)
        else:
            raise UserError(f"crop: {name_choices(crop, CROPS)}")
        one = torch.from_numpy(pixels)[None].to(self._device)  # (1, S, S, 3)
        _take_one_core()
        with torch.inference_mode(), devices.autocast(self._device, self._precision):
            found = embed_pixels(self._embedder, one, hflip=self._made.hflip)
        vector: NDArray[np.float32] = found[0].float().cpu().numpy()
        return vector

    def vector(self, image_id: str) -> NDArray[np.float32]:
        """Return float32 [D] of a known image, from the table that the embed stage wrote.

        Raises:
            UserError: the table is missing or of another model, or does not know the image.
        """
        with self._reading:
            row_of, vectors = self._known
        if image_id not in row_of:
            raise UserError(
                f"{self._embeddings}: no image has image_id '{image_id}'; run: dvc repro embed"
            )
        vector: NDArray[np.float32] = vectors[row_of[image_id]]
        return vector

    def find(
        self,
        vector: NDArray[np.float32],
        k: int,
        *,
        allowed: Mask | None = None,
        leave_out: str | None = None,
    ) -> list[Neighbor]:
        """Return the k images nearest to a vector, best first, ties in the order of the index.

        vector: float32 [D], of `embed` or `vector`. allowed: bool [G], which rows of `ids` may be
        found. leave_out: an image that may not, the one that asks. There are fewer answers where
        fewer images may be found.
        """
        own = NOBODY if leave_out is None else self._rows.get(leave_out, NOBODY)
        _take_one_core()
        query = prepare_vectors(vector[None], distance=self.distance)[0]
        found = filtered_search(
            self._index, query, k, distance=self.distance, allowed=allowed, own=own
        )
        return [
            Neighbor(self.ids[row], float(score))
            for row, score in zip(found.rows, found.scores, strict=True)
        ]

    @cached_property
    def _known(self) -> tuple[dict[str, int], NDArray[np.float32]]:
        require([self._embeddings])
        ids, vectors = read_embeddings(self._embeddings)
        self._check(read_lineage(self._embeddings), where=self._embeddings, stage="embed")
        return {image_id: row for row, image_id in enumerate(ids)}, vectors

    def _check(self, made: Lineage | None, *, where: Path, stage: str) -> Lineage:
        if made is None:
            raise UserError(f"{where}: does not tell which model made it; run: dvc repro {stage}")
        if made.model != self._digest:
            raise UserError(
                f"{where}: made by another {self._model_dir} than the one that is here; "
                f"run: dvc repro {stage}, or bring both from one run: dvc checkout"
            )
        return made


def _take_one_core() -> None:
    # Both count the cores of the calling thread, so each thread has to say it.
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


def _check_name(root: Path, model: str) -> None:
    names = {path.name for path in [*root.glob("models/*"), *root.glob("index/*")] if path.is_dir()}
    if not names:
        require([root / "models" / model])
    if model not in names:
        raise UserError(f"model: {name_choices(model, names)}")
