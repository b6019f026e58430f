"""The options of post-processing; apart from its code, which loads a compiler."""

from collections.abc import Mapping
from typing import Annotated, Self

from annotated_types import Ge, Le, MinLen

from pipeline.options import Section, Share, Width

Neighbors = Annotated[int, Ge(0), Le(1000)]
# Only so many results are compared with each other (TOP of pipeline/index/reranking.py).
Reranked = Annotated[int, Ge(0), Le(100)]


class Steps(Section):
    """prefix: keep so many first numbers; null: all. center: subtract the mean. pca: axes that are
    kept; null: all. whiten: the power of its deviation that each axis is divided by.
    database_augmentation: how many others of the gallery an image in it is averaged with;
    query_expansion: how many results a query is. rerank: how many
    neighbors of each of the first results are compared with those of the query."""

    prefix: Width | None
    center: bool
    pca: Width | None
    whiten: Share
    database_augmentation: Neighbors
    query_expansion: Neighbors
    rerank: Reranked

    def describe(self) -> str:
        """Return them in words: "centered, 128 axes, whitened by 0.5, query expansion 3"."""
        words = [f"the first {self.prefix} numbers"] * (self.prefix is not None)
        words += ["centered"] * self.center + [f"{self.pca} axes"] * (self.pca is not None)
        words += [f"whitened by {self.whiten:g}"] * (self.whiten > 0)
        if self.database_augmentation:
            words.append(f"database augmentation {self.database_augmentation}")
        if self.query_expansion:
            words.append(f"query expansion {self.query_expansion}")
        if self.rerank:
            words.append(f"re-ranked by {self.rerank} neighbors")
        return ", ".join(words) or "nothing"

    @property
    def maps(self) -> bool:
        """Whether embeddings are changed; all axes alone would only turn them."""
        return self.center or self.pca is not None or self.whiten > 0

    def without_prefix(self) -> Self:
        """Return these for a model whose first numbers are like any others."""
        return self.model_copy(update={"prefix": None})


NO_STEPS = Steps(
    prefix=None,
    center=False,
    pca=None,
    whiten=0.0,
    database_augmentation=0,
    query_expansion=0,
    rerank=0,
)


class NoSteps(Section):
    pass


class ListedSteps(Section):
    """Values of `Steps`, of which validation chooses."""

    prefix: Annotated[list[Width | None], MinLen(1)]
    center: Annotated[list[bool], MinLen(1)]
    pca: Annotated[list[Width | None], MinLen(1)]
    whiten: Annotated[list[Share], MinLen(1)]
    database_augmentation: Annotated[list[Neighbors], MinLen(1)]
    query_expansion: Annotated[list[Neighbors], MinLen(1)]
    rerank: Annotated[list[Reranked], MinLen(1)]

    def without_prefix(self) -> Self:
        """Return these for a model whose first numbers are like any others."""
        return self.model_copy(update={"prefix": [None]})


POSTPROCESSING: Mapping[str, type[Section]] = {
    "none": NoSteps,
    "fixed": Steps,
    "chosen": ListedSteps,
}
