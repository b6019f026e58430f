import re

from pipeline.config.load import check_params, read_yaml
from pipeline.report.shown_params import MAIN, main_params, shown_params, unrepeatable_params
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT


def shown(**changes: object) -> dict[str, object]:
    return shown_params(check_params(overlaid(changes), where="params.yaml"))


def test_only_the_chosen_block_of_a_choice_is_shown() -> None:
    values = shown(loss__name="supcon", data__name="folder")
    assert values["loss.supcon.temperature"] == 0.1
    assert values["data.folder.max_images"] is None
    assert not [key for key in values if key.startswith(("loss.triplet", "data.products"))]


def test_params_without_effect_on_results_are_not_shown() -> None:
    assert not [
        key for key in shown() if key.split(".")[0] in ("track", "launch") or key == "data.source"
    ]


def test_the_plot_stage_depends_on_each_shown_param_and_on_no_other() -> None:
    """Otherwise the page would show old values, or be written again without a reason."""
    stage = read_yaml(ROOT / "dvc.yaml")["stages"]["plot"]
    params = read_yaml(ROOT / "params.yaml")
    listed = [
        re.sub(r"\$\{([a-z]+)\.name\}", lambda match: params[match[1]]["name"], key)
        for key in stage["params"]
    ]
    keys = set(shown())
    covered = {key for key in keys for name in listed if f"{key}.".startswith(f"{name}.")}
    assert covered == keys
    assert [name for name in listed if not any(f"{k}.".startswith(f"{name}.") for k in keys)] == []


def test_values_that_depend_on_the_processor_are_named() -> None:
    assert unrepeatable_params(shown()) == []
    values = shown(bits="fast", train__precision="auto", embed__precision="bf16")
    assert unrepeatable_params(values) == ["bits: fast", "train.precision: auto"]


def test_a_head_is_described_only_where_there_is_one() -> None:
    with_head, without = shown(head__name="linear"), shown(head__name="none")
    assert with_head.keys() - without.keys() == {"head.dim", "head.hidden", "head.init"}
    assert dict(main_params(with_head)).keys() - dict(main_params(without)).keys() == {"head.dim"}


def test_weights_from_a_file_are_shown_by_file_name() -> None:
    values = shown(head__name="linear", backbone__weights="/home/me/weights/net.safetensors")
    main = dict(main_params(values))
    assert list(main) == list(MAIN)
    assert values["backbone.weights"] == main["backbone.weights"] == "net.safetensors"
    assert not [key for key, value in values.items() if "/home/me" in str(value)]
    assert main["loss.name"] == "multi_similarity"


def test_named_weights_and_no_weights_are_shown_unchanged() -> None:
    for weights in ("imagenet", None):
        assert shown(backbone__weights=weights)["backbone.weights"] == weights
