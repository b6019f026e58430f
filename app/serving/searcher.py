"""What the search page's server asks: both models' answers, images and choices; no HTTP."""

import base64
import io
import random
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

from app.searching.catalog import Catalog
from app.searching.model_index import ModelIndex, Neighbor
from app.searching.untrusted_images import MAX_BYTES, MAX_PIXELS, decode_photo
from app.serving.api_schema import (
    Choices,
    Hit,
    ModelHits,
    PhotoOptions,
    Query,
    SearchOptions,
    SearchResponse,
)
from pipeline.data.arrays import Mask
from pipeline.errors import UserError

PREVIEW_SIDE = 640
MASKS = 64


class RefusedPhotoError(UserError):
    """An own photo that cannot be searched by."""


class UnknownImageError(UserError):
    """An image_id that the dataset does not have."""


class UnknownChoiceError(UserError):
    """A class or group that no searched image has."""


class Searcher:
    """Searches with several models at once. All methods may be called from many threads.

    Raises:
        UserError: an artifact of the pipeline is missing, damaged, or of another model.
    """

    def __init__(self, root: Path, models: Sequence[str], *, seed: int | None = None) -> None:
        self.catalog = Catalog(root)
        self.model_indexes = {model: ModelIndex(root, model) for model in models}
        self._random = random.Random(seed)
        for model_index in self.model_indexes.values():
            model_index.read_vector(
                model_index.ids[0]
            )  # reads the table now, not when the first person waits
        self._known = set(self.catalog.images.ids)
        self.catalog.images.require(self.catalog.queries)
        searched = {each for model_index in self.model_indexes.values() for each in model_index.ids}
        names = {name for each in searched for name in self.catalog.classes_of(each)}
        groups = {self.catalog.group_of(each) for each in searched}
        # A mask of 100,000 rows takes longer to make than to search with.
        self._of_class = lru_cache(MASKS)(
            lambda model, name: self.catalog.mask_class(name, self.model_indexes[model].ids)
        )
        self._of_group = lru_cache(MASKS)(
            lambda model, name: self.catalog.mask_group(name, self.model_indexes[model].ids)
        )
        self.choices = Choices(
            models=list(models),
            classes=[name for name in self.catalog.classes if name in names],
            groups=[group for group in self.catalog.groups if group in groups],
            images=len(searched),
            queries=len(self.catalog.queries),
            most_bytes=MAX_BYTES,
            most_pixels=MAX_PIXELS,
        )

    def search_photo(self, encoded: bytes, options: PhotoOptions) -> SearchResponse:
        """Return what each model finds for an own photo; nothing is known to be right.

        Raises:
            RefusedPhotoError: it is no image, damaged or too large.
            UnknownChoiceError: no searched image has the class or group asked for.
        """
        self._check(options)
        began = perf_counter()
        try:
            image = decode_photo(encoded, name=options.name)
        except UserError as error:
            raise RefusedPhotoError(str(error)) from None
        preview = _preview(image) if options.preview else None
        query = Query(image_id=None, names=[], group=None, preview=preview)
        return self._search(query, image, options, read_ms=_since(began))

    def search_image(self, image_id: str, options: SearchOptions) -> SearchResponse:
        """Return what each model finds for an image of the dataset, which is never found itself.

        Raises:
            UnknownImageError: the dataset does not have it.
            UnknownChoiceError: no searched image has the class or group asked for.
        """
        self._require(image_id)
        self._check(options)
        began = perf_counter()
        # Cropped to the centre, it was embedded by the pipeline.
        image = None if options.crop == "center" else self.catalog.images.decode(image_id)
        names, group = self.catalog.classes_of(image_id), self.catalog.group_of(image_id)
        query = Query(image_id=image_id, names=names, group=group, preview=None)
        return self._search(query, image, options, read_ms=_since(began))

    def sample_query(self) -> str:
        """Return a random test image's image_id."""
        return self._random.choice(self.catalog.queries)

    def read_image(self, image_id: str) -> bytes:
        """Return an image's encoded bytes, as they are packed.

        Raises:
            UnknownImageError: the dataset does not have it.
        """
        self._require(image_id)
        return self.catalog.images.read(image_id)

    def _search(
        self, query: Query, image: Image.Image | None, options: SearchOptions, *, read_ms: float
    ) -> SearchResponse:
        found = []
        for model, model_index in self.model_indexes.items():
            began = perf_counter()
            if image is not None:
                vector = model_index.embed(image, crop=options.crop)
            else:
                assert query.image_id is not None
                vector = model_index.read_vector(query.image_id)
            embed_ms, began = _since(began), perf_counter()
            allowed = self._allowed(model_index, options)
            answers = model_index.search(vector, options.k, allowed=allowed, exclude=query.image_id)
            search_ms = _since(began)
            results = self._describe(answers, query.image_id)
            right = None if query.image_id is None else sum(bool(each.right) for each in results)
            found.append(
                ModelHits(
                    model=model,
                    distance=model_index.distance,
                    results=results,
                    right=right,
                    embed_ms=embed_ms,
                    search_ms=search_ms,
                )
            )
        return SearchResponse(query=query, models=found, read_ms=read_ms)

    def _describe(self, answers: list[Neighbor], query: str | None) -> list[Hit]:
        known = self.catalog
        return [
            Hit(
                rank=rank,
                image_id=answer.image_id,
                names=known.classes_of(answer.image_id),
                group=known.group_of(answer.image_id),
                score=answer.score,
                right=None if query is None else known.is_relevant(query, answer.image_id),
            )
            for rank, answer in enumerate(answers, start=1)
        ]

    def _allowed(self, model_index: ModelIndex, options: SearchOptions) -> Mask | None:
        """Return bool [G]: which rows of an index the filters leave; None for all."""
        masks = []
        if options.class_ is not None:
            masks.append(self._of_class(model_index.model, options.class_))
        if options.group is not None:
            masks.append(self._of_group(model_index.model, options.group))
        return np.logical_and.reduce(masks) if masks else None

    def _check(self, options: SearchOptions) -> None:
        for kind, found, allowed in (
            ("class", options.class_, self.choices.classes),
            ("group", options.group, self.choices.groups),
        ):
            if found is not None and found not in allowed:
                # Not all of them are listed: there may be thousands.
                close = get_close_matches(found, allowed, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise UnknownChoiceError(
                    f"{kind}: found '{found}'; allowed: a {kind} that a searched image has{hint}"
                )

    def _require(self, image_id: str) -> None:
        if image_id not in self._known:
            raise UnknownImageError(
                f"image: found '{image_id}'; allowed: an image_id of the dataset"
            )


def _preview(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def _since(began: float) -> float:
    return round((perf_counter() - began) * 1000, 2)
