"""Checking params.yaml changes no value, so what checks it need not re-run what was computed.

The files of pipeline/config are no dependencies of most stages: tests/test_dag.py relies on this.
"""

from contextlib import chdir
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from app.experiments.recipes import apply_settings, list_names, read_recipe
from pipeline.config.load import check_values, read_params
from pipeline.config.schema import CHOICES, Params
from pipeline.options import Choice, Section
from pipeline.training.validation_metrics import VALIDATION_METRICS
from stages import runner
from tests.helpers.paths import ROOT

RECIPES = ROOT / "recipes"


def load_yaml(text: str) -> Any:
    return YAML(typ="safe").load(text)


def draw_section(model: type[Section], choice: str | None = None) -> st.SearchStrategy[Any]:
    """Return a strategy of plain values for a section, of all that its fields allow."""
    model = CHOICES[choice] if choice else model
    drawn = {name: draw_field(name, field) for name, field in model.model_fields.items()}
    if choice:
        own = ("name", "source", "buckets")
        drawn["name"] = st.sampled_from([name for name in drawn if name not in own])
    return st.fixed_dictionaries(drawn)


def draw_field(name: str, field: FieldInfo) -> st.SearchStrategy[Any]:
    kind: Any = field.annotation
    if isinstance(kind, type) and issubclass(kind, Section):
        return draw_section(kind, name if issubclass(kind, Choice) else None)
    if name == "buckets":
        return st.sampled_from(["auto", 1, 2, 64, 2**14])
    if name == "variants":  # each with sections of its own, of any values
        return st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers()))
    if name == "monitor":
        return st.sampled_from(VALIDATION_METRICS)
    annotated = Annotated[(kind, *field.metadata)] if field.metadata else kind
    drawn: st.SearchStrategy[Any] = st.from_type(annotated)
    if name in ("k", "knn", "nested"):
        drawn = drawn.filter(lambda numbers: len({*numbers}) == len(numbers))
    return drawn.filter(is_finite)


def is_finite(value: Any) -> bool:
    return not isinstance(value, float) or abs(value) < float("inf")


@given(draw_section(Params))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_any_values_that_are_allowed_are_kept(values: Any) -> None:
    jitter = values["train"]["augment"]["jitter"]
    assume(jitter is None or jitter[3] <= 0.5)
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise AssertionError(str(error)) from None  # so that no field is left out unnoticed
    assert params.model_dump() == values
    assert check_values(values, where="").model_dump() == values


@pytest.mark.parametrize("recipe", [None, *list_names(RECIPES)])
def test_the_values_of_a_file_are_those_that_a_stage_gets(
    recipe: str | None, tmp_path: Path
) -> None:
    text = (ROOT / "params.yaml").read_text()
    if recipe is not None:
        found = read_recipe(RECIPES, recipe)
        point = found.combinations()[0]
        text = apply_settings(text, dict(found.settings) | point, where="")
    (tmp_path / "params.yaml").write_text(text)
    values = load_yaml(text)
    assert read_params(tmp_path / "params.yaml").model_dump() == values
    with chdir(tmp_path):
        assert runner.load().model_dump() == values
