"""The card of a model: what it says is so, and what is not known it leaves out."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from app.publishing.base_model import find_base_model
from app.publishing.model_folder import write_model_folder
from pipeline.data.lineage import digest_model
from pipeline.data.training_record import read_record, write_record
from tests.helpers.measured import write_metrics

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

The dataset `products` (fingerprint `{fingerprint}`): 10 images of 5 classes. 10 other images, for \
validation, chose epoch 3. By validation, this model is the one to use: it is a test. All \
settings: `params.yaml`, without the paths of the machine that trained.
"""
MEASURED = """\
## How it was measured

On the test images of the dataset `products`. Each of 20 queries was looked for among 20 images, \
the gallery; an image is never its own result. Split `class_disjoint`: no test class is one of the \
training or validation images, so the classes are new to the model. The intervals are how much a \
metric would differ with other classes.

| metric | value, 95% interval |
| --- | --- |
| `recall_at_1` | 0.865, 0.820–0.910 |
| `map` | 0.696, 0.639–0.752 |
"""
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


def write(root: Path, name: str, *, repository: str | None = None) -> Path:
    out = root / f"exported-{name}"
    out.mkdir()
    write_model_folder(root, name, out, repository=repository)
    return out


def card_of(root: Path, name: str, *, repository: str | None = None) -> str:
    return (write(root, name, repository=repository) / "README.md").read_text()


def test_a_card_says_what_is_known_of_a_trained_model(project: Path) -> None:
    text = card_of(project, "finetuned", repository="me/birds")
    digest = digest_model(project / "models/finetuned")
    fingerprint = json.loads((project / "metrics/details/finetuned.json").read_text())[
        "fingerprint"
    ]
    assert text.startswith(METADATA)
    for row in (
        "| backbone | `resnet18`, first random |",
        "| head | `linear` |",
        "| loss | `multi_similarity` |",
        "| image | the square in the middle, 32 × 32 pixels |",
        "| vector | 16 numbers, of length 1 |",
        f"| digest | `{digest}`, which its vectors and its index name |",
        'snapshot_download("me/birds")',
        "with DVC: `dvc artifacts get GIT-URL finetuned`.",
    ):
        assert row in text
    assert TRAINED_ON.format(fingerprint=fingerprint) in text
    assert MEASURED in text
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
    assert "It was not measured with these images." in text
    assert "model-index" not in text
    assert "seed" not in text
    assert not (project / "exported-baseline/metrics.json").exists()


def test_a_training_without_a_better_epoch_is_none(project: Path) -> None:
    folder = project / "models/finetuned"
    write_record(folder, replace(read_record(folder), use="baseline", best_epoch=0))
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
    assert "Measured with post-processing that is not in this model: query expansion 3. The" in text


def test_without_data_the_card_has_the_rest(project: Path) -> None:
    shutil.rmtree(project / "data")
    text = card_of(project, "finetuned")
    assert "## What it was trained on\n\nThe dataset `products`. By validation, this" in text
    assert "class_disjoint" not in text
    assert "| `recall_at_1` | 0.865, 0.820–0.910 |" in text


def test_metrics_of_other_images_are_left_out(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_metrics(project, "finetuned", fingerprint="0" * 16)
    with caplog.at_level(logging.INFO):
        text = card_of(project, "finetuned")
    assert "It was not measured with these images." in text
    assert "0.865" not in text
    assert caplog.messages == [
        "no metrics of finetuned with these images; to measure it: dvc repro"
    ]


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
