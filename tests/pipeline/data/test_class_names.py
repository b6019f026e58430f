import subprocess
import sys

import pytest

from pipeline.data.class_names import display_names, names_of
from pipeline.errors import UserError
from tests.helpers.paths import ROOT


def test_classes_that_share_a_name_are_distinguished() -> None:
    assert display_names({3: "cup", 4: "jug", 9: "cup"}) == {3: "cup (3)", 4: "jug", 9: "cup (9)"}


def test_a_name_is_shown_on_one_line_and_still_told_from_another() -> None:
    found = display_names({0: "a\tb", 1: "a b", 2: "two\nlines\u2028more", 3: "👩\u200d💻"})
    assert found == {0: "a b (0)", 1: "a b (1)", 2: "two lines more", 3: "👩\u200d💻"}


def test_the_names_of_an_image_are_sorted() -> None:
    assert names_of([2, 0], {0: "jug", 1: "pot", 2: "cup"}) == ("cup", "jug")


def test_a_label_without_a_name_is_an_error() -> None:
    with pytest.raises(UserError) as caught:
        names_of([0, 7], {0: "cup"})
    assert str(caught.value) == "classes: label 7 has no name; run: dvc repro"


def test_a_search_loads_no_pandas_and_draws_nothing() -> None:
    """To import them costs half a second."""
    program = (
        "import sys, app.searching.catalog; "
        "print([it for it in sys.modules if it == 'pandas' or it.startswith('pipeline.figures')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout == "[]\n"
