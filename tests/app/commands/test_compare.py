"""`lookalike compare` on a real repository: its text, metrics, sheets and errors."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from app.commands.compare import SHEET_FILES, compare_models
from pipeline.comparison.compare import COMPARISON
from pipeline.data import tables
from pipeline.errors import UserError
from tests.helpers.processes import run_lookalike, run_module

SEED_VARIANCE = (
    "seed variance is not in these intervals, so another seed may give another verdict; to compare "
    "settings: "
)
NETWORKS = "(these two networks, not their settings)"


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
    """The lines that are printed for the two sides in the test's parameter."""
    compare_models(request.param, out=tmp_path / "out")
    return capsys.readouterr().out.splitlines()


def test_the_command_prints_that_trained_is_better_than_untrained(
    project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = run_module(project, "app.cli", "compare", "baseline", "finetuned", "--out", str(out))
    written = ", ".join(str(out / name) for name in (*SHEET_FILES, "comparison.parquet"))
    assert (ran.returncode, ran.stderr) == (0, f"compare: wrote {written}\n")
    shown = ran.stdout.splitlines()
    assert shown[:6] == [
        "A: baseline (baseline of the working tree)",
        "B: finetuned (finetuned of the working tree)",
        "  model: baseline -> finetuned",
        "88 queries, resampled by their 22 classes",
        "     metric      A      B  difference      95% interval       p  p (Holm)",
        "        map  0.299  0.599      +0.300  +0.300 to +0.300  0.0001    0.0002",
    ]
    assert shown[-3:-1] == [
        SEED_VARIANCE + "train B twice more",
        "(dvc exp run -S train.seed=8, and the same with 9), then: lookalike compare A B1,B2,B3",
    ]
    assert shown[-1] == f"verdict: better {NETWORKS}: map +0.300 (+0.300 to +0.300)"
    metrics = tables.read_table(out / "comparison.parquet", COMPARISON).to_pandas()
    assert metrics["metric"].tolist() == ["map", "recall_at_1"]
    better, worse = (Image.open(out / f"{stem}.png") for stem in ("better", "worse"))
    assert better.height > 8 * 100
    assert worse.height < 100  # nothing is worse: only the title


@pytest.mark.parametrize("lines", [("finetuned", "seed8")], indirect=True)
def test_two_seeds_of_one_setting_are_no_difference_even_if_their_queries_differ(
    lines: list[str],
) -> None:
    assert "  train.seed: null -> 8" in lines
    assert "+0.020 to +0.020  0.0001" in " ".join(lines)
    assert not any(line.startswith(SEED_VARIANCE) for line in lines)
    assert lines[-1] == (
        "verdict: no difference: trainings of one setting (seeds 7, 8); "
        "map +0.020 (+0.020 to +0.020) is seed variance"
    )


@pytest.mark.parametrize("lines", [("finetuned", "good")], indirect=True)
def test_a_better_setting_is_better_with_a_note_on_seed_variance(lines: list[str]) -> None:
    assert lines[2:3] == ["  loss.name: plain -> good"]
    assert lines[-3:] == [
        SEED_VARIANCE + "train A and B twice more",
        "(dvc exp run -S train.seed=8, and the same with 9), then: lookalike compare "
        "A1,A2,A3 B1,B2,B3",
        f"verdict: better {NETWORKS}: map +0.150 (+0.150 to +0.150)",
    ]


@pytest.mark.parametrize("lines", [("good", "finetuned")], indirect=True)
def test_with_sides_exchanged_it_is_worse(lines: list[str]) -> None:
    assert lines[-1] == f"verdict: worse {NETWORKS}: map -0.150 (-0.150 to -0.150)"


@pytest.mark.parametrize("lines", [("finetuned,seed8", "good")], indirect=True)
def test_a_second_training_of_a_side_includes_seed_variance(lines: list[str]) -> None:
    """Its estimate, 0.02 / sqrt(2), has one degree of freedom: a gain of 0.14 may be chance."""
    assert not any(line.startswith(SEED_VARIANCE) for line in lines)
    assert lines[-1].startswith("verdict: no difference: map +0.140 (-")


@pytest.mark.parametrize("lines", [("finetuned", "HEAD")], indirect=True)
def test_a_training_does_not_differ_from_itself(lines: list[str]) -> None:
    assert "  no setting differs" in lines
    assert lines[-1] == (
        "verdict: no difference: one setting and one seed; map +0.000 (+0.000 to +0.000)"
    )


def test_a_side_tells_what_was_done_to_its_embeddings(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shutil.copytree(project, tmp_path / "copy", symlinks=True))
    path = Path("results/finetuned/queries.parquet")
    queries = tables.read_table(path, tables.QUERIES)
    path.unlink()
    words = {"postprocessing": "query expansion 3"}
    tables.write_table(queries, path, tables.QUERIES, metadata=words)
    compare_models(["baseline", "finetuned"], out=tmp_path / "out")
    assert capsys.readouterr().out.splitlines()[:2] == [
        "A: baseline (baseline of the working tree)",
        "B: finetuned (finetuned of the working tree, query expansion 3)",
    ]


@pytest.mark.usefixtures("project")
def test_two_settings_on_one_side_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        compare_models(["baseline", "good,seed8"], out=tmp_path / "out")
    assert str(error.value) == (
        "B: found two settings, 'good' and 'seed8' (loss.name: good -> plain); allowed: trainings "
        "of one setting, which differ in train.seed alone"
    )


def test_different_galleries_are_one_line_and_exit_status_1(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run_lookalike(project, "compare", "finetuned", "split", "--out", str(out))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "lookalike: A and B: found two galleries, 2 images are only in A's and 0 only in B's; "
        "allowed: one gallery, because metrics depend on it; give both the same data, split and "
        "seed (for another training, change train.seed)\n"
    )
    assert not out.exists()


def test_without_images_there_are_metrics_but_no_sheets(
    project: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    images, away = project / "data/images", project / "away"
    compare_models(["finetuned", "good"], out=tmp_path / "out")  # its sheets are removed
    images.rename(away)
    images.mkdir()
    try:
        compare_models(["baseline", "finetuned"], out=tmp_path / "out")
    finally:
        images.rmdir()
        away.rename(images)
    assert caplog.messages == [
        "no sheets: data/images/_manifest.parquet: no such file; make it: dvc repro, or if the "
        "project has a remote, fetch it: dvc pull"
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["comparison.parquet"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("verdict: better")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("name", ["better.png", "worse.png", "comparison.parquet"])
def test_a_file_that_no_comparison_wrote_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError) as error:
        compare_models(["baseline", "finetuned"], out=tmp_path)
    assert str(error.value) == (
        f"{tmp_path / name}: no comparison wrote it, and it would be overwritten; move it, or "
        "choose another folder: --out"
    )
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_three_sides_are_one_table_and_a_verdict_on_each_pair(
    project: Path,  # noqa: ARG001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    compare_models(["baseline", "finetuned", "seed8"], out=out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A: baseline (baseline of the working tree)"
    assert lines[1] == "B: finetuned (finetuned of the working tree)"
    assert lines[2].startswith("C: seed8 (finetuned of ")
    assert lines[3:] == [
        "88 queries, resampled by their 22 classes",
        "     map  recall_at_1",
        "A  0.299        0.000",
        "B  0.599        1.000",
        "C  0.619        1.000",
        "",
        "the row is, than the column (by map; p corrected for all pairs and metrics):",
        "               A              B",
        "B  better +0.300",
        "C  better +0.320  no difference",
        "where sides have one training each, these are verdicts on the networks, not their "
        "settings: another seed may give another one; several are A1,A2,A3",
    ]
    table = tables.read_table(out / "comparison.parquet", COMPARISON).to_pandas()
    pairs = table.groupby(["side_a", "side_b"]).size().to_dict()
    assert pairs == {("A", "B"): 2, ("A", "C"): 2, ("B", "C"): 2}
    assert [path.name for path in out.iterdir()] == ["comparison.parquet"]


def test_a_comparison_has_two_sides_or_more(tmp_path: Path) -> None:
    for count in (1, 27):
        with pytest.raises(UserError) as error:
            compare_models(["baseline"] * count, out=tmp_path / "out")
        assert str(error.value) == f"found {count} sides; allowed: 2 to 26"
