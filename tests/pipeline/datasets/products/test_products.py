import hashlib
import io
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.products import products
from pipeline.datasets.products.photograph import sample_camera
from pipeline.datasets.products.products import GROUPS, make_product, read_images, render_jpeg
from pipeline.datasets.products.scene import Camera, cast_camera
from pipeline.errors import UserError
from tests.helpers.options import dataset_options

NOWHERE = Path("nowhere")


def listed(seed=7, **changes):
    small = {"classes": 36, "per_class": 4, "image_size": 32}
    return list(read_images(NOWHERE, dataset_options("products", **small | changes), seed))


def test_the_numbers_of_classes_and_images_are_those_of_the_options():
    found = listed(classes=37, per_class=3)
    counts = Counter(image.labels for image in found)
    assert set(counts.values()) == {3}
    assert len(counts) == 37
    assert len({image.path for image in found}) == 37 * 3


def test_an_image_has_the_size_of_the_options_and_a_readable_name():
    first = listed(image_size=48)[0]
    image = Image.open(io.BytesIO(first.read()))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (48, 48))
    assert (first.path, first.labels, first.group) == ("mug/mug 01/01.jpg", ("mug 01",), "mug")


@pytest.mark.parametrize("classes", [2, 3, 5, 24, 31, 36, 120])
def test_no_class_is_in_both_halves_and_each_group_is(classes):
    halves = {"train": set(), "query+gallery": set()}
    groups = {"train": set(), "query+gallery": set()}
    for image in listed(classes=classes, per_class=2):
        halves[image.source_split].add(image.labels)
        groups[image.source_split].add(image.group)
    assert not halves["train"] & halves["query+gallery"]
    assert groups["train"] == groups["query+gallery"]
    assert abs(len(halves["train"]) - len(halves["query+gallery"])) <= 1


def test_same_seed_gives_the_same_bytes_in_any_order_and_after_a_pickle():
    some = listed()[::17]
    forward = [image.read() for image in some]
    make_product.cache_clear()
    backward = [pickle.loads(pickle.dumps(p.read))() for p in reversed(some)]  # noqa: S301 - of our own
    assert forward == backward[::-1]


def test_images_do_not_depend_on_how_many_there_are():
    few, many = listed(classes=24, per_class=2), listed(classes=48, per_class=5)
    same = {image.path: image for image in many}
    assert few[5].read() == same[few[5].path].read()


def test_the_surroundings_too_depend_on_the_seed(monkeypatch):
    mug = make_product("mug", 0, 7)
    monkeypatch.setattr(products, "make_product", lambda *_: mug)
    first, second = (render_jpeg("mug", 0, 1, size=32, seed=seed) for seed in (7, 8))
    assert first != second


def test_another_seed_another_class_or_another_number_is_another_image():
    args = {"size": 32, "seed": 7}
    base = render_jpeg("mug", 0, 1, **args)
    assert base != render_jpeg("mug", 0, 1, size=32, seed=8)
    assert base != render_jpeg("mug", 12, 1, **args)
    assert base != render_jpeg("mug", 0, 2, **args)


@pytest.mark.parametrize("group", GROUPS)
def test_each_product_stands_on_the_ground_in_view_of_its_camera(group):
    rng = np.random.default_rng(3)
    for number in range(4):
        parts = make_product(group, number, 7)
        aside = Camera((300, 1, 0), (0, 1, 0), 75)  # from far off, 4 units high
        rows = np.flatnonzero((cast_camera(parts, aside, 200).part >= 0).any(1))
        assert 147 <= rows.max() <= 151  # the ground is at row 150
        assert 20 < 150 - rows.min() < 130
        corners = np.concatenate([part.corners() for part in parts], axis=1)
        radius = float(np.abs(corners[[0, 2]]).max())
        camera = sample_camera(rng, 0.4, float(corners[1].max()), radius)
        seen = (cast_camera(parts, camera, 48).part >= 0).mean()
        assert 0.04 < seen < 0.8


def test_a_view_turns_in_depth_not_in_the_plane():
    """From the front a mug's handle hides; no turn of that image brings it out."""
    parts = make_product("mug", 0, 7)
    widths = []
    for turn in (0, np.pi / 2):  # the handle points to x: towards the first camera
        camera = Camera((8 * np.cos(turn), 0.6, 8 * np.sin(turn)), (0, 0.6, 0), 3)
        hits = cast_camera(parts, camera, 128)
        widths.append(int((hits.part >= 0).any(0).sum()))
        area = (hits.part >= 0).sum()
        widths.append(int(area))
    assert widths[2] > 1.15 * widths[0]
    assert widths[3] > 1.03 * widths[1]  # a turn in the plane keeps the area


def test_instances_of_a_group_differ():
    bodies = {make_product("bottle", number, 7)[0].solid for number in range(10)}
    assert len(bodies) == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 1},
         "data.products.classes: found 1; allowed: 2 or more (one to train on and one to search)"),
        ({"per_class": 1},
         "data.products.per_class: found 1; allowed: 2 or more (a query and what it should find)"),
        ({"image_size": 8},
         "data.products.image_size: found 8; allowed: 16 or more (pixels, to show anything)"),
    ],
)  # fmt: skip
def test_too_little_to_search_is_refused_in_one_line(changes, message):
    with pytest.raises(UserError) as refusal:
        listed(**changes)
    assert str(refusal.value) == message


def test_the_bytes_are_those_of_every_other_computer():
    """The digest was the same without AVX-512, AVX2 and FMA, and on emulated older processors."""
    digest = hashlib.sha256()
    for image in listed(classes=24, per_class=2):
        digest.update(image.read())
    assert digest.hexdigest()[:16] == "09eb1da44b76a11a"
