"""The card of a model: what it says is so, and what is not known it leaves out."""

import json
import logging
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from app.commands.export import export_images
from app.publishing.base_model import describe_first_weights, find_base_model
from app.publishing.model_card import DESCRIPTION
from app.publishing.model_folder import write_model_folder
from pipeline.data.fingerprint import read_dataset_fingerprint
from pipeline.data.lineage import digest_model
from pipeline.data.metrics_files import label_metrics
from pipeline.data.tables import SPLITS, read_table, write_table
from pipeline.data.training_record import TrainingRecord, read_record, write_record
from pipeline.evaluation.metrics_report import choose_headline
from tests.helpers.clone import git
from tests.helpers.measured import write_metrics
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT
from tests.helpers.searchable import PARAMS

METADATA = """\
---
library_name: lookalike
tags:
- image-retrieval
- metric-learning
- image-feature-extraction
model-index:
- name: birds
  results:
  - task:
      type: image-retrieval
    dataset:
      name: products
      type: products
      split: test
    metrics:
    - type: recall_at_1
      value: 0.865
    - type: map
      value: 0.6958
---

# birds

## What it is

"""
TRAINED_ON = """\
## What it was trained on

The dataset `products`, images that `lookalike` draws (fingerprint `{fingerprint}`): 10 images of \
5 classes. 10 other images, for validation, chose epoch 3. By validation, this model is the one to \
use: it is a test. All settings: `params.yaml`, without paths and addresses.
"""
MEASURED = """\
## How it was measured

With test images of the dataset `products`, images that `lookalike` draws. Each of 20 queries was \
looked for among 20 images, the gallery; an image is never its own result. Split `class_disjoint`: \
no test class is one of the training or validation images, so the classes are new to the model. An \
interval is the range in which its metric would probably be with other classes.

| metric | value, 95% interval |
| --- | --- |
| `recall_at_1` | 0.865, 0.820–0.910 |
| `map` | 0.696, 0.639–0.752 |
"""
USE = """\
## How to use it

`lookalike` is the project that made this model: one reproducible DVC pipeline from images to a \
measured, searchable image-retrieval index.
In a checkout of it, after `make install`:

```python
from huggingface_hub import snapshot_download

from pipeline.api import embed_images, load_model

model = load_model(snapshot_download("me/birds"))
vector = embed_images(model, ["photo.jpg"], hflip=False)[0]
```

The nearer the vectors of two photos (by the cosine), the more alike they are.

## Limits
"""
NOT_MEASURED = "It was not measured with the images of its project: how well it does is not known."
LIMITS = """\
## Limits

- Its numbers are of these images alone. On others it may do better or worse: measure it on your \
own before you rely on it.
- They are of one training, with seed 7. With another seed they would be others, and the \
intervals do not tell by how much.
- It finds what looks alike. That two images are near is no proof that they show the same thing, \
and it was not made to recognize people.
- No license is named here: those of the backbone's weights and of the images hold.
"""


def write(root: Path, name: str, *, title: str = "birds", repository: str | None = None) -> Path:
    """Return the folder of a model, whose card the Hub's own library reads."""
    out = root / f"exported-{name}"
    out.mkdir()
    write_model_folder(root, name, out, title=title, repository=repository)
    assert ModelCard.load(out / "README.md").data.library_name == "lookalike"
    return out


def card_of(root: Path, name: str, *, repository: str | None = None) -> str:
    return (write(root, name, repository=repository) / "README.md").read_text()


def change_params(root: Path, changes: dict[str, object]) -> None:
    """Set values of params.yaml, by their dotted keys."""
    with (root / "params.yaml").open("w") as out:
        YAML().dump(overlaid(PARAMS | changes), out)


def write_nothing_measured(root: Path, name: str) -> None:
    """Write the metrics of a model as `evaluate` does where no image has a label."""
    fingerprint = read_dataset_fingerprint(root / "data/catalog.parquet")
    details = label_metrics({"queries": 0, "gallery": 20}, dataset="x", fingerprint=fingerprint)
    headline = choose_headline(details, k=[1])
    (root / "metrics/details").mkdir(parents=True, exist_ok=True)
    (root / f"metrics/{name}.json").write_text(json.dumps(headline))
    (root / f"metrics/details/{name}.json").write_text(json.dumps(details))


def test_a_card_says_what_is_known_of_a_trained_model(project: Path) -> None:
    text = card_of(project, "finetuned", repository="me/birds")
    digest = digest_model(project / "models/finetuned")
    fingerprint = json.loads((project / "metrics/details/finetuned.json").read_text())[
        "fingerprint"
    ]
    assert text.startswith(METADATA)
    for row in (
        "| backbone | `resnet18`, which began with random weights |",
        "| head | `linear` |",
        "| loss | `multi_similarity` |",
        "| image | the square in the middle, 32 × 32 pixels |",
        "| vector | 16 numbers, of length 1 |",
        f"| digest | `{digest}`, which its vectors and its index name |",
    ):
        assert row in text
    assert TRAINED_ON.format(fingerprint=fingerprint) in text
    assert MEASURED in text
    assert USE in text
    assert "GIT-URL" not in text
    assert text.endswith(LIMITS)


