"""The progress bar: on a terminal alone, and never in the way of what it shows."""

import io

import pytest

from pipeline.progress import show_progress


class Terminal(io.StringIO):
    """Looks like a terminal and keeps what is written to it."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [3, None])
def test_on_a_terminal_a_bar_is_drawn_and_the_items_are_yielded(
    total: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", terminal)
    items = [object(), object(), object()]
    assert list(show_progress(iter(items), total=total, what="embed baseline")) == items
    assert "embed baseline" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_elsewhere_nothing_is_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert list(show_progress([1, 2], total=2, what="embed baseline")) == [1, 2]
    assert capsys.readouterr() == ("", "")
