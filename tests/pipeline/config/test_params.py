"""params.yaml: what is in the repository is valid; each mistake is reported, word for word."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import check_params, read_params, read_yaml
from pipeline.config.schema import CHOICES, Params
from pipeline.errors import UserError
from tests.helpers.overlay import GONE, PARAMS, overlaid

LOSSES = (
    "arcface, circle, contrastive, cosface, cross_entropy, margin, multi_similarity, ntxent, "
    "proxy_anchor, proxy_nca, recall_at_k, smooth_ap, soft_triple, sub_center_arcface, supcon, "
    "triplet"
)


def error_text(values: Any) -> str:
    with pytest.raises(UserError) as error:
        check_params(values, where="params.yaml")
    text = str(error.value)
    assert "\n" not in text
    return text


def test_the_params_of_the_repository_are_valid() -> None:
    params = read_params(PARAMS)
    assert isinstance(params, Params)
    assert params.model_dump() == read_yaml(PARAMS)


@pytest.mark.parametrize("section", CHOICES)
def test_every_name_of_a_choice_gives_the_options_of_its_block(section: str) -> None:
    values = read_yaml(PARAMS)
    for name in [key for key, block in values[section].items() if isinstance(block, dict)]:
        model = CHOICES[section].model_validate(values[section] | {"name": name})
        assert model.options == getattr(model, name)
        assert model.options.model_dump() == values[section][name]


def test_all_options_are_in_params_yaml() -> None:
    values = read_yaml(PARAMS)
    for section, model in CHOICES.items():
        assert set(model.model_fields) == set(values[section])


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key of an option": (
        {"loss__triplet__margn": 0.1},
        "loss.triplet.margn: unknown key; found 'margn'; allowed: margin, swap; "
        "did you mean 'margin'?",
    ),
    "unknown key of a section": (
        {"backbone__layers": 3},
        "backbone.layers: unknown key; found 'layers'; allowed: image_size, level, name, pooling, "
        "weights",
    ),
    "unknown key two levels down": (
        {"train__augment__hflips": 0.5},
        "train.augment.hflips: unknown key; found 'hflips'; allowed: crop, erase, hflip, "
        "jitter, rand_augment; did you mean 'hflip'?",
    ),
    "unknown section": (
        {"tracks": {}},
        "tracks: unknown key; found 'tracks'; allowed: added, backbone, batches, bits, "
        "cluster, data, download, embed, evaluate, head, index, launch, loss, mine, miner, models, "
        "optimizer, plot, postprocess, scheduler, seed, split, track, train, variants; did you "
        "mean 'track'?",
    ),
    "misspelt key, so that the right one is missing": (
        {"mine__per_anchr": 3, "mine__per_anchor": GONE},
        "mine.per_anchr: unknown key; found 'per_anchr'; allowed: candidates, hard, method, "
        "negatives, per_anchor, pool, positives, refresh; did you mean 'per_anchor'?",
    ),
    "missing key": (
        {"train__epochs": GONE},
        "train.epochs: missing; every key of params.yaml must have a value",
    ),
    "missing block": (
        {"loss__triplet": GONE},
        "loss.triplet: missing; every key of params.yaml must have a value",
    ),
    "missing section": (
        {"plot": GONE},
        "plot: missing; every key of params.yaml must have a value",
    ),
    "misspelt choice": (
        {"loss__name": "smoth_ap"},
        f"loss.name: found 'smoth_ap'; allowed: {LOSSES}; did you mean 'smooth_ap'?",
    ),
    "unknown choice": (
        {"optimizer__name": "lion"},
        "optimizer.name: found 'lion'; allowed: adam, adamw, sgd",
    ),
    "unknown dataset": (
        {"data__name": "source"},
        "data.name: found 'source'; allowed: cars196, cifar10, coco, cub, fashion_mnist, folder, "
        "huggingface, inshop, mit_split, products, sop",
    ),
    "wrong literal": (
        {"train__precision": "fp16"},
        "train.precision: found 'fp16'; allowed: auto, bf16, fp32; did you mean 'bf16'?",
    ),
    "wrong literal of numbers": (
        {"data__coco__year": 2015},
        "data.coco.year: found '2015'; allowed: 2014, 2017; did you mean '2017'?",
    ),
    "wrong literal of two": (
        {"backbone__pooling": "max"},
        "backbone.pooling: found 'max'; allowed: avg, flatten, gem",
    ),
    "wrong literal of numbers and a word": (
        {"backbone__level": "pol"},
        "backbone.level: found 'pol'; allowed: 0, 1, 2, 3, pool; did you mean 'pool'?",
    ),
    "wrong literal, nearly right": (
        {"mine__method": "label"},
        "mine.method: found 'label'; allowed: embeddings, labels; did you mean 'labels'?",
    ),
    "wrong literal in a block": (
        {"miner__triplet_margin__type_of_triplets": "semi_hard"},
        "miner.triplet_margin.type_of_triplets: found 'semi_hard'; "
        "allowed: all, easy, hard, semihard; did you mean 'semihard'?",
    ),
    "null where a word is wanted": (
        {"split__protocol": None},
        "split.protocol: found 'None'; allowed: auto, class_disjoint, official, random, test_only",
    ),
    "fraction for a count": (
        {"train__epochs": 1.5},
        "train.epochs: found 1.5 (float); allowed: a whole number",
    ),
    "truth for a count": (
        {"train__epochs": True},
        "train.epochs: found True (bool); allowed: a whole number",
    ),
    "text for a number": (
        {"optimizer__adamw__lr": "1e-3"},
        "optimizer.adamw.lr: found '1e-3' (str); allowed: auto, or a number",
    ),
    "text for truth": (
        {"head__normalize": "yes"},
        "head.normalize: found 'yes' (str); allowed: true or false",
    ),
    "number for text": (
        {"launch": 8},
        "launch: found 8 (int); allowed: text",
    ),
    "null for text": (
        {"data__source": None},
        "data.source: found None (NoneType); allowed: text",
    ),
    "number for a list": (
        {"evaluate__k": 5},
        "evaluate.k: found 5 (int); allowed: a list",
    ),
    "number for a list of candidates": (
        {"evaluate__knn": 5},
        "evaluate.knn: found 5 (int); allowed: a list",
    ),
    "text in a list": (
        {"evaluate__k": [1, "five"]},
        "evaluate.k.1: found 'five' (str); allowed: a whole number",
    ),
    "text for a section": (
        {"loss": "supcon"},
        "loss: found 'supcon' (str); allowed: a mapping of keys",
    ),
    "null for a block": (
        {"loss__supcon": None},
        "loss.supcon: found None (NoneType); allowed: a mapping of keys",
    ),
    "below the least": (
        {"train__epochs": 0},
        "train.epochs: found 0; allowed: greater than or equal to 1",
    ),
    "not positive": (
        {"loss__supcon__temperature": 0.0},
        "loss.supcon.temperature: found 0.0; allowed: greater than 0",
    ),
    "above the most": (
        {"download__max_rejected": 1.5},
        "download.max_rejected: found 1.5; allowed: less than or equal to 1",
    ),
    "the whole, where a fraction is allowed": (
        {"split__test_fraction": 1},
        "split.test_fraction: found 1; allowed: less than 1",
    ),
    "more bits than there are": (
        {"evaluate__near_duplicate__bits": 65},
        "evaluate.near_duplicate.bits: found 65; allowed: less than or equal to 64",
    ),
    "no cosine": (
        {"evaluate__near_duplicate__cosine": -1.1},
        "evaluate.near_duplicate.cosine: found -1.1; allowed: greater than or equal to -1",
    ),
    "more processes than anybody means": (
        {"train__workers": 10**6},
        "train.workers: found 1000000; allowed: less than or equal to 1024",
    ),
    "larger images than anybody means": (
        {"backbone__image_size": 10**9},
        "backbone.image_size: found 1000000000; allowed: auto, or less than or equal to 8192",
    ),
    "more products than anybody means": (
        {"data__products__classes": 10**12},
        "data.products.classes: found 1000000000000; allowed: less than or equal to 1000000",
    ),
    "wider vectors than anybody means": (
        {"head__dim": 10**9},
        "head.dim: found 1000000000; allowed: less than or equal to 65536",
    ),
    "a top of none": (
        {"evaluate__failure_k": 0},
        "evaluate.failure_k: found 0; allowed: greater than or equal to 1",
    ),
    "too few in a list": (
        {"evaluate__k": []},
        "evaluate.k: found []; allowed: at least 1 item",
    ),
    "a k twice": (
        {"evaluate__k": [1, 5, 1]},
        "evaluate.k: found 1 more than once; allowed: different numbers",
    ),
    "a number of neighbors twice": (
        {"evaluate__knn": [3, 3]},
        "evaluate.knn: found 3 more than once; allowed: different numbers",
    ),
    "too many in a list": (
        {"train__augment__crop": [0.1, 0.5, 1.0]},
        "train.augment.crop: found [0.1, 0.5, 1.0]; allowed: at most 2 items",
    ),
    "a metric that validation does not measure": (
        {"train__monitor": "recall_at_10"},
        "train.monitor: found 'recall_at_10'; allowed: macro_map, map, map_at_r, mrr, ndcg_at_1, "
        "ndcg_at_5, precision_at_1, precision_at_5, r_precision, recall_at_1, recall_at_5; did you "
        "mean 'recall_at_1'?",
    ),
}


@pytest.mark.parametrize(("changes", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_in_one_line(changes: dict[str, Any], text: str) -> None:
    assert error_text(overlaid(changes)) == f"params.yaml: {text}"


def test_all_mistakes_are_reported_at_once_each_in_a_line() -> None:
    changes = {"seed": -1, "sed": 2, "mine__pol": 3, "mine__pool": GONE, "track__experiment": GONE}
    changes |= {"loss__name": "tripplet", "loss__triplet__margin": -1}
    with pytest.raises(UserError) as error:
        check_params(overlaid(changes), where="params.yaml")
    assert [line.split(";")[0] for line in str(error.value).splitlines()] == [
        "params.yaml: mine.pol: unknown key",
        "params.yaml: sed: unknown key",
        "params.yaml: seed: found -1",
        "params.yaml: loss.name: found 'tripplet'",
        "params.yaml: loss.triplet.margin: found -1",
        "params.yaml: track.experiment: missing",
    ]


def test_all_contradictions_are_reported_at_once_each_in_a_line() -> None:
    with pytest.raises(UserError) as error:
        check_params(overlaid({"mine__pool": 3, "plot__columns": 30}), where="params.yaml")
    assert [line.split(";")[0] for line in str(error.value).splitlines()] == [
        "params.yaml: mine.pool: found 3 with mine.hard False, where nothing is compared",
        "params.yaml: plot.columns: found 30",
    ]


@pytest.mark.parametrize(
    ("values", "found"), [(None, "None (NoneType)"), ([1], "[1] (list)"), ("x", "'x' (str)")]
)
def test_a_file_that_is_no_mapping_is_error_text(values: Any, found: str) -> None:
    assert (
        error_text(values)
        == f"params.yaml: the whole file: found {found}; allowed: a mapping of keys"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer__adamw__lr": 1},  # a whole number is a number
        {"train__patience": 3, "train__steps": 5, "download__max_side": 64},
        {
            "train__augment": {
                **{"crop": None, "hflip": 0, "jitter": None, "rand_augment": [1, 30], "erase": 1}
            }
        },
        {"backbone__weights": "imagenet", "backbone__name": "timm:vit_tiny_patch16_224"},
        {"data__source": "../images.tar", "data__folder__table": "table.csv"},
    ],
)
def test_what_is_allowed_is_accepted(changes: dict[str, Any]) -> None:
    assert check_params(overlaid(changes), where="params.yaml")


def test_a_contradiction_is_reported_with_the_file() -> None:
    text = error_text(overlaid({"loss.name": "arcface", "miner.name": "batch_hard"}))
    assert text.startswith("params.yaml: miner.name: found 'batch_hard' with loss.name 'arcface'")


def test_a_number_in_powers_of_ten_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS.read_text().replace("lr: auto,", "lr: 1e-3,"))
    assert read_params(tmp_path / "params.yaml").optimizer.options.lr == 0.001


def test_a_missing_file_is_error_text(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read_params(tmp_path / "params.yaml")
    wanted = f"{tmp_path / 'params.yaml'}: no such file; run from the root of the project"
    assert str(error.value) == wanted


def test_lists_in_lists_without_end_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: " + "[" * 3000 + "]" * 3000)
    with pytest.raises(UserError) as error:
        read_params(tmp_path / "params.yaml")
    wanted = f"{tmp_path / 'params.yaml'}: lists or mappings in each other, too deep to be read"
    assert str(error.value) == wanted


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: b: c", "mapping values are not allowed"),
        ("a: [1\nb: 2", "while parsing a flow sequence"),
        ("a: 1\na: 2", 'found duplicate key "a"'),
        ("a:\n\t- 1", "while scanning"),
    ],
)
def test_what_is_not_yaml_is_reported_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_params(tmp_path / "params.yaml")
    found = str(error.value)
    assert found.startswith(f"{tmp_path / 'params.yaml'}: not YAML: ")
    assert reason in found
    assert "\n" not in found


def test_params_do_not_change() -> None:
    params = read_params(PARAMS)
    with pytest.raises(ValueError, match="frozen"):
        params.seed = 8  # type: ignore[misc]


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]\n"
        + "".join(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
            for before, name in itertools.pairwise("abcdefghi")
        ),
        "a: &a [*a]\n",
        f"a: [{'1,' * 100_000}]\n",
    ],
    ids=["aliases of aliases", "itself", "as many"],
)
def test_more_values_than_anybody_writes_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value) == (
        f"{path}: has more than 100,000 values, or one that contains itself; allowed: fewer; write "
        "them without aliases (*name)"
    )
    path.write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(path) == {"a": [1, 2], "b": [1, 2]}


def test_brackets_in_each_other_have_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: " + "[" * 100 + "]" * 100)
    assert len(read_yaml(path)) == 1
    path.write_text("a: " + "[" * 101 + "]" * 101)
    with pytest.raises(UserError, match="too deep to be read"):
        read_yaml(path)
