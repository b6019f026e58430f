"""`lookalike compare` on a real repository: the words, the figures, the sheets, the refusals."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from app.commands.compare import describe_verdict, run
from pipeline.comparison.compare import COMPARISON
from pipeline.data import tables
from pipeline.errors import UserError
from tests.helpers.processes import run_module

LUCK = "the luck of training is not in these intervals; to put it in: "


@pytest.fixture
def project(compared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(compared)
    return compared


@pytest.fixture
def lines(
    project: Path,  # noqa: ARG001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> list[str]:
    """What comparing the two sides of the test's parameter prints."""
    run(*request.param, out=tmp_path / "out")
    return capsys.readouterr().out.splitlines()


def test_trained_is_better_than_untrained_as_a_person_sees_it(
    project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = run_module(project, "app.cli", "compare", "baseline", "finetuned", "--out", str(out))
    assert (ran.returncode, ran.stderr) == (0, "")
    shown = ran.stdout.splitlines()
    assert shown[:6] == [
        "A: baseline (baseline of the working tree)",
        "B: finetuned (finetuned of the working tree)",
        "  model: baseline -> finetuned",
        "88 queries, resampled by their 22 classes",
        "     metric      A      B  difference      95% interval       p  p (Holm)",
        "        map  0.299  0.599      +0.300  +0.300 to +0.300  0.0001    0.0002",
    ]
    assert shown[-1] == "verdict: better: map +0.300 (+0.300 to +0.300)"
    figures = tables.read_table(out / "comparison.parquet", COMPARISON).to_pandas()
    assert figures["metric"].tolist() == ["map", "recall_at_1"]
    better, worse = (Image.open(out / f"{stem}.png") for stem in ("better", "worse"))
    assert better.height > 8 * 100
    assert worse.height < 100  # nothing got worse: the title alone


@pytest.mark.parametrize("lines", [("finetuned", "seed8")], indirect=True)
def test_two_seeds_of_one_setting_are_no_difference_though_the_queries_are_sure(
    lines: list[str],
) -> None:
    assert "  train.seed: null -> 8" in lines
    assert "+0.020 to +0.020  0.0001" in " ".join(lines)
    assert not any(line.startswith(LUCK) for line in lines)
    assert lines[-1] == (
        "verdict: no difference: trainings of one setting (seeds 7, 8); "
        "map +0.020 (+0.020 to +0.020) is luck"
    )


@pytest.mark.parametrize("lines", [("finetuned", "good")], indirect=True)
def test_a_better_setting_is_better_but_for_the_luck_of_training(lines: list[str]) -> None:
    assert lines[2:3] == ["  loss.name: plain -> good"]
    assert lines[-3:] == [
        LUCK + "train A and B once more",
        "(dvc exp run -S train.seed=8), then: lookalike compare A1,A2 B1,B2",
        "verdict: better: map +0.150 (+0.150 to +0.150)",
    ]


@pytest.mark.parametrize("lines", [("good", "finetuned")], indirect=True)
def test_the_other_way_round_it_is_worse(lines: list[str]) -> None:
    assert lines[-1] == "verdict: worse: map -0.150 (-0.150 to -0.150)"


@pytest.mark.parametrize("lines", [("finetuned,seed8", "good")], indirect=True)
def test_a_second_training_of_a_side_brings_the_luck_in(lines: list[str]) -> None:
    """One square of 0.02 / sqrt(2), known by itself alone: a gain of 0.14 may be luck."""
    assert not any(line.startswith(LUCK) for line in lines)
    assert lines[-1].startswith("verdict: no difference: map +0.140 (-")


@pytest.mark.parametrize("lines", [("finetuned", "HEAD")], indirect=True)
def test_one_training_differs_from_itself_in_nothing(lines: list[str]) -> None:
    assert "  no setting differs" in lines
    assert lines[-1] == (
        "verdict: no difference: one setting and one seed; map +0.000 (+0.000 to +0.000)"
    )


@pytest.mark.parametrize(
    ("main", "mrr", "recall", "text"),
    [
        (0.1, 0.1, 0.1, "better: map +0.100 (+0.050 to +0.150)"),
        (0.1, 0.1, -0.1, "better: map +0.100 (+0.050 to +0.150); worse in recall_at_1"),
        (-0.1, 0.1, 0.1, "worse: map -0.100 (-0.150 to -0.050); better in mrr, recall_at_1"),
        (0, 0.1, -0.1, "mixed: map +0.000 (-0.050 to +0.050); better in mrr; worse in recall_at_1"),
        (0, 0, 0, "no difference: map +0.000 (-0.050 to +0.050)"),
    ],
)
def test_a_verdict_names_what_goes_the_other_way(
    main: float, mrr: float, recall: float, text: str
) -> None:
    rows = [
        (name, value, value - 0.05, value + 0.05, 0.01 if value else 1)
        for name, value in (("map", main), ("mrr", mrr), ("recall_at_1", recall))
    ]
    columns = ["metric", "difference", "low", "high", "p_holm"]
    assert describe_verdict(pd.DataFrame(rows, columns=columns)) == text


def test_an_interval_that_holds_everything_has_no_verdict() -> None:
    row = ("map", 1.0, -float("inf"), float("inf"), 1.0)
    columns = ["metric", "difference", "low", "high", "p_holm"]
    assert describe_verdict(pd.DataFrame([row], columns=columns)) == (
        "inconclusive: fewer than 6 classes or queries, or one label on so many that over 50% of "
        "their pairs share a label; map +1.000 (inconclusive)"
    )


@pytest.mark.usefixtures("project")
def test_two_settings_are_not_one_side(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        run("baseline", "good,seed8", out=tmp_path / "out")
    assert str(error.value) == (
        "B: found two settings, 'good' and 'seed8' (loss.name: good -> plain); allowed: trainings "
        "of one setting, which differ in train.seed alone"
    )


def test_another_gallery_is_one_line_and_exit_status_1(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run_module(project, "app.cli", "compare", "finetuned", "split", "--out", str(out))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        "lookalike: A and B: found two galleries, 2 images are in A's alone and 0 in B's; "
        "allowed: one gallery, or the figures mean different things; give both the same data, "
        "split and seed (train.seed draws another training alone)\n"
    )
    assert not out.exists()


def test_without_images_there_are_figures_but_no_sheets(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, away = project / "data/images", project / "away"
    run("finetuned", "good", out=tmp_path / "out")  # its sheets are not of the next figures
    capsys.readouterr()
    images.rename(away)
    images.mkdir()
    try:
        run("baseline", "finetuned", out=tmp_path / "out")
    finally:
        images.rmdir()
        away.rename(images)
    shown = capsys.readouterr()
    assert shown.err == (
        "compare: no sheets: data/images: found no *.arrow shards; run: dvc repro download\n"
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["comparison.parquet"]
    assert shown.out.splitlines()[-1].startswith("verdict: better")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ["better.png", "worse.png", "comparison.parquet"])
def test_a_file_that_no_comparison_wrote_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError) as error:
        run("baseline", "finetuned", out=tmp_path)
    assert str(error.value) == (
        f"{tmp_path / name}: no comparison wrote it, and it would be overwritten; move it, or "
        "choose another folder: --out"
    )
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
