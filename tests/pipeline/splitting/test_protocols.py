"""Train, validation, query and gallery: cases by hand, and cases from hypothesis."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.tables import SPLITS
from pipeline.errors import UserError
from pipeline.splitting.automatic import SplitOptions
from pipeline.splitting.protocols import make_splits
from tests.helpers.dataset_tables import build_catalog, build_health

Row = tuple[str, list[int], str | None, str | None]  # image_id, labels, group, source_split


def catalog_of(rows: Sequence[Row]) -> pa.Table:
    ids, labels, groups, roles = zip(*rows, strict=True)
    labels_of = dict(zip(ids, labels, strict=True))
    return build_catalog(labels_of, groups=groups, source_splits=roles)


def classes_of(sizes: Sequence[int]) -> pa.Table:
    return catalog_of(
        [
            (f"{label:03}/{number:03}", [label], None, None)
            for label, size in enumerate(sizes)
            for number in range(size)
        ]
    )


def split(catalog: pa.Table, **changes: object) -> dict[str, tuple[str, bool, bool]]:
    """Return image_id -> split, is_query, is_gallery."""
    params: dict[str, object] = {
        "protocol": "auto",
        "test_fraction": 0.5,
        "val_by": "auto",
        "val_fraction": 0.1,
        "seed": 7,
    }
    params |= changes
    seed, exact = params.pop("seed"), params.pop("exact", ())
    published = bool(params.pop("published", False))
    health = build_health(catalog["image_id"].to_pylist(), exact=exact)  # type: ignore[arg-type]
    options = SplitOptions(**params)  # type: ignore[arg-type]
    made = make_splits(
        catalog,
        options,
        seed=seed,  # type: ignore[arg-type]
        health=health,
        published=published,
    )
    table = made.table
    assert table.schema.names == [field.name for field in SPLITS.columns]
    return {row.pop("image_id"): tuple(row.values()) for row in table.to_pylist()}


def error_line(catalog: pa.Table, **changes: object) -> str:
    with pytest.raises(UserError) as caught:
        split(catalog, **changes)
    return str(caught.value)


def counts(splits: dict[str, tuple[str, bool, bool]]) -> dict[str, Counter[str]]:
    """Return class -> split -> number of images."""
    found: dict[str, Counter[str]] = {}
    for image_id, (part, _, _) in splits.items():
        found.setdefault(image_id.split("/")[0], Counter())[part] += 1
    return found


def whole(splits: dict[str, tuple[str, bool, bool]]) -> dict[str, str]:
    """Return class -> the one split that all its images are in."""
    found = counts(splits)
    assert all(len(parts) == 1 for parts in found.values())
    return {label: next(iter(parts)) for label, parts in found.items()}


def test_official_takes_the_roles_of_the_dataset() -> None:
    roles = ["train", "train+gallery", "val", "query", "gallery", "query+gallery"]
    rows: list[Row] = [(f"{n}", [0], None, role) for n, role in enumerate(roles)]
    expected = {
        "0": ("train", False, False),
        "1": ("train", False, True),
        "2": ("val", False, False),
        "3": ("test", True, False),
        "4": ("test", False, True),
        "5": ("test", True, True),
    }
    assert split(catalog_of(rows), protocol="official") == expected
    # These few are not enough to train with.
    assert split(catalog_of(rows), protocol="auto") == expected | {
        "0": ("unused", False, False),
        "1": ("test", False, True),
        "2": ("unused", False, False),
    }


def test_official_holds_validation_out_of_train_alone() -> None:
    rows: list[Row] = [(f"a/{n:02}", [0], None, "train+gallery") for n in range(20)]
    rows += [(f"b/{n:02}", [1], None, "train") for n in range(30)]
    rows += [(f"c/{n:02}", [n % 2], None, "query") for n in range(10)]
    splits = split(catalog_of(rows), protocol="official")
    assert counts(splits) == {
        "a": {"train": 18, "val": 2},
        "b": {"train": 27, "val": 3},
        "c": {"test": 10},
    }
    assert all(gallery for image_id, (_, _, gallery) in splits.items() if image_id[0] == "a")
    assert not any(gallery for image_id, (_, _, gallery) in splits.items() if image_id[0] == "b")


def test_official_without_roles_is_an_error() -> None:
    assert error_line(classes_of([4, 4]), protocol="official") == (
        "split.protocol: found official, but this dataset has no official split; allowed for it: "
        "auto, class_disjoint, random, test_only"
    )


@pytest.mark.parametrize(
    ("role", "found"), [(None, "no split"), ("train+query", "the split 'train+query'")]
)
def test_official_with_a_role_amiss_is_an_error(role: str | None, found: str) -> None:
    rows: list[Row] = [("a", [0], None, "train"), ("b", [0], None, role)]
    assert error_line(catalog_of(rows), protocol="official") == (
        f"source_split of 'b': found {found}; allowed for split.protocol official: train, "
        "train+gallery, val, query, gallery, query+gallery; or set class_disjoint or random"
    )


def test_class_disjoint_by_hand() -> None:
    splits = split(classes_of([5] * 120), protocol="class_disjoint")
    assert Counter(whole(splits).values()) == {"test": 64, "train": 49, "val": 7}
    assert all(
        (query, gallery) == (part == "test", part == "test")
        for part, query, gallery in splits.values()
    )


def test_class_disjoint_of_one_class_is_an_error() -> None:
    assert error_line(classes_of([9]), protocol="class_disjoint") == (
        "split.protocol: found class_disjoint, but the dataset has 1 class; allowed: two classes "
        "or more (a small max_images leaves few), or split.protocol auto, random or test_only"
    )


@pytest.mark.parametrize("fraction", [0.01, 0.99])
@pytest.mark.parametrize("classes", [2, 40])
def test_class_disjoint_leaves_a_class_on_either_side(fraction: float, classes: int) -> None:
    splits = split(classes_of([3] * classes), protocol="class_disjoint", test_fraction=fraction)
    assert Counter(whole(splits).values())["test"] == (1 if fraction < 0.5 else classes - 1)


def test_random_by_hand() -> None:
    # 16 * 0.25 = 4 and 8 * 0.25 = 2 go to test; of the 12 and 6 left, a class of three gives none.
    splits = split(
        classes_of([16, 8, 3]), protocol="random", test_fraction=0.25, val_fraction=1 / 3
    )
    assert counts(splits) == {
        "000": {"test": 4, "train": 8, "val": 4},
        "001": {"test": 2, "train": 4, "val": 2},
        "002": {"train": 3},
    }


def test_half_goes_up_whatever_floats_make_of_it() -> None:
    assert 0.58 * 25 < 14.5
    parts = whole(split(classes_of([3] * 25), protocol="class_disjoint", test_fraction=0.58))
    assert Counter(parts.values())["test"] == 15


def test_random_leaves_two_on_either_side() -> None:
    for fraction in (0.01, 0.99):
        parts = counts(split(classes_of([9] * 40), protocol="random", test_fraction=fraction))
        assert all(part["test"] != 1 and part["train"] >= 2 for part in parts.values())


@pytest.mark.parametrize(("classes", "held_out_whole"), [(55, True), (54, False)])
def test_auto_validation_is_by_class_unless_that_leaves_under_six(
    classes: int, held_out_whole: bool
) -> None:
    # A tenth of 55 rounds up to 6, of 54 down to 5.
    rows: list[Row] = [
        (f"{label:03}/{n:02}", [label], None, "train")
        for label in range(classes)
        for n in range(20)
    ]
    rows += [("q/1", [99], None, "query+gallery"), ("q/2", [99], None, "query+gallery")]
    found = counts(split(catalog_of(rows)))
    held_out = [parts for parts in found.values() if parts["val"]]
    assert len(held_out) == (6 if held_out_whole else 54)
    assert all(parts["val"] == (20 if held_out_whole else 2) for parts in held_out)


def test_validation_by_class_of_one_class_is_an_error() -> None:
    rows: list[Row] = [("a", [0], None, "train"), ("b", [1], None, "query+gallery")]
    assert error_line(catalog_of(rows), val_by="class") == (
        "split.val_by: found class, but 1 class is for training; allowed: image, auto"
    )


def test_images_of_several_labels_are_split_by_image() -> None:
    rows: list[Row] = [(f"{n}", [n % 40, 99], None, None) for n in range(400)]
    parts = split(catalog_of(rows), protocol="auto", val_by="auto")
    # Of each class some images are for training and some are held out.
    for label in range(40):
        assert {"train", "test"} <= {parts[str(n)][0] for n in range(label, 400, 40)}
    assert parts == split(catalog_of(rows), protocol="random", val_by="image")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"protocol": "class_disjoint"},
            "split.protocol: found class_disjoint, but images have several labels, so that "
            "classes cannot be disjoint; allowed: auto, official, random, test_only",
        ),
        (
            {"protocol": "random", "val_by": "class"},
            "split.val_by: found class, but images have several labels, so that classes cannot be "
            "disjoint; allowed: auto, image",
        ),
    ],
)
def test_classes_of_images_with_several_labels_are_not_held_apart(
    options: dict[str, str], line: str
) -> None:
    rows: list[Row] = [(f"{n}", [n % 4, 9], None, None) for n in range(40)]
    assert error_line(catalog_of(rows), **options) == line


catalogs = st.builds(classes_of, st.lists(st.integers(1, 12), min_size=3, max_size=25))
fractions = st.floats(0.05, 0.95)
seeds = st.integers(0, 2**32)


@given(catalogs, fractions, fractions, seeds, st.sampled_from(["class_disjoint", "random"]))
def test_each_image_has_one_split_and_a_validation_image_is_no_test_query(
    catalog: pa.Table, test: float, val: float, seed: int, protocol: str
) -> None:
    splits = split(catalog, protocol=protocol, test_fraction=test, val_fraction=val, seed=seed)
    assert list(splits) == sorted(catalog["image_id"].to_pylist())
    for part, query, gallery in splits.values():
        assert part in ("train", "val", "test")
        assert query == gallery == (part == "test")


@given(catalogs, fractions, seeds, st.sampled_from(["class", "image"]))
def test_class_disjoint_shares_no_class_and_keeps_the_fraction_of_few_classes(
    catalog: pa.Table, fraction: float, seed: int, val_by: str
) -> None:
    # Two classes for training at the least, so that one of them can be held out.
    count = len({labels[0] for labels in catalog["labels"].to_pylist()})
    fraction = min(fraction, (count - 2) / count)
    splits = split(
        catalog, protocol="class_disjoint", test_fraction=fraction, val_by=val_by, seed=seed
    )
    found = counts(splits)
    in_test = [label for label, parts in found.items() if parts["test"]]
    assert all(set(found[label]) == {"test"} for label in in_test)
    assert len(in_test) == max(1, math.floor(fraction * count + 0.5 + 1e-9))
    if val_by == "class":
        assert all(len(parts) == 1 for parts in found.values())


@given(catalogs, fractions, seeds)
def test_random_gives_two_or_more_and_keeps_the_fraction(
    catalog: pa.Table, fraction: float, seed: int
) -> None:
    found = counts(split(catalog, protocol="random", test_fraction=fraction, seed=seed))
    for parts in found.values():
        size, sampled = sum(parts.values()), parts["test"]
        assert sampled != 1
        assert size - sampled >= min(2, size)
        assert size >= 4 or not sampled
        if size >= 4 and fraction * size < 2:
            assert sampled in (0, 2)
        elif size >= 4:  # of few, as many as is wanted, a half for training
            assert sampled == min(max(math.ceil(fraction * size - 0.5 - 1e-9), 2), size - 2)


def test_classes_too_small_to_give_two_give_two_by_the_chance_that_makes_up_for_it() -> None:
    found = counts(split(classes_of([8] * 3000), protocol="random", test_fraction=0.1))
    sampled = [parts["test"] for parts in found.values()]
    assert set(sampled) == {0, 2}
    assert sum(sampled) / (8 * 3000) == pytest.approx(0.1, abs=0.008)  # 5 standard deviations


# --- what is sampled by its own name -------------------------------------------------------------


def number(seed: int, role: str, name: str) -> float:
    """Return the number of a name as the docstring of sampling.py tells it, bit by bit."""
    digest = hashlib.blake2b(f"{seed}\0{role}\0{name}".encode(), digest_size=8).digest()
    return sum(byte * 256.0 ** -(place + 1) for place, byte in enumerate(digest))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_of_many_classes_each_is_sampled_by_its_own_name(seed: int, fraction: float) -> None:
    catalog, names = classes_of([2] * 90), {label: f"class {label * 7}" for label in range(90)}
    options = SplitOptions("class_disjoint", fraction, "class", 0.5)
    table = make_splits(catalog, options, seed=seed, class_names=names).table
    for row in table.to_pylist():
        name = names[int(row["image_id"].split("/")[0])]
        part = "val" if number(seed, "val", name) < 0.5 else "train"
        assert row["split"] == ("test" if number(seed, "test", name) < fraction else part)


@pytest.mark.parametrize("seed", range(5))
def test_of_many_images_of_a_class_each_is_sampled_by_its_own_name(seed: int) -> None:
    splits = split(classes_of([90] * 4), protocol="random", val_fraction=0.3, seed=seed)
    for image_id, (part, _, _) in splits.items():
        trained = "val" if number(seed, "val", image_id) < 0.3 else "train"
        assert part == ("test" if number(seed, "test", image_id) < 0.5 else trained)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("protocol", ["class_disjoint", "random"])
def test_new_images_and_classes_move_none_of_the_old(protocol: str, seed: int) -> None:
    """Whether they come at once or one after another, and wherever their names are sorted."""
    everything = classes_of([90] * 90)
    numbers = np.random.default_rng(seed).permutation(len(everything))
    label_of = np.array([labels[0] for labels in everything["labels"].to_pylist()])
    old_classes = np.random.default_rng(seed).permutation(90)[:70]
    in_old = numbers[np.isin(label_of[numbers], old_classes)]
    options = {"protocol": protocol, "val_fraction": 0.4, "seed": seed}
    before = split(everything.take(in_old[: len(in_old) * 9 // 10]), **options)
    after = split(everything, **options)
    assert {image_id: after[image_id] for image_id in before} == before


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("protocol", ["class_disjoint", "random"])
def test_a_new_one_of_few_moves_two_others_at_most(protocol: str, seed: int) -> None:
    """From few to many, one by one: in test; where pairs are sampled, they come and go together."""
    moved = []
    for count in range(8, 110):
        sizes = [2] * count if protocol == "class_disjoint" else [count]
        grown = classes_of(sizes)
        rows = np.random.default_rng(seed).permutation(len(grown))
        if protocol == "class_disjoint":
            rows = rows[[grown["labels"][int(row)].as_py() != [count // 3] for row in rows]]
        else:
            rows = rows[rows != count // 3]
        options = {"protocol": protocol, "seed": seed, "test_fraction": 0.4, "val_by": "image"}
        after, before = split(grown, **options), split(grown.take(rows), **options)
        changed = {
            each if protocol == "random" else each.split("/")[0]
            for each, (part, _, _) in before.items()
            if (part == "test") != (after[each][0] == "test")
        }
        moved.append(len(changed))
    assert max(moved) <= 2
    assert not any(moved[84:])  # of 92 and more


# --- exact duplicates ---------------------------------------------------------------------------


@st.composite
def grouped(draw: st.DrawFn) -> tuple[pa.Table, list[list[str]]]:
    """Return a catalog, and groups of images with the same pixels, of one class or of several."""
    catalog = draw(catalogs)
    ids = catalog["image_id"].to_pylist()
    pixels = draw(st.lists(st.integers(0, len(ids)), min_size=len(ids), max_size=len(ids)))
    groups: dict[int, list[str]] = {}
    for image_id, each in zip(ids, pixels, strict=True):
        groups.setdefault(each, []).append(image_id)
    return catalog, [group for group in groups.values() if len(group) > 1]


@given(
    grouped(),
    fractions,
    fractions,
    seeds,
    st.sampled_from(["class_disjoint", "random"]),
    st.sampled_from(["class", "image"]),
)
def test_exact_duplicates_are_on_one_side(
    drawn: tuple[pa.Table, list[list[str]]],
    test: float,
    val: float,
    seed: int,
    protocol: str,
    val_by: str,
) -> None:
    catalog, exact = drawn
    options = {"protocol": protocol, "val_by": val_by, "seed": seed}
    options |= {"test_fraction": test, "val_fraction": val}
    try:
        splits = split(catalog, exact=exact, **options)
    except UserError:  # of one class alone for training
        return
    for group in exact:
        sides = {splits[image_id][0] for image_id in group} - {"unused"}
        assert len(sides) == 1
        if protocol == "random" and val_by == "image":
            assert {splits[image_id][0] for image_id in group} == sides


@given(grouped(), fractions, seeds)
def test_an_image_is_unused_only_if_its_duplicate_is_held_out(
    drawn: tuple[pa.Table, list[list[str]]], fraction: float, seed: int
) -> None:
    """And all others are where they would be without duplicates."""
    catalog, exact = drawn
    options = {"protocol": "class_disjoint", "test_fraction": fraction, "seed": seed}
    options |= {"val_by": "class", "val_fraction": 0.5}
    try:
        splits, without = split(catalog, exact=exact, **options), split(catalog, **options)
    except UserError:
        return
    held_out = ["test", "val", "train"]
    for image_id, before in without.items():
        group = next((each for each in exact if image_id in each), [image_id])
        first = min((without[each][0] for each in group), key=held_out.index)
        expected = before if before[0] == first else ("unused", False, False)
        if splits[image_id] != expected:  # the draw of validation begins after test is removed
            assert {before[0], splits[image_id][0]} <= {"train", "val", "unused"}


def test_copies_count_once_in_random() -> None:
    # Of 16 images 7 are copies of the first, so that 9 remain; 4.5 of them, rounded down, for test.
    first, *copies = [f"000/{n:03}" for n in range(8)]
    splits = split(
        classes_of([16, 16]), protocol="random", val_by="image", exact=[[first, *copies]]
    )
    in_test = [image_id for image_id, (part, _, _) in splits.items() if part == "test"]
    units = {first if image_id in copies else image_id for image_id in in_test}
    assert sum(unit.startswith("000/") for unit in units) == 4


def test_a_copy_under_a_held_out_class_is_unused() -> None:
    catalog = classes_of([6] * 4)
    before = split(catalog, protocol="class_disjoint", val_by="image", val_fraction=0.34)
    test = next(image_id for image_id, (part, _, _) in before.items() if part == "test")
    train = next(image_id for image_id, (part, _, _) in before.items() if part == "train")
    after = split(
        catalog,
        protocol="class_disjoint",
        val_by="image",
        val_fraction=0.34,
        exact=[[test, train]],
    )
    assert after[test] == ("test", True, True)
    assert after[train] == ("unused", False, False)


@pytest.mark.parametrize("published", [True, False])
def test_copies_across_an_official_split_stay_only_where_it_is_a_published_one(
    published: bool,
) -> None:
    """Also then, none is sampled for validation: the best epoch would be chosen on the test."""
    rows: list[Row] = [(f"a/{n:02}", [0], None, "train") for n in range(40)]
    rows += [(f"b/{n:02}", [0], None, "query+gallery") for n in range(20)]
    exact = [[f"a/{n:02}", f"a/{n + 10:02}"] for n in range(10)]
    across = [[f"a/{n + 20:02}", f"b/{n:02}"] for n in range(10)]
    splits = split(
        catalog_of(rows),
        protocol="official",
        val_fraction=0.3,
        exact=[*exact, *across],
        published=published,
    )
    assert counts(splits)["b"] == {"test": 20}
    assert set(counts(splits)["a"]) == ({"train", "val"} | (set() if published else {"unused"}))
    for first, second in exact:
        assert splits[first] == splits[second]
    parts = {splits[image_id][0] for image_id, _ in across}
    assert parts == ({"train"} if published else {"unused"})
