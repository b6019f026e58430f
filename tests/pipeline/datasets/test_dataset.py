"""Every dataset is one object: its options are those of params.yaml, and it may need no source."""

import pytest

from pipeline.config.load import read_yaml
from pipeline.datasets import DATASETS
from pipeline.datasets.source_image import SourceImage
from tests.helpers.options import dataset_options
from tests.helpers.paths import ROOT


@pytest.mark.parametrize("name", DATASETS)
def test_the_options_of_a_dataset_are_its_block_of_params_yaml(name: str) -> None:
    block = read_yaml(ROOT / "params.yaml")["data"][name]
    assert dataset_options(name).model_dump() == block


def test_labels_and_groups_of_any_dataset_are_in_one_form_of_unicode() -> None:
    image = SourceImage(
        path="cafe\u0301.jpg", labels=("cafe\u0301", "a"), read=None, group="u\u0308"
    )
    assert (image.labels, image.group) == (("caf\u00e9", "a"), "\u00fc")
    assert image.path == "cafe\u0301.jpg"


@pytest.mark.parametrize(
    ("name", "changes", "reads"),
    [
        ("products", {}, False),
        ("folder", {}, True),
        ("coco", {}, True),
        ("coco", {"official": True}, False),
        ("mit_split", {"url": "https://x.org/MIT_split.tar"}, False),
        ("fashion_mnist", {"official": True}, False),
        ("huggingface", {}, True),
    ],
)
def test_the_source_is_read_unless_the_images_are_rendered_or_fetched(
    name: str, changes: dict[str, object], reads: bool
) -> None:
    assert DATASETS[name].reads_source(dataset_options(name, **changes)) == reads


def test_a_dataset_fetches_counts_and_reports_nothing_by_default() -> None:
    inshop = DATASETS["inshop"]
    assert (inshop.archives(None), inshop.files(None)) == ({}, {})
    assert inshop.count_unread(ROOT, None) == {}
