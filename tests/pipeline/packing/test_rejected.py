"""A few images that cannot be decoded stop nothing; many do."""

import pytest

from pipeline.errors import UserError
from pipeline.packing.rejected import check_rejected


# Few of many by the share; else 5, or half of fewer than 10; with 0 none; never all.
@pytest.mark.parametrize(
    ("total", "max_rejected", "allowed"),
    [
        *((1, 0.01, 0), (1, 1.0, 0), (2, 0.01, 1), (9, 0.01, 4), (10, 0.01, 5), (24, 0.01, 5)),
        *((599, 0.01, 5), (600, 0.01, 6), (100, 0.29, 29), (100, 1.0, 99), (24, 0.0, 0)),
    ],
)
def test_how_many_may_be_rejected(total: int, max_rejected: float, allowed: int) -> None:
    rejected = [(f"{number}.png", "empty") for number in range(allowed + 1)]
    check_rejected(rejected[:-1], total=total, max_rejected=max_rejected)
    with pytest.raises(UserError) as caught:
        check_rejected(rejected, total=total, max_rejected=max_rejected)
    share = f"(download.max_rejected: {max_rejected:.1%})"
    assert f"({allowed + 1} empty); allowed: {allowed} {share}; repair" in str(caught.value)
