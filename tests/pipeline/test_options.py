"""A choice gives the options of the chosen name, as an object of the class that declares them."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.options import Choice, Count, Positive, Section, choice


class Square(Section):
    side: Positive


class Dots(Section):
    count: Count


Shape = choice(Choice, {"square": Square, "dots": Dots})


def make_shape(name: str) -> Choice[Any]:
    return Shape.model_validate({"name": name, "square": {"side": 2.5}, "dots": {"count": 3}})


def test_options_are_an_object_of_their_class() -> None:
    assert make_shape("square").options == Square(side=2.5)
    assert make_shape("dots").options == Dots(count=3)


def test_a_choice_is_its_plain_values() -> None:
    blocks = {"square": {"side": 2.5}, "dots": {"count": 3}}
    assert make_shape("dots").model_dump() == {"name": "dots", **blocks}


def test_a_name_without_a_block_is_refused() -> None:
    with pytest.raises(ValidationError, match="found 'dot'; allowed: dots, square"):
        make_shape("dot")
