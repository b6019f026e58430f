"""What the tests of the server and of its page share: a small project, served."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.serving.searcher import Searcher
from app.serving.server import build_app
from tests.helpers.serving import serving


@pytest.fixture(scope="module")
def searcher(searchable: Path) -> Searcher:
    return Searcher(searchable, ("baseline", "finetuned"), seed=3)


@pytest.fixture(scope="module")
def address(searcher: Searcher) -> Iterator[str]:
    with serving(build_app(lambda: searcher)) as served:
        yield served
