"""Searches with several models, without HTTP: what the search page's server calls."""

import base64
import io
import logging
import random
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from uuid import uuid4

from PIL import Image

from app.overrides_file import append_overrides
from app.searching.best_model import ModelName, find_best
from app.searching.catalog import Catalog
from app.searching.matching import find_matches, read_match_threshold
from app.searching.model_index import ModelIndex, Neighbor
from app.searching.photo_memory import (
    BYTES_PER_PIXEL,
    decode_in_memory,
    max_pixels,
    read_photo_header,
)
from app.searching.query_parts import Query, QueryParts
from app.searching.training import find_trained_on, was_trained
from app.searching.untrusted_images import MAX_BYTES
from app.serving.api_schema import (
    BestModel,
    Choices,
    ModelNeighbors,
    NeighborImage,
    Override,
    PhotoSearchOptions,
    QueryImage,
    SearchOptions,
    SearchResponse,
)
from app.serving.catalog_clusters import CatalogClusters
from app.serving.filters import Filters
from pipeline.errors import UserError
from pipeline.packing.overrides import DROP, RELABEL

PREVIEW_SIDE = 640

logger = logging.getLogger(__name__)


class RefusedPhotoError(UserError):
    """A photo that cannot be decoded, or is too large."""


class EmptyQueryError(UserError):
    """A search for nothing, or for words by models that understand none."""


class UnknownImageError(UserError):
    """An image_id that is not in the catalog."""


class RefusedOverrideError(UserError):
    """A correction of an image that has one, or with a label that means nothing."""


