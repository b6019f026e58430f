"""Messages: each once, after the name of its stage or command, and no others' messages."""

import logging

import pytest

from pipeline.logs import set_up_logging


def say(capsys: pytest.CaptureFixture[str], **options: bool) -> str:
    set_up_logging("split", **options)
    set_up_logging("split", **options)  # a second time, as a test or a notebook would
    logger = logging.getLogger("pipeline.splitting")
    logger.debug("a detail")
    logger.info("100%% of %s", "it")
    logger.warning("a warning")
    logging.getLogger("numba").info("not ours")
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ({}, "split: 100% of it\nsplit: a warning\n"),
        ({"verbose": True}, "split: a detail\nsplit: 100% of it\nsplit: a warning\n"),
        ({"quiet": True}, "split: a warning\n"),
    ],
)
def test_a_line_begins_with_the_name_and_stands_once(
    capsys: pytest.CaptureFixture[str], options: dict[str, bool], printed: str
) -> None:
    assert say(capsys, **options) == printed
