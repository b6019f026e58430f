import re

from pipeline.config.load import check_params, read_yaml
from pipeline.report.shown_params import MAIN, main_params, shown_params
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT


def chosen(**changes: object) -> dict[str, object]:
    return shown_params(check_params(overlaid(changes), where="params.yaml"))


def test_only_the_chosen_block_of_a_choice_is_shown() -> None:
    settings = chosen(loss__name="supcon", data__name="folder")
    assert settings["loss.supcon.temperature"] == 0.1
    assert settings["data.folder.max_images"] is None
    assert not [key for key in settings if key.startswith(("loss.triplet", "data.products"))]


def test_what_is_no_setting_is_not_shown() -> None:
    assert not [
        key for key in chosen() if key.split(".")[0] in ("track", "launch") or key == "data.source"
    ]


def test_the_plot_stage_depends_on_each_setting_and_on_no_other() -> None:
    """Else the page would go on showing what has changed, or be made anew for nothing."""
    stage = read_yaml(ROOT / "dvc.yaml")["stages"]["plot"]
    values = read_yaml(ROOT / "params.yaml")
    listed = [
        re.sub(r"\$\{([a-z]+)\.name\}", lambda found: values[found[1]]["name"], key)
        for key in stage["params"]
    ]
    shown = set(chosen())
    covered = {key for key in shown for name in listed if f"{key}.".startswith(f"{name}.")}
    assert covered == shown
    assert [name for name in listed if not any(f"{k}.".startswith(f"{name}.") for k in shown)] == []


def test_the_page_names_weights_by_their_file() -> None:
    settings = chosen(backbone__weights="/home/me/weights/net.safetensors")
    main = dict(main_params(settings))
    assert list(main) == list(MAIN)
    assert settings["backbone.weights"] == main["backbone.weights"] == "net.safetensors"
    assert not [key for key, value in settings.items() if "/home/me" in str(value)]
    assert main["loss.name"] == "multi_similarity"


def test_the_name_of_known_weights_and_none_at_all_are_shown_as_they_are() -> None:
    for weights in ("imagenet", None):
        assert chosen(backbone__weights=weights)["backbone.weights"] == weights