class Searcher:
    """Searches with several models. All methods may be called from many threads.

    Attributes:
        catalog: the images of the project.
        model_indexes: a ModelIndex for each name in `models`, in that order.
        choices: what a search can choose from.
        clusters: the images, grouped by each model; made when they are asked for.

    Raises:
        UserError: a file of the project is missing, damaged, or of another model.
    """

    def __init__(self, root: Path, models: Sequence[str], *, seed: int | None = None) -> None:
        self.catalog = Catalog(root)
        self.model_indexes = {model: ModelIndex(root, model) for model in models}
        # Each model embeds a photo by itself, but it is decoded once.
        self._least_side = max(each.least_side for each in self.model_indexes.values())
        self._thresholds = {model: read_match_threshold(root, model) for model in models}
        self._trained_on = {model: find_trained_on(root, model, self.catalog) for model in models}
        self._random = random.Random(seed)  # noqa: S311 - which images are shown is no secret
        for model_index in self.model_indexes.values():
            # Reads the table of vectors now, so that the first search does not wait for it.
            model_index.read_vector(model_index.ids[0])
        self._text_models = [name for name in models if self._loads_text_side(name)]
        self._image_ids = set(self.catalog.images.ids)
        self.catalog.images.require(self.catalog.queries)
        self._filters = Filters(self.catalog, self.model_indexes)
        self.choices = self._list_choices(
            find_best(root), trained=[model for model in models if was_trained(root, model)]
        )
        version = self.choices.version
        self.clusters = CatalogClusters(self.catalog, self.model_indexes, version=version)

    def _loads_text_side(self, model: str) -> bool:
        """Return whether a model understands text; where what it needs for that cannot be had, say
        so, as images can still be searched."""
        model_index = self.model_indexes[model]
        if not model_index.understands_text:
            return False
        try:
            model_index.embed_text("")
        except UserError as error:
            logger.warning("%s: no words can be searched: %s", model, error)
            return False
        return True

    def require_all_images(self) -> None:
        """Raise a UserError unless each index holds the images of the catalog, and no others: it
        does not while a run of the pipeline replaces them one after the other."""
        for model, model_index in self.model_indexes.items():
            if set(model_index.ids) != self._image_ids:
                raise UserError(
                    f"index/{model}: holds other images than data/images; run: dvc repro"
                )

    def measure_photo(self, encoded: bytes, options: PhotoSearchOptions) -> int:
        """Return the bytes that `search_photo` takes at most to decode a photo.

        Raises:
            RefusedPhotoError: its header cannot be read, or says that it has too many pixels.
        """
        with _refusing():
            return read_photo_header(encoded, name=options.name).memory

    def search_photo(self, encoded: bytes, options: PhotoSearchOptions) -> SearchResponse:
        """Return the neighbors of a photo that each model finds; their relevance is not known.

        Raises:
            RefusedPhotoError: the photo cannot be decoded, or is too large.
            UnknownNameError: there is no such class or group.
        """
        self._check_options(options)
        started = perf_counter()
        with _refusing():
            image = decode_in_memory(encoded, name=options.name, side=self._least_side)
            shown = image if options.preview else None
            if shown and max(shown.size) < PREVIEW_SIDE:  # perhaps as the network needs no more
                shown = decode_in_memory(encoded, name=options.name, side=PREVIEW_SIDE)
        preview = None if shown is None else _make_preview(shown)
        described = QueryImage(image_id=None, classes=[], group=None, preview=preview)
        query = _with_options(QueryParts([image]), options)
        return self._search(described, query, options, read_ms=_milliseconds_since(started))

    def search_image(self, image_id: str, options: SearchOptions) -> SearchResponse:
        """Return the neighbors of an image of the catalog that each model finds, without itself.

        Raises:
            UnknownImageError: it, or one beside it, is not in the catalog.
            UnknownNameError: there is no such class or group.
            EmptyQueryError: there are words, and no model understands text.
        """
        self._check_image_id(image_id)
        self._check_options(options)
        started = perf_counter()
        if options.crop == "center":  # its embedding is in the pipeline's table already
            parts = QueryParts(image_ids=[image_id])
        else:
            parts = QueryParts([self.catalog.images.decode_small(image_id, side=self._least_side)])
        classes, group = self.catalog.classes_of(image_id), self.catalog.group_of(image_id)
        described = QueryImage(image_id=image_id, classes=classes, group=group, preview=None)
        query = _with_options(parts, options)
        return self._search(described, query, options, read_ms=_milliseconds_since(started))

    def search_parts(self, options: SearchOptions) -> SearchResponse:
        """Return what each model finds for words, images of the catalog, or both.

        Raises:
            EmptyQueryError: there is neither, or no model understands text.
            UnknownImageError, UnknownNameError: as `search_image`.
        """
        self._check_options(options)
        query = _with_options(QueryParts(), options)
        if not len(query.wanted):
            raise EmptyQueryError("text: found none; allowed: words, or image_ids that are like it")
        described = QueryImage(image_id=None, classes=[], group=None, preview=None)
        return self._search(described, query, options, read_ms=0.0)

    def sample_query(self) -> str:
        """Return the image_id of a random query of the test split, or of any image without one."""
        return self._random.choice(self.catalog.queries or self.catalog.images.ids)

    def read_image(self, image_id: str) -> bytes:
        """Return the encoded bytes of an image of the catalog.

        Raises:
            UnknownImageError: it is not in the catalog.
        """
        self._check_image_id(image_id)
        return self.catalog.images.read(image_id)

    def override(self, override: Override, path: Path) -> Override:
        """Append a correction of an image of the catalog to the file at `path`; return the row.

        Raises:
            UnknownImageError: it is not in the catalog.
            UnknownNameError: there is no such class.
            RefusedOverrideError: the file names the image already, or a label is given with drop.
        """
        self._check_image_id(override.image_id)
        if not self.catalog.labels_of(override.image_id):
            raise RefusedOverrideError(
                f"image_id: found '{override.image_id}', an added image; allowed: images with a "
                "label; take it away with lookalike remove"
            )
        label = override.label
        if override.action == RELABEL:
            label = self.catalog.own_name_of(label)
        elif label:
            raise RefusedOverrideError(f"label: found '{label}'; allowed with {DROP}: none")
        if not append_overrides(path, [(override.image_id, override.action, label)]):
            raise RefusedOverrideError(
                f"image_id: found '{override.image_id}', which {path.name} has already; allowed: "
                "once; edit the file"
            )
        return Override(image_id=override.image_id, action=override.action, label=label)

    def _list_choices(self, best: ModelName | None, *, trained: list[str]) -> Choices:
        gallery = {image_id for each in self.model_indexes.values() for image_id in each.ids}
        classes = {name for image_id in gallery for name in self.catalog.classes_of(image_id)}
        groups = {self.catalog.group_of(image_id) for image_id in gallery}
        return Choices(
            models=list(self.model_indexes),
            text=self._text_models,
            parts=all(each.takes_parts for each in self.model_indexes.values()),
            best=None if best is None else BestModel(model=best.name, because=best.because or ""),
            trained=trained,
            classes=[name for name in self.catalog.classes if name in classes],
            groups=[name for name in self.catalog.groups if name in groups],
            image_count=len(gallery),
            query_count=len(self.catalog.queries),
            overrides=False,
            max_bytes=MAX_BYTES,
            version=uuid4().hex[:8],
            max_pixels={kind: max_pixels(kind) for kind in BYTES_PER_PIXEL},
        )

    def _search(
        self, described: QueryImage, query: Query, options: SearchOptions, *, read_ms: float
    ) -> SearchResponse:
        """Search with each model that understands the query."""
        models = [
            self._search_model(model_index, described.image_id, query, options)
            for model_index in self.model_indexes.values()
            if model_index.model in self._text_models or not query.has_texts
        ]
        version = self.choices.version
        return SearchResponse(query=described, models=models, read_ms=read_ms, version=version)

    def _search_model(
        self, model_index: ModelIndex, image_id: str | None, query: Query, options: SearchOptions
    ) -> ModelNeighbors:
        """Search with one model; image_id: the query's, where it is an image of the catalog."""
        started = perf_counter()
        wanted, unwanted = query.vectors(model_index, crop=options.crop)
        embed_ms, started = _milliseconds_since(started), perf_counter()
        allowed = self._filters.mask(model_index, options)
        # An image of the catalog is in it, whatever the others are like.
        has_threshold = query.is_one_image and image_id is None and not query.wanted.image_ids
        found = find_matches(
            *(model_index, wanted, options.k),
            threshold=self._thresholds[model_index.model] if has_threshold else None,
            allowed=allowed,
            exclude=image_id,
            unwanted=unwanted,
        )
        search_ms = _milliseconds_since(started)
        trained_on = self._trained_on[model_index.model]
        relevant_to = image_id if query.is_one_image else None
        neighbors = self._describe(found.neighbors, relevant_to, trained_on)
        known = any(each.relevant is not None for each in neighbors)
        return ModelNeighbors(
            model=model_index.model,
            distance=model_index.distance,
            postprocessing=model_index.postprocessing,
            neighbors=neighbors,
            match=found.match,
            relevant_count=sum(bool(each.relevant) for each in neighbors) if known else None,
            embed_ms=embed_ms,
            search_ms=search_ms,
        )

    def _describe(
        self, neighbors: Sequence[Neighbor], query: str | None, trained_on: Set[str]
    ) -> list[NeighborImage]:
        return [
            NeighborImage(
                rank=rank,
                image_id=neighbor.image_id,
                classes=self.catalog.classes_of(neighbor.image_id),
                group=self.catalog.group_of(neighbor.image_id),
                score=neighbor.score,
                trained_on=neighbor.image_id in trained_on,
                relevant=(
                    None if query is None else self.catalog.is_relevant(query, neighbor.image_id)
                ),
            )
            for rank, neighbor in enumerate(neighbors, start=1)
        ]

    def _check_options(self, options: SearchOptions) -> None:
        self._filters.check(options)
        for image_id in (*options.like, *options.unlike):
            self._check_image_id(image_id)
        if both := {*options.like} & {*options.unlike}:
            raise EmptyQueryError(
                f"unlike: found '{min(both)}', which is among like; allowed: one of both"
            )
        if options.has_texts and not self.choices.text:
            raise EmptyQueryError(
                "text: found words, and the models that are served understand images alone; "
                "allowed: with a backbone.name of open_clip"
            )

    def _check_image_id(self, image_id: str) -> None:
        if image_id not in self._image_ids:
            raise UnknownImageError(
                f"image_id: found '{image_id}'; allowed: an image_id of the catalog"
            )


def _with_options(parts: QueryParts, options: SearchOptions) -> Query:
    """Return the query of an image's parts and of what the options add."""
    ids = [*parts.image_ids, *options.like]
    texts = [text for text in (options.text,) if text is not None]
    others = [text for text in (options.without,) if text is not None]
    return Query(
        QueryParts(parts.images, ids, texts), QueryParts(image_ids=options.unlike, texts=others)
    )


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise RefusedPhotoError(str(error)) from None


def _make_preview(image: Image.Image) -> str:
    # `thumbnail` would change the image itself, and a copy of it takes as much memory again.
    share = min(1, PREVIEW_SIDE / max(image.size))
    width, height = (max(1, round(side * share)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def _milliseconds_since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 2)