def test_the_hub_reads_the_metadata(project: Path) -> None:
    card = ModelCard.load(write(project, "finetuned") / "README.md")
    assert card.data.library_name == "lookalike"
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {"recall_at_1": 0.865, "map": 0.6958}


def test_a_card_of_a_baseline_claims_no_training_and_no_numbers(project: Path) -> None:
    text = card_of(project, "baseline")
    assert "| loss | none: it was not trained |" in text
    assert "| head | none: the network's own features |" in text
    assert (
        "Nothing: its weights are random ones. It is what trained models are compared with." in text
    )
    assert NOT_MEASURED in text
    assert "model-index" not in text
    assert "seed" not in text
    assert not (project / "exported-baseline/metrics.json").exists()


def test_a_training_without_a_better_epoch_is_none(project: Path) -> None:
    folder = project / "models/finetuned"
    write_record(folder, replace(read_record(folder), use="baseline", best_epoch=0, val_map=0.5))
    text = card_of(project, "finetuned")
    assert "Nothing: no epoch of its training was better, so its backbone is as before." in text
    assert "| loss | none: it was not trained |" in text


def test_where_the_baseline_is_better_the_card_says_so(project: Path) -> None:
    folder = project / "models/finetuned"
    write_record(folder, replace(read_record(folder), use="baseline"))
    assert "By validation, `baseline` is the one to use: it is a test." in card_of(
        project, "finetuned"
    )


def test_what_is_not_in_the_model_is_told(project: Path) -> None:
    write_metrics(project, "finetuned", postprocessing="query expansion 3")
    text = card_of(project, "finetuned")
    assert "Measured with post-processing that is not in this model: query expansion 3. An" in text


def test_without_data_the_card_has_the_rest(project: Path) -> None:
    shutil.rmtree(project / "data")
    text = card_of(project, "finetuned")
    dataset = "The dataset `products`, images that `lookalike` draws"
    assert f"## What it was trained on\n\n{dataset}. By validation, this" in text
    assert "class_disjoint" not in text
    assert "| `recall_at_1` | 0.865, 0.820–0.910 |" in text


