"""What a person asks for becomes queries: one for each photo, or one of all parts."""

from pathlib import Path

import pytest
from PIL import Image

from app.searching.asked_queries import AskedQuery, list_asked
from pipeline.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three files."""
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    return paths


def test_photos_are_queries_of_their_own_unless_they_are_together(photos: list[Path]) -> None:
    assert list_asked(photos) == [AskedQuery((photo,)) for photo in photos]
    assert list_asked([photos[0].parent]) == list_asked(photos)
    assert list_asked(photos, together=True) == [AskedQuery(tuple(photos))]
    assert list_asked(photos, texts=["red"]) == [AskedQuery(tuple(photos), ("red",))]
    assert list_asked(photos[:1], other_photos=photos[1:]) == [
        AskedQuery((photos[0],), (), tuple(photos[1:]))
    ]


def test_a_query_is_named_by_its_parts(photos: list[Path]) -> None:
    [asked] = list_asked(
        photos[:1], texts=["red mug"], other_photos=photos[1:2], other_texts=["a\nb"]
    )
    a, b, _ = photos
    assert asked.name == f'{a} + "red mug" − {b} − "a\\nb"'
    assert asked.short_name == 'a.jpg + "red mug" − b.jpg − "a\\nb"'
    assert asked.has_texts
    assert not list_asked(photos)[0].has_texts


def test_its_photos_are_read_for_the_query(photos: list[Path]) -> None:
    [asked] = list_asked(photos[:2], texts=["red"], other_photos=photos[2:])
    query = asked.read(Image.open)
    assert [len(query.wanted), len(query.unwanted)] == [3, 1]
    assert query.has_texts
    assert not query.is_one_image
    assert AskedQuery((photos[0],)).read(Image.open).is_one_image
    assert not AskedQuery((), ("red",)).read(Image.open).is_one_image


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "nothing is looked for; allowed: images, folders of them, or --text WORDS"),
        (["red", " "], "a text: found none; allowed: words, such as --text 'red mug'"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        list_asked([], texts=texts)
    assert str(error.value) == message


def test_what_is_wanted_and_unwanted_is_refused(photos: list[Path]) -> None:
    for both, options in (
        (photos[1], {"other_photos": [photos[1]]}),
        ("red", {"texts": ["blue", "red"], "other_texts": ["red"]}),
    ):
        with pytest.raises(UserError) as error:
            list_asked(photos, **options)  # type: ignore[arg-type]
        assert str(error.value) == f"{both}: is wanted and unwanted; allowed: one of both"
