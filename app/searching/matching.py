"""Whether a query has a match in the catalog: the nearest of all its images is similar enough."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.searching.current_metrics import read_current_metrics
from pipeline.data.arrays import Mask, Vectors
from pipeline.data.metrics_files import MATCH_THRESHOLD

if TYPE_CHECKING:  # it imports torch, which `serve` does later
    from app.searching.model_index import ModelIndex, Neighbor


@dataclass(frozen=True)
class Matches:
    """The neighbors of a query among the images that filters allow, best first.

    match: whether the nearest image of all, whatever the filters allow, is above the threshold;
    None without a threshold.
    """

    neighbors: "list[Neighbor]"
    match: bool | None


def find_matches(
    model_index: "ModelIndex",
    vector: Vectors,
    k: int,
    *,
    threshold: float | None,
    allowed: Mask | None = None,
    exclude: str | None = None,
    unwanted: Vectors | None = None,
) -> Matches:
    """Return the k nearest images that are allowed, and whether the catalog has a match.

    vector, allowed, exclude, unwanted: as in `ModelIndex.search`.
    """
    found = model_index.search(vector, k, allowed=allowed, exclude=exclude, unwanted=unwanted)
    if threshold is None:
        return Matches(found, None)
    nearest = found
    if allowed is not None or model_index.reranks:
        nearest = model_index.search(vector, 1, exclude=exclude, by_score=True)
    return Matches(found, bool(nearest) and nearest[0].score > threshold)


def read_match_threshold(root: Path, model: str) -> float | None:
    """Return the score above which a result of `model` is a match; None where none was chosen on
    the images of the catalog."""
    return (read_current_metrics(root, model) or {}).get(MATCH_THRESHOLD)
