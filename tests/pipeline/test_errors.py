"""An error is lines that can be read, whatever bytes it quotes."""

import pickle

from pipeline.errors import UserError


def test_what_cannot_be_printed_is_escaped_and_lines_stay_apart() -> None:
    error = UserError("a: found '\x1b[2J\n\x00'", "b: found 'Größe'")
    assert str(error) == "a: found '\\x1b[2J\\n\\x00'\nb: found 'Größe'"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - made here


def test_of_a_very_long_line_the_ends_are_shown() -> None:
    text = str(UserError(f"a.csv: found '{'x' * 100_000}'; allowed: a number"))
    assert text.startswith("a.csv: found 'xxx")
    assert text.endswith("xxx'; allowed: a number")
    assert len(text) == 1803
