import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.report.metric_rows import (
    Estimate,
    MetricRow,
    describe_intervals,
    describe_postprocessing,
    estimate_rows,
    format_difference,
    format_value,
    plain_rows,
    read_metrics,
)
from tests.helpers.reports import BASELINE, METRICS, TRAINING, write_run_files


def row(one: tuple[float, float], other: tuple[float, float], name: str = "map") -> MetricRow:
    """Return a row of two intervals, each around its middle."""
    return MetricRow(name, *(Estimate(sum(ends) / 2, *ends) for ends in (one, other)))


def test_every_value_is_in_one_row_as_it_is_in_the_file(tmp_path: Path) -> None:
    metrics = read_metrics(write_run_files(tmp_path).metrics)
    assert metrics == {"baseline": BASELINE, "finetuned": METRICS, "train": TRAINING}
    for place, model in enumerate(("baseline", "finetuned")):
        shown = {}
        for it in estimate_rows(metrics):
            estimate = getattr(it, model)
            shown |= {it.name: estimate.value}
            shown |= {f"{it.name}_low": estimate.low, f"{it.name}_high": estimate.high}
        shown |= {name: values[place] for name, values in plain_rows(metrics)}
        assert shown == metrics[model]


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("classes", "how much it would differ with other classes"),
        ("images", "how much it would differ with other images of these classes"),
    ],
)
def test_the_intervals_say_what_they_speak_of(over: str, said: str, tmp_path: Path) -> None:
    assert describe_intervals(write_run_files(tmp_path, intervals_over=over).metrics) == said


def test_files_of_an_earlier_release_do_not_say_what_their_intervals_speak_of(
    tmp_path: Path,
) -> None:
    metrics = write_run_files(tmp_path).metrics
    (metrics / "finetuned.json").write_text(json.dumps(METRICS))
    assert describe_intervals(metrics) is None


def test_what_was_done_to_the_embeddings_is_told_of_each_model(tmp_path: Path) -> None:
    metrics = write_run_files(tmp_path).metrics
    assert describe_postprocessing(metrics) == ""
    (metrics / "finetuned.json").write_text(json.dumps(METRICS | {"postprocessing": "centered"}))
    assert describe_postprocessing(metrics) == "baseline: nothing; finetuned: centered"


def test_a_metric_that_one_model_lacks_has_a_row_without_it() -> None:
    lacking = {name: value for name, value in BASELINE.items() if not name.startswith("map")}
    rows = {it.name: it for it in estimate_rows({"baseline": lacking, "finetuned": METRICS})}
    assert rows["map"].baseline is None
    assert rows["map"].finetuned == Estimate(0.341785, 0.32561, 0.358811)
    assert rows["map"].difference is None
    assert rows["map"].intervals == "overlap"


@pytest.mark.parametrize(
    ("one", "other", "lie"),
    [
        ((0.1, 0.2), (0.3, 0.4), "above"),
        ((0.3, 0.4), (0.1, 0.2), "below"),
        ((0.1, 0.3), (0.2, 0.4), "overlap"),
        ((0.1, 0.2), (0.2, 0.3), "overlap"),
    ],
)
def test_only_intervals_without_overlap_are_above_or_below(
    one: tuple[float, float], other: tuple[float, float], lie: str
) -> None:
    assert row(one, other).intervals == lie


@pytest.mark.parametrize("name", ["cosine_negative", "cosine_positive", "index_recall_at_10"])
def test_intervals_of_a_metric_without_a_better_side_are_just_apart(name: str) -> None:
    assert row((0.1, 0.2), (0.3, 0.4), name).intervals == "apart"


def test_values_have_the_digits_of_the_readme() -> None:
    assert [
        format_value(value) for value in (0.5475, 1.0, 60502, 0, 0.0, 0.000134, -0.03, None)
    ] == [*("0.547", "1.000", "60,502", "0", "0.000", "0.000134", "-0.030", "–")]
    assert [format_difference(value) for value in (0.3125, -0.25, 0.0, -0.0001, None)] == [
        *("+0.312", "−0.250", "0.000", "0.000", "–")
    ]


def test_a_missing_or_broken_file_is_an_error(tmp_path: Path) -> None:
    metrics = write_run_files(tmp_path).metrics
    broken = metrics / "finetuned.json"
    for text, message in (
        ("{", "not JSON (Expecting property name enclosed in double quotes: line 1 column 2"),
        ("[1]", "found no mapping of names to numbers; run: dvc repro"),
        (
            json.dumps({"map": "high"}),
            "map: found 'high'; allowed: a number; run the stage that writes it: dvc repro",
        ),
    ):
        broken.write_text(text)
        with pytest.raises(UserError) as caught:
            read_metrics(metrics)
        assert str(caught.value).startswith(f"{broken}: {message}")
    broken.unlink()
    with pytest.raises(UserError) as caught:
        read_metrics(metrics)
    assert str(caught.value) == (f"{broken}: no such file; run the stage that writes it: dvc repro")
