"""What the search page's server asks: both models' answers, pictures and choices; no HTTP."""

import base64
import io
import random
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.searching.catalog import Library
from app.searching.model_index import Answer, Finder
from app.searching.untrusted_images import MOST_BYTES, MOST_PIXELS, decode_photo
from app.serving.api_schema import (
    Choices,
    ModelResults,
    PhotoOptions,
    Query,
    Result,
    SearchOptions,
    SearchResults,
)
from pipeline.errors import UserError

Mask = NDArray[np.bool_]

PREVIEW_SIDE = 640
MASKS = 64


class RefusedPhotoError(UserError):
    """An own photo that cannot be searched by."""


class UnknownPictureError(UserError):
    """An image_id that the dataset does not have."""


class UnknownChoiceError(UserError):
    """A class or group that no searched picture has."""


class Searcher:
    """Searches with several models at once. All methods may be called from many threads.

    Raises:
        UserError: an artifact of the pipeline is missing, damaged, or of another model.
    """

    def __init__(self, root: Path, models: Sequence[str], *, seed: int | None = None) -> None:
        self.library = Library(root)
        self.finders = {model: Finder(root, model) for model in models}
        self._random = random.Random(seed)
        for finder in self.finders.values():
            finder.vector(finder.ids[0])  # reads the table now, not when the first person waits
        self._known = set(self.library.pictures.ids)
        self.library.pictures.require(self.library.queries)
        searched = {each for finder in self.finders.values() for each in finder.ids}
        names = {name for each in searched for name in self.library.names(each)}
        groups = {self.library.group(each) for each in searched}
        # A mask of 100,000 rows takes longer to make than to search with.
        self._of_class = lru_cache(MASKS)(
            lambda model, name: self.library.of_class(name, self.finders[model].ids)
        )
        self._of_group = lru_cache(MASKS)(
            lambda model, name: self.library.of_group(name, self.finders[model].ids)
        )
        self.choices = Choices(
            models=list(models),
            classes=[name for name in self.library.classes if name in names],
            groups=[group for group in self.library.groups if group in groups],
            pictures=len(searched),
            queries=len(self.library.queries),
            most_bytes=MOST_BYTES,
            most_pixels=MOST_PIXELS,
        )

    def search_photo(self, encoded: bytes, options: PhotoOptions) -> SearchResults:
        """Return what each model finds for an own photo; nothing is known to be right.

        Raises:
            RefusedPhotoError: it is no picture, damaged or too large.
            UnknownChoiceError: no searched picture has the class or group asked for.
        """
        self._check(options)
        began = perf_counter()
        try:
            picture = decode_photo(encoded, name=options.name)
        except UserError as error:
            raise RefusedPhotoError(str(error)) from None
        preview = _preview(picture) if options.preview else None
        query = Query(image_id=None, names=[], group=None, preview=preview)
        return self._search(query, picture, options, read_ms=_since(began))

    def search_picture(self, image_id: str, options: SearchOptions) -> SearchResults:
        """Return what each model finds for a picture of the dataset, which is never found itself.

        Raises:
            UnknownPictureError: the dataset does not have it.
            UnknownChoiceError: no searched picture has the class or group asked for.
        """
        self._require(image_id)
        self._check(options)
        began = perf_counter()
        # Cropped to the centre, it was embedded by the pipeline.
        picture = None if options.crop == "center" else self.library.pictures.decode(image_id)
        names, group = self.library.names(image_id), self.library.group(image_id)
        query = Query(image_id=image_id, names=names, group=group, preview=None)
        return self._search(query, picture, options, read_ms=_since(began))

    def draw_query(self) -> str:
        """Return a random test picture's image_id."""
        return self._random.choice(self.library.queries)

    def read_picture(self, image_id: str) -> bytes:
        """Return a picture's encoded bytes, as they are packed.

        Raises:
            UnknownPictureError: the dataset does not have it.
        """
        self._require(image_id)
        return self.library.pictures.read(image_id)

    def _search(
        self, query: Query, picture: Image.Image | None, options: SearchOptions, *, read_ms: float
    ) -> SearchResults:
        found = []
        for model, finder in self.finders.items():
            began = perf_counter()
            if picture is not None:
                vector = finder.embed(picture, crop=options.crop)
            else:
                assert query.image_id is not None
                vector = finder.vector(query.image_id)
            embed_ms, began = _since(began), perf_counter()
            allowed = self._allowed(finder, options)
            answers = finder.find(vector, options.k, allowed=allowed, leave_out=query.image_id)
            search_ms = _since(began)
            results = self._describe(answers, query.image_id)
            right = None if query.image_id is None else sum(bool(each.right) for each in results)
            found.append(
                ModelResults(
                    model=model,
                    distance=finder.distance,
                    results=results,
                    right=right,
                    embed_ms=embed_ms,
                    search_ms=search_ms,
                )
            )
        return SearchResults(query=query, models=found, read_ms=read_ms)

    def _describe(self, answers: list[Answer], query: str | None) -> list[Result]:
        known = self.library
        return [
            Result(
                rank=rank,
                image_id=answer.image_id,
                names=known.names(answer.image_id),
                group=known.group(answer.image_id),
                score=answer.score,
                right=None if query is None else known.is_relevant(query, answer.image_id),
            )
            for rank, answer in enumerate(answers, start=1)
        ]

    def _allowed(self, finder: Finder, options: SearchOptions) -> Mask | None:
        """Return bool [G]: which rows of an index the filters leave; None for all."""
        masks = []
        if options.class_ is not None:
            masks.append(self._of_class(finder.model, options.class_))
        if options.group is not None:
            masks.append(self._of_group(finder.model, options.group))
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
                    f"{kind}: found '{found}'; allowed: a {kind} that a searched picture has{hint}"
                )

    def _require(self, image_id: str) -> None:
        if image_id not in self._known:
            raise UnknownPictureError(
                f"picture: found '{image_id}'; allowed: an image_id of the dataset"
            )


def _preview(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def _since(began: float) -> float:
    return round((perf_counter() - began) * 1000, 2)