def test_metrics_of_other_images_are_left_out(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_metrics(project, "finetuned", fingerprint="0" * 16)
    with caplog.at_level(logging.INFO):
        text = card_of(project, "finetuned")
    assert NOT_MEASURED in text
    assert "0.865" not in text
    assert caplog.messages == [
        "no metrics of finetuned with these images; to measure it, if they have labels: dvc repro"
    ]


@pytest.mark.parametrize("name", ["baseline", "finetuned"])
def test_without_labels_nothing_was_measured_or_trained(project: Path, name: str) -> None:
    folder = project / "models/finetuned"
    write_record(folder, TrainingRecord("baseline", "nothing was trained", 0, {}))
    write_nothing_measured(project, name)
    out = write(project, name)
    text = (out / "README.md").read_text()
    assert NOT_MEASURED in text
    for claim in ("model-index", "queries", "| metric |", "new to the model", "Its numbers"):
        assert claim not in text
    assert not (out / "metrics.json").exists()
    if name == "finetuned":
        assert (
            "Nothing: the project had no images to train it with, so its weights are as before."
            in text
        )


def test_without_a_place_on_the_hub_the_title_is_the_name_of_the_folder(project: Path) -> None:
    out = project / "published/birds"
    export_images(project, out, model="finetuned", kind="hub", side=0)
    text = (out / "README.md").read_text()
    assert "\n# birds\n" in text
    assert ModelCard.load(out / "README.md").data.model_name == "birds"
    assert 'snapshot_download("OWNER/NAME")' in text
    assert "`OWNER/NAME` is where this folder is on the Hugging Face Hub. The nearer" in text


def test_a_title_of_any_characters_is_one_line(project: Path) -> None:
    out = write(project, "finetuned", title="a: 'b'\n# \udcff")
    assert "\n# a: 'b'\\n# \\udcff\n" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data.name": "folder"}, "A folder of images of one's own (fingerprint"),
        (
            {"data.name": "huggingface", "data.huggingface.path": "me/pets"},
            "The dataset `me/pets` of the Hugging Face Hub (fingerprint",
        ),
        (
            {"data.name": "huggingface", "data.huggingface.path": "/home/me/pets"},
            "The dataset `huggingface` (fingerprint",
        ),
        ({"data.name": "cub"}, "The dataset `cub` (fingerprint"),
    ],
)
def test_a_dataset_is_named_as_others_know_it(
    project: Path, changes: dict[str, object], expected: str
) -> None:
    change_params(project, changes)
    text = card_of(project, "finetuned")
    assert expected in text
    assert "/home" not in text


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (
            "random",
            "Split `random`: no test image is one of training or validation, but other images of "
            "its class may be. With classes that it has never seen, the model may do worse.",
        ),
        ("test_only", "Split `test_only`: no image is for training, all are for the test."),
    ],
)
def test_what_a_split_means_is_told(project: Path, protocol: str, expected: str) -> None:
    change_params(project, {"split.protocol": protocol})
    path = project / "data/splits.parquet"
    table = read_table(path, SPLITS)
    names = ["test"] * len(table)
    if protocol == "random":
        names = ["test", "train"] * (len(table) // 2)
    column = table.schema.get_field_index("split")
    table = table.set_column(column, "split", pa.array(names, table.schema.field("split").type))
    write_table(table, path, SPLITS, metadata={})
    assert expected in card_of(project, "finetuned")


@pytest.mark.parametrize(
    ("remotes", "expected"),
    [
        ({"origin": "https://git.example.org/me/birds.git"}, "git.example.org/me/birds.git"),
        ({"backup": "https://git.example.org/me/birds.git"}, "git.example.org/me/birds.git"),
        ({"origin": "https://me:token@git.example.org/birds"}, None),
        ({"origin": "git@example.org:me/birds.git"}, None),
        ({"origin": "/home/me/birds"}, None),
        ({"origin": "http://git.example.org/birds"}, None),
        ({"origin": "/home/me/birds", "other": "https://example.org/others"}, None),
        ({"a": "https://example.org/a", "b": "https://example.org/b"}, None),
        ({}, None),
    ],
)
def test_the_repository_is_named_where_all_may_see_its_address(
    project: Path, remotes: dict[str, str], expected: str | None
) -> None:
    git(project, "init", "--quiet")
    for name, address in remotes.items():
        git(project, "remote", "add", name, address)
    text = card_of(project, "finetuned")
    address = f"https://{expected}"
    shown = (
        f"The repository of the project is {address}. From there DVC fetches the model too: `dvc "
        f"artifacts get {address} finetuned`.\n"
    )
    assert (shown in text) == (expected is not None)
    assert ("repository of the project" in text) == (expected is not None)


def test_the_remote_of_a_repository_around_the_project_is_not_its_own(project: Path) -> None:
    git(project.parent, "init", "--quiet")
    git(project.parent, "remote", "add", "origin", "https://example.org/all.git")
    assert "example.org" not in card_of(project, "finetuned")


def test_the_project_is_described_as_it_describes_itself() -> None:
    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["description"]
        == DESCRIPTION
    )


@pytest.mark.parametrize(
    ("backbone", "weights", "expected"),
    [
        ("timm:tf_efficientnet_lite0", "packaged", "timm/tf_efficientnet_lite0.in1k"),
        ("timm:resnet50.a1_in1k", "imagenet", "timm/resnet50.a1_in1k"),
        ("timm:hf-hub:timm/test_vit.r160_in1k@main", "imagenet", "timm/test_vit.r160_in1k"),
        (
            "open_clip:ViT-B-32.laion2b_s34b_b79k",
            "imagenet",
            "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        ),
        ("open_clip:ViT-B-32.unknown", "imagenet", None),
        ("timm:tf_efficientnet_lite0", None, None),
        ("timm:tf_efficientnet_lite0", "own.safetensors", None),
        ("resnet18", "imagenet", None),
    ],
)
def test_the_base_model_is_named_where_the_hub_has_it(
    backbone: str, weights: str | None, expected: str | None
) -> None:
    assert find_base_model(backbone, weights) == expected


@pytest.mark.parametrize(
    ("backbone", "weights", "expected"),
    [
        ("timm:tf_efficientnet_lite0", "packaged", "ImageNet weights"),
        ("resnet18", "imagenet", "ImageNet weights"),
        ("fasterrcnn_resnet50_fpn", "imagenet", "COCO weights"),
        ("timm:resnet50.a1_in1k", "imagenet", "ImageNet weights"),
        (
            "timm:vit_small_patch14_dinov2",
            "imagenet",
            "the weights that are published by this name",
        ),
        (
            "open_clip:ViT-B-32.laion2b_s34b_b79k",
            "imagenet",
            "the weights that are published by this name",
        ),
        ("resnet18", "/home/me/own.pt", "weights of a file, `own.pt`"),
        ("resnet18", None, "random weights"),
    ],
)
def test_the_first_weights_are_told_in_words(
    backbone: str, weights: str | None, expected: str
) -> None:
    assert describe_first_weights(backbone, weights) == expected
