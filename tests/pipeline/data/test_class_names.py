import subprocess
import sys

from pipeline.data.class_names import display_names
from tests.helpers.paths import ROOT


def test_classes_that_share_a_name_are_told_apart() -> None:
    assert display_names({3: "cup", 4: "jug", 9: "cup"}) == {3: "cup (3)", 4: "jug", 9: "cup (9)"}


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
