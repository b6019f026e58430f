"""A mistake in a call of the library is told in one line, word for word."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import api, api_checks
from pipeline.config.schema import MineParams
from pipeline.errors import UserError
from pipeline.models.embedder import Embedder
from tests.helpers.searchable import draw

VECTORS = np.eye(4, 8, dtype=np.float32)
LABELS = [5, 5, 6, 6]
WHOLE = "whole numbers from 0 to 2147483647; number the classes"


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def model() -> Embedder:
    return api.load_network("resnet18", weights=None, image_size=32)


def test_the_ways_to_choose_are_those_of_the_stage() -> None:
    for name, allowed in (("positives", "POSITIVES"), ("negatives", "NEGATIVES")):
        of_stage = get_args(MineParams.model_fields[name].annotation)
        assert sorted(of_stage) == list(getattr(api_checks, allowed))


# --- labels, masks and numbers ------------------------------------------------------------------


@pytest.mark.parametrize("call", [api.measure_retrieval, api.mine_triplets])
@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([5, 5, 6], "found 3 for 4 vectors; allowed: as many; a list of several for an image that"),
        ([5] * 5, "found 5 for 4 vectors; allowed: as many; a list of several for an image that"),
        (7, "found one of type int; allowed: a list, with a whole number or several for each"),
        ("cups!", "found one of type str; allowed: a list, with a whole number or several for"),
        ({0: 5, 1: 6, 2: 5, 3: 6}, "found one of type dict; allowed: a list, with a whole number"),
        ([5, 5, 0.2, 6], f"image 2 has 0.2; allowed: {WHOLE}"),
        (np.array([5, np.nan, 6, 6]), f"image 1 has nan; allowed: {WHOLE}"),
        (["cup", "cup", "mug", "mug"], f"image 0 has 'cup'; allowed: {WHOLE}"),
        (np.array(["cup", "cup", "mug", "mug"]), f"image 0 has 'cup'; allowed: {WHOLE}"),
        ([[5], [5, "mug"], [6], [6]], f"image 1 has 'mug'; allowed: {WHOLE}"),
        ([5, 5, b"6", 6], f"image 2 has b'6'; allowed: {WHOLE}"),
        ([5, 5, 6, None], f"image 3 has None; allowed: {WHOLE}"),
        ([[5], [5], [], [6]], "image 2 has none; allowed: one or more; leave it out"),
        ([5, -1, 6, 6], f"image 1 has -1; allowed: {WHOLE}"),
        ([5, 5, 6, 2**31], f"image 3 has 2147483648; allowed: {WHOLE}"),
        ([5, 5, 6, 10**400], f"image 3 has 1{'0' * 400}; allowed: {WHOLE}"),
    ],
)
def test_labels_are_whole_numbers_one_or_several_for_each_vector(
    call: Callable[..., Any], labels: Any, text: str
) -> None:
    assert refused(lambda: call(VECTORS, labels)).startswith(f"labels: {text}")


@pytest.mark.parametrize(
    "labels",
    [
        np.array(LABELS, np.uint8),
        np.array(LABELS, np.float32),
        pd.Series(LABELS, index=list("abcd")),
        [np.int64(each) for each in LABELS],
        [np.array([each]) for each in LABELS],
        np.array(LABELS)[:, None],
        [{each} for each in LABELS],
        (each for each in LABELS),
        [False, False, True, True],
    ],
)
def test_labels_may_be_of_any_type_that_holds_whole_numbers(labels: Any) -> None:
    expected = api.measure_retrieval(VECTORS, LABELS, k=[1])
    assert api.measure_retrieval(VECTORS, labels, k=[1]) == expected


@pytest.mark.parametrize("name", ["is_query", "is_gallery"])
@pytest.mark.parametrize(
    ("mask", "found"), [([True], "bool of shape (1,)"), ([0, 1, 2, 3], "int64 of shape (4,)")]
)
def test_a_mask_has_a_bool_for_each_vector(name: str, mask: list[Any], found: str) -> None:
    assert refused(lambda: api.measure_retrieval(VECTORS, LABELS, **{name: mask})) == (
        f"{name}: found an array of {found}; allowed: bool (4,), one for each vector"
    )


def search(**changes: Any) -> Any:
    options = {"index": api.build_index(VECTORS), "vectors": VECTORS, "queries": VECTORS[:1]}
    return api.search_index(**(options | changes))


def measure(**changes: Any) -> Any:
    return api.measure_retrieval(VECTORS, LABELS, **changes)


def mine(**changes: Any) -> Any:
    return api.mine_triplets(VECTORS, LABELS, **changes)


@pytest.mark.parametrize(
    ("call", "options", "text"),
    [
        (search, {"k": 0}, "k: found 0; allowed: a whole number from 1 on"),
        (search, {"k": np.int64(-2)}, "k: found -2; allowed: a whole number from 1 on"),
        (search, {"k": 1.5}, "k: found 1.5; allowed: a whole number from 1 on"),
        (measure, {"k": [1, 0]}, "k: found 0; allowed: a whole number from 1 on"),
        (measure, {"k": 5}, "k: found 5; allowed: a list of numbers, such as [1, 5]"),
        (measure, {"knn": -1}, "knn: found -1; allowed: a whole number from 0 on"),
        (mine, {"per_anchor": 0}, "per_anchor: found 0; allowed: a whole number from 1 on"),
        (mine, {"candidates": 0}, "candidates: found 0; allowed: a whole number from 1 on"),
        (
            mine,
            {"positives": "esay"},
            "positives: found 'esay'; allowed: easy, hard, random; did you mean 'easy'?",
        ),
        (mine, {"negatives": "all"}, "negatives: found 'all'; allowed: hard, random, semi_hard"),
        (mine, {"distance": "l2"}, "distance: found 'l2'; allowed: cosine, euclidean"),
        (measure, {"distance": "l1"}, "distance: found 'l1'; allowed: cosine, euclidean"),
    ],
)
def test_numbers_and_names_are_those_that_are_allowed(
    call: Callable[..., Any], options: dict[str, Any], text: str
) -> None:
    assert refused(lambda: call(**options)) == text


def test_a_distance_of_an_index_is_one_that_there_is() -> None:
    assert refused(lambda: api.build_index(VECTORS, distance="cosinus")) == (
        "distance: found 'cosinus'; allowed: cosine, euclidean; did you mean 'cosine'?"
    )


# --- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        api.build_index,
        lambda vectors: api.measure_retrieval(vectors, LABELS),
        lambda vectors: api.mine_triplets(vectors, LABELS),
        lambda vectors: search(vectors=vectors),
    ],
)
@pytest.mark.parametrize(
    ("vectors", "text"),
    [
        (
            VECTORS[0],
            "found an array of shape (8,); allowed: [N, D], a row for each image; make a single "
            "vector one row: vector[None]",
        ),
        (
            VECTORS[:, :0],
            "found an array of shape (4, 0); allowed: [N, D], a row for each image; make a single "
            "vector one row: vector[None]",
        ),
        ([["a"]], "found an array of <U1; allowed: an array of numbers, float32 [N, D]"),
        ([[1.0], [1.0, 2.0]], "found one of type list; allowed: an array of numbers, float32"),
        (
            np.where(VECTORS == 1, np.nan, 0),
            "4 of 4 are not finite in float32, the first is row 0; allowed: finite numbers; leave "
            "these rows out",
        ),
        (
            np.diag([1, 1e300, 1, 1]),
            "1 of 4 are not finite in float32, the first is row 1; allowed: finite numbers; leave "
            "these rows out",
        ),
    ],
)
def test_vectors_are_rows_of_finite_numbers(
    call: Callable[[Any], Any], vectors: Any, text: str
) -> None:
    assert refused(lambda: call(vectors)).startswith(f"vectors: {text}")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"vectors": VECTORS[:3]},
            "vectors: found 3; allowed: the 4 that the index was built of, in its order",
        ),
        (
            {"vectors": VECTORS[:, :7]},
            "vectors: found vectors of length 7; allowed: 8, as the index has; embed with the "
            "model that it was built of",
        ),
        (
            {"queries": np.ones((1, 9), np.float32)},
            "queries: found vectors of length 9; allowed: 8, as the index has; embed with the "
            "model that it was built of",
        ),
        (
            {"queries": VECTORS[0]},
            "queries: found an array of shape (8,); allowed: [N, D], a row for each image; make a "
            "single vector one row: vector[None]",
        ),
        (
            {"index": (None, ["a"])},
            "index: found one of type tuple; allowed: an index of faiss; of read_index, take the "
            "first of the two",
        ),
    ],
)
def test_what_is_searched_is_what_the_index_is_of(changes: dict[str, Any], text: str) -> None:
    assert refused(lambda: search(**changes)) == text


def test_of_more_neighbors_than_there_are_the_rest_is_none() -> None:
    found = search(k=6)
    assert found.rows.tolist() == [[0, 1, 2, 3, -1, -1]]
    assert found.scores[0, 4:].tolist() == [-np.inf, -np.inf]
    found = search(index=api.build_index(VECTORS[:0]), vectors=VECTORS[:0], k=2)
    assert (found.rows.tolist(), found.scores.tolist()) == ([[-1, -1]], [[-np.inf, -np.inf]])


# --- images -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image", ["a.jpg", Path("a.jpg"), draw("red", "disc", 1), Image.new("RGB", (9, 9))]
)
def test_one_image_is_no_list_of_images(image: Any, model: Embedder) -> None:
    assert refused(lambda: api.embed_images(model, image)) == (
        "images: found one, not a list of them; allowed: [photo]"
    )


def test_images_are_of_a_type_that_is_read(model: Embedder) -> None:
    assert refused(lambda: api.embed_images(model, None)) == (  # type: ignore[arg-type]
        "images: found one of type NoneType; allowed: a list of images"
    )
    pixels: Any = np.zeros((2, 9, 9, 3), np.uint8)
    assert refused(lambda: api.embed_images(model, pixels)) == (
        "image 0: found one of type ndarray; allowed: a path, encoded bytes, or a PIL image; make "
        "one of an array by PIL.Image.fromarray"
    )


def test_a_closed_image_is_named_by_its_row(model: Embedder) -> None:
    closed = Image.open(io.BytesIO(draw("red", "disc", 1)))
    closed.close()
    assert refused(lambda: api.embed_images(model, [Image.new("RGB", (9, 9)), closed])) == (
        "image 1: cannot be decoded (Operation on closed image); give a whole image that is not "
        "closed"
    )


def test_a_path_that_no_file_can_have_is_escaped(model: Embedder) -> None:
    text = refused(lambda: api.embed_images(model, ["a\0.jpg"]))
    assert re.fullmatch(r"a\\x00\.jpg: cannot be read \(.*null byte.*\)", text)


# --- comparisons --------------------------------------------------------------------------------

IDS = ["a", "b"]
TABLE = pd.DataFrame({"image_id": IDS, "average_precision": [0.2, 0.4]})
CLASSES = pd.Series([("cup",)] * 2, index=IDS)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"a": []}, "a: found no table; allowed: one, or one for each training"),
        ({"b": "a.parquet"}, "b: found one of type str; allowed: tables of pandas"),
        (
            {"b": ["a.parquet"]},
            "b: table 0: found one of type str; allowed: a table of pandas",
        ),
        (
            {"b": [TABLE, TABLE.drop(columns="average_precision")]},
            "b: table 1: has no column average_precision; allowed: a table such as "
            "results/<model>/queries.parquet",
        ),
        (
            {"a": TABLE.set_index("image_id")},
            "a: table 0: has no column image_id; allowed: a table such as "
            "results/<model>/queries.parquet",
        ),
        (
            {"a": TABLE.assign(average_precision=np.nan)},
            "a: table 0: has no value of average_precision; allowed: one or more",
        ),
        (
            {"a": TABLE.assign(image_id="a")},
            "a: table 0: has image_id 'a' more than once; allowed: a row for each query",
        ),
        (
            {"a": TABLE.assign(model=[("x",), ("y",)])},
            "a: table 0: column model is of type object; allowed: numbers; drop it",
        ),
        (
            {"class_of": CLASSES.drop("a")},
            "class_of: 1 of 2 queries have no class, the first is 'a'; allowed: one for each",
        ),
        (
            {"class_of": pd.concat([CLASSES, CLASSES[:1]])},
            "class_of: has 'a' more than once; allowed: once",
        ),
        (
            {"class_of": pd.Series(["cup", "cup"], index=IDS)},
            "class_of: 'a' has 'cup'; allowed: a tuple of classes, such as ('cup',)",
        ),
        (
            {"class_of": {"a": ("cup",)}},
            "class_of: found one of type dict; allowed: a pandas.Series by image_id",
        ),
        (
            {"b": TABLE.assign(image_id=["c", "d"])},
            "A and B: found no query that both have; allowed: models of one split",
        ),
    ],
)
def test_a_comparison_is_of_tables_of_queries_and_their_classes(
    changes: dict[str, Any], text: str
) -> None:
    options: dict[str, Any] = {"a": TABLE, "b": TABLE, "class_of": CLASSES}
    assert refused(lambda: api.compare_models(**(options | changes))) == text


def test_a_query_that_only_one_side_has_needs_no_class() -> None:
    more = pd.DataFrame({"image_id": ["c"], "average_precision": [0.1]})
    _, metrics = api.compare_models(pd.concat([TABLE, more]), TABLE, CLASSES)
    assert metrics["queries"].tolist() == [2]
