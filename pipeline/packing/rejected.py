"""Images of a dataset that cannot be decoded: how many are allowed, and what is told of them."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.data.class_names import NAMED
from pipeline.data.decoding import kind_of
from pipeline.errors import UserError

# So many images may always be undecodable: a share of a small folder is less than one image.
ALWAYS_ALLOWED = 5


def check_rejected(rejected: Sequence[tuple[str, str]], *, total: int, max_rejected: float) -> None:
    """Check that few of `total` images are rejected: (path, reason) of each.

    Allowed is the share `max_rejected`; unless that is 0, also ALWAYS_ALLOWED images, but half of
    them at most; never all.

    Raises:
        UserError: they are more.
    """
    by_share = int(max_rejected * total + 1e-9)  # 0.29 * 100 is less than 29
    allowed = min(max(by_share, _few(total, max_rejected)), total - 1)
    if len(rejected) <= allowed:
        return
    first = "; ".join(f"{path}: {reason}" for path, reason in rejected[:NAMED])
    raise UserError(
        f"{len(rejected)} of {total} images ({len(rejected) / total:.1%}) cannot be decoded "
        f"({count_reasons(rejected)}); allowed: {allowed} (download.max_rejected: "
        f"{max_rejected:.1%}); repair or remove them: {first}"
    )


def _few(total: int, max_rejected: float) -> int:
    return min(ALWAYS_ALLOWED, total // 2) if max_rejected else 0


def count_reasons(rejected: Sequence[tuple[str, str]]) -> str:
    """Return how many images are rejected for which reason.

    >>> count_reasons([("a.jpg", "damaged (cut)"), ("b.jpg", "empty"), ("c.jpg", "damaged (no)")])
    '2 damaged, 1 empty'
    """
    numbers = Counter(kind_of(reason) for _, reason in rejected)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(numbers.items()))


def write_rejected(rejected: Sequence[tuple[str, str]], path: Path) -> None:
    """Write a CSV with a row (path, reason) for each of them."""
    with open(path, "w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("path", "reason"))
        writer.writerows(rejected)
