"""docs/extending.md is true: its examples, applied to a copy of the project, work."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline.config.load import read_yaml
from tests.helpers.clone import copy_project
from tests.helpers.extending import TEXT, apply_example, blocks_of, find_line
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_module

EXAMPLES = ("Example: a metric", "Example: a loss")
PARAMS: dict[str, Any] = {
    "loss.name": "cosface",
    "batches.pk": {"classes": 2, "per_class": 2},
    "split.val_fraction": 0.5,
    "train.epochs": 1,
    "train.workers": 0,
    "evaluate.k": [1, 5],
    "evaluate.bootstrap": 100,
}
BUILD = f"""\
from pathlib import Path
from tests.helpers.searchable import build
# The processes that pack images import this file too.
if __name__ == "__main__":
    build(Path("small").absolute(), **{PARAMS!r})
"""


@dataclass(frozen=True)
class Copy:
    """A copy of the project with the examples, and `small`, a project that uses its code."""

    root: Path

    @property
    def small(self) -> Path:
        return self.root / "small"

    def run(self, module: str, *arguments: str, folder: Path) -> None:
        ran = run_module(folder, module, *arguments, PYTHONPATH=str(self.root))
        assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]

    def run_stage(self, stage: str, **options: str) -> None:
        """Run a stage in the small project, with these options and its two tables."""
        options |= {"splits": "data/splits.parquet", "catalog": "data/catalog.parquet"}
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        self.run(f"stages.{stage}", *arguments, folder=self.small)

    def read_metrics(self, name: str) -> dict[str, float]:
        metrics: dict[str, float] = json.loads((self.small / f"metrics/{name}.json").read_text())
        return metrics


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the project with the changes of all examples."""
    copy = Copy(tmp_path_factory.mktemp("extended") / "lookalike")
    copy_project(copy.root)
    for heading in EXAMPLES:
        apply_example(heading, copy.root)
    (copy.root / "build_small.py").write_text(BUILD)
    copy.run("build_small", folder=copy.root)
    return copy


@pytest.mark.parametrize("heading", EXAMPLES)
def test_each_block_has_one_place(heading: str) -> None:
    for name, _, line, _ in blocks_of(heading):
        find_line((ROOT / name).read_text().splitlines(), line)


@pytest.mark.slow
def test_a_metric_added_as_the_document_says_is_measured(extended: Copy) -> None:
    extended.run_stage(
        "evaluate",
        model="baseline",
        embeddings="embeddings/baseline",
        images="data/images",
        index="index/baseline",
        metrics="metrics/baseline.json",
        headline="headline/baseline.json",
        results="results/baseline",
    )
    metrics = extended.read_metrics("baseline")
    assert 0 < metrics["coverage_at_1_low"] <= metrics["coverage_at_1"] < metrics["coverage_at_5"]


@pytest.mark.slow
def test_a_loss_added_as_the_document_says_trains(extended: Copy) -> None:
    extended.run_stage("mine", embeddings="embeddings/baseline", out="data/triplets.parquet")
    extended.run_stage(
        "train",
        baseline="models/baseline",
        embeddings="embeddings/baseline",
        images="data/images",
        triplets="data/triplets.parquet",
        checkpoints="checkpoints",
        out="models/trained",
        metrics="metrics/train.json",
        headline="headline/train.json",
        history="plots/train_history.csv",
    )
    # Of epoch 0, the model before training, there is no loss.
    history = pd.read_csv(extended.small / "plots/train_history.csv")
    assert history["loss"].iloc[1] > 0


@pytest.mark.slow
def test_the_oracles_of_the_document_agree(extended: Copy) -> None:
    files = ("evaluation/test_measure.py", "training/test_losses.py")
    paths = [f"tests/pipeline/{file}" for file in files]
    chosen = "every_metric or oracle or cosface"
    extended.run("pytest", "-q", "-n0", *paths, "-k", chosen, folder=extended.root)


TABLE = TEXT.split("\n## ")[0]
ROWS = re.findall(r"^\| (an? .*|another .*) \|$", TABLE, flags=re.MULTILINE)


def test_each_row_of_the_table_is_tested() -> None:
    head_and_rule = 2
    assert len(ROWS) == len(re.findall(r"^\|", TABLE, flags=re.MULTILINE)) - head_and_rule > 0


@pytest.mark.parametrize("row", ROWS, ids=[row.split(" |")[0] for row in ROWS])
def test_what_a_row_names_is_in_the_files_it_names(row: str) -> None:
    spans = re.findall(r"`([^`]+)`", row)
    files = [ROOT / span for span in spans if re.search(r"\w/\w", span) and "<" not in span]
    code = "\n".join(file.read_text() for file in files if file.is_file())
    names = [re.split(r"[(=]", span)[0] for span in spans if re.fullmatch(r"\w+([(=].*)?", span)]
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_the_table_of_folders_is_that_of_dvc_yaml() -> None:
    wanted: dict[str, set[str]] = {}
    for stage, described in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        for dep in described["deps"]:
            if dep.startswith("pipeline/"):
                wanted.setdefault(dep, set()).add(stage)
    rows = re.findall(r"^\| `(pipeline/[^`]+)` \| (.*) \|$", TEXT, flags=re.MULTILINE)
    assert {folder: set(re.findall("`([a-z]+)`", cell)) for folder, cell in rows} == wanted
    assert len(rows) == len(wanted)  # each once
