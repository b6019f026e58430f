"""The clusters of the catalog's images, as the page shows them."""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from app.searching.catalog import Catalog
from app.searching.clustering import Clusters, cluster, default_count
from app.searching.model_index import ModelIndex
from app.serving.cluster_schema import (
    ClassShare,
    Cluster,
    ClusterImage,
    ClusterOptions,
    ClusterPageOptions,
    ClusterResponse,
    ClustersResponse,
)
from pipeline.errors import UserError, name_choices

ON_A_CARD, ON_A_PAGE = 6, 60  # images
MAX_CLASSES = 3  # of a cluster that are named
MAX_KEPT = 8  # groupings: each takes 12 bytes an image


class UnknownModelError(UserError):
    """A model that is not served."""


class UnknownClusterError(UserError):
    """A number that no cluster has."""


@dataclass(frozen=True)
class _Grouping:
    """The clusters of one model, and the most frequent classes of each."""

    clusters: Clusters
    classes: list[list[ClassShare]]


class CatalogClusters:
    """The images of each model's index in clusters, made when they are asked for, and kept.

    Safe for many threads: one makes clusters, the others wait for it.
    """

    def __init__(
        self, catalog: Catalog, indexes: Mapping[str, ModelIndex], *, version: str
    ) -> None:
        self._catalog, self._indexes, self._version = catalog, indexes, version
        self._kept: OrderedDict[tuple[str, int], _Grouping] = OrderedDict()
        self._making = Lock()

    def list_all(self, options: ClusterOptions) -> ClustersResponse:
        """Return all clusters, the largest first, each with the images nearest to its centre.

        Raises:
            UnknownModelError: the model is not served.
            UserError: its embeddings cannot be read.
        """
        index = self._find_index(options.model)
        grouping = self._group(index, options.k)
        numbers = range(1, len(grouping.clusters) + 1)
        return ClustersResponse(
            model=index.model,
            image_count=len(index.ids),
            clusters=[self._describe(index, grouping, each, 0, ON_A_CARD) for each in numbers],
            version=self._version,
        )

    def show(self, number: int, options: ClusterPageOptions) -> ClusterResponse:
        """Return a cluster with a page of its images, the nearest to its centre first.

        Raises:
            UnknownClusterError: there is no such cluster.
            UnknownModelError, UserError: as `list_all`.
        """
        index = self._find_index(options.model)
        grouping = self._group(index, options.k)
        if not 1 <= number <= len(grouping.clusters):
            raise UnknownClusterError(
                f"cluster: found {number}; allowed: 1 to {len(grouping.clusters)}"
            )
        return ClusterResponse(
            model=index.model,
            cluster=self._describe(index, grouping, number, options.offset, ON_A_PAGE),
            offset=options.offset,
            page_size=ON_A_PAGE,
            version=self._version,
        )

    def _find_index(self, model: str | None) -> ModelIndex:
        if model is None:
            return next(iter(self._indexes.values()))
        if model not in self._indexes:
            raise UnknownModelError(f"model: {name_choices(model, self._indexes)}")
        return self._indexes[model]

    def _group(self, index: ModelIndex, count: int | None) -> _Grouping:
        """Return a model's clusters, those that are kept where they are; the oldest go first."""
        images = len(index.ids)
        key = (index.model, default_count(images) if count is None else min(count, images))
        with self._making:
            if key not in self._kept:
                made = cluster(index.read_prepared, images, key[1], distance=index.distance)
                self._kept[key] = _Grouping(made, self._count_classes(index, made))
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _count_classes(self, index: ModelIndex, clusters: Clusters) -> list[list[ClassShare]]:
        """Return the most frequent classes of each cluster; of equally many the first by name.

        None where all images have the same, as those have that nobody labelled.
        """
        if len(self._catalog.classes) == 1:
            return [[] for _ in range(len(clusters))]
        counted = []
        for number in range(1, len(clusters) + 1):
            rows = clusters.rows[clusters.place(number)].tolist()
            names = (name for row in rows for name in self._catalog.classes_of(index.ids[row]))
            most = sorted(Counter(names).items(), key=lambda each: (-each[1], each[0]))
            counted.append(
                [
                    ClassShare(name=name, share=count / len(rows))
                    for name, count in most[:MAX_CLASSES]
                ]
            )
        return counted

    def _describe(
        self, index: ModelIndex, grouping: _Grouping, number: int, offset: int, count: int
    ) -> Cluster:
        """Return a cluster with `count` images, after `offset` of them."""
        place = grouping.clusters.place(number)
        first = min(place.start + offset, place.stop)
        shown = slice(first, min(first + count, place.stop))
        return Cluster(
            number=number,
            image_count=place.stop - place.start,
            classes=grouping.classes[number - 1],
            images=self._list_images(index, grouping.clusters, shown, first_rank=offset + 1),
        )

    def _list_images(
        self, index: ModelIndex, clusters: Clusters, shown: slice, *, first_rank: int
    ) -> list[ClusterImage]:
        ids = [index.ids[row] for row in clusters.rows[shown].tolist()]
        scores = clusters.scores[shown].tolist()
        return [
            ClusterImage(
                rank=first_rank + place,
                image_id=image_id,
                classes=self._catalog.classes_of(image_id),
                group=self._catalog.group_of(image_id),
                score=score,
            )
            for place, (image_id, score) in enumerate(zip(ids, scores, strict=True))
        ]
