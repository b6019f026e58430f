"""Which rows of an index a search of the page may find."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from app.searching.catalog import Catalog
from app.searching.model_index import ModelIndex
from app.serving.api_schema import SearchOptions
from pipeline.data.arrays import Mask

MAX_CACHED_MASKS = 64


class Filters:
    """The filters of all searches. Safe for many threads."""

    def __init__(self, catalog: Catalog, indexes: Mapping[str, ModelIndex]) -> None:
        self._catalog = catalog
        # Cached: for an index of 100,000 rows, to make a mask takes longer than to search.
        self._mask_class = lru_cache(MAX_CACHED_MASKS)(
            lambda model, name: catalog.mask_class(name, indexes[model].ids)
        )
        self._mask_group = lru_cache(MAX_CACHED_MASKS)(
            lambda model, name: catalog.mask_group(name, indexes[model].ids)
        )
        self._mask_gallery = lru_cache(len(indexes))(
            lambda model: catalog.mask_gallery(indexes[model].ids)
        )

    def check(self, options: SearchOptions) -> None:
        """Raise an UnknownNameError where there is no such class or group."""
        if options.class_ is not None:
            self._catalog.find_label(options.class_)
        if options.group is not None:
            self._catalog.find_group(options.group)

    def mask(self, model_index: ModelIndex, options: SearchOptions) -> Mask | None:
        """Return bool [N]: which rows of an index may be found; None for all."""
        masks = [self._mask_gallery(model_index.model)] if options.gallery else []
        if options.class_ is not None:
            masks.append(self._mask_class(model_index.model, options.class_))
        if options.group is not None:
            masks.append(self._mask_group(model_index.model, options.group))
        if parts := {*options.like, *options.unlike}:  # seen already
            masks.append(model_index.mask_without(parts))
        return np.logical_and.reduce(masks) if masks else None
