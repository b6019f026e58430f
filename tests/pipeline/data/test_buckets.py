"""Buckets: where each image is, and what a manifest must say."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.data.buckets import (
    COUNT,
    MANIFEST,
    PER_BUCKET,
    Bucket,
    Manifest,
    choose_count,
    find_buckets,
    read_manifest,
    write_manifest,
)
from pipeline.data.tables import BUCKETS, write_table
from pipeline.data.tie_order import digest_ids, tie_order
from pipeline.errors import UserError

REMEDY = "get it back: dvc checkout, or make it again: dvc repro -f embed"


@pytest.mark.parametrize("count", [1, 2, 16, 4096, 2**14])
def test_a_bucket_is_the_first_bits_of_a_digest(count: int) -> None:
    ids = [f"image {number}" for number in range(500)]
    digests = digest_ids(ids)
    found = find_buckets(digests, count).tolist()
    assert found == [int(digest) * count // 2**64 for digest in digests]
    in_order = [found[row] for row in tie_order(ids)]
    assert in_order == sorted(in_order)


def test_images_spread_over_all_buckets() -> None:
    counts = np.bincount(find_buckets(digest_ids([f"{n}.jpg" for n in range(4096)]), 16))
    assert len(counts) == 16
    assert 200 < counts.min() < counts.max() < 320  # the mean is 256, the deviation 15.5


def test_there_are_as_many_as_the_images_need() -> None:
    for images in (1, 255, 256, 257, 1_024, 1_025, 10**6):
        count = choose_count(images)
        assert count in {4**power for power in range(12)}
        assert images <= count * PER_BUCKET < max(4 * images, PER_BUCKET + 1)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    for manifest in (
        Manifest(16, (Bucket(0, 7, "a"), Bucket(15, 1, "b"))),
        Manifest(1, ()),
    ):
        write_manifest(tmp_path, manifest, metadata={"more": "text"})
        assert read_manifest(tmp_path, stage="embed") == manifest
    assert Manifest(16, (Bucket(0, 7, "a"), Bucket(15, 1, "b"))).rows == 8
    assert Bucket(7, 1, "").path_in(tmp_path, ".arrow") == tmp_path / "00007.arrow"


def test_without_a_manifest_it_is_told_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path, stage="embed")
    assert str(caught.value) == (
        f"{tmp_path / MANIFEST}: no such file; make it: dvc repro, or if the project has a remote, "
        "fetch it: dvc pull"
    )


@pytest.mark.parametrize(
    ("buckets", "rows", "count"),
    [
        ([0, 1], [1, 1], "1"),
        ([1, 0], [1, 1], "2"),
        ([-1, 0], [1, 1], "2"),
        ([0, 1], [1, 0], "2"),
        ([0, 1], [1, 1], "3"),
        ([0, 1], [1, 1], "-2"),
        ([0, 1], [1, 1], "many"),
        ([0, 1], [1, 1], "9" * 5000),
        ([0, 1], [1, 1], None),
    ],
)
def test_a_manifest_that_cannot_be_is_damaged(
    buckets: list[int], rows: list[int], count: str | None, tmp_path: Path
) -> None:
    columns = {
        "bucket": pa.array(buckets, pa.int32()),
        "rows": pa.array(rows, pa.int64()),
        "digest": ["a", "b"],
    }
    about = {} if count is None else {COUNT: count}
    write_table(pa.table(columns), tmp_path / MANIFEST, BUCKETS, metadata=about)
    with pytest.raises(UserError) as caught:
        read_manifest(tmp_path, stage="embed")
    assert str(caught.value) == (
        f"{tmp_path / MANIFEST}: damaged (not the manifest of a folder of buckets); {REMEDY}"
    )
