"""Progress: a bar on a terminal, a line elsewhere, and never in the way of what it shows."""

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


def test_elsewhere_what_is_short_is_not_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert list(show_progress([1, 2], total=2, what="embed baseline")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_elsewhere_a_line_every_ten_seconds_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    seconds = iter(range(0, 1000, 4))
    monkeypatch.setattr("pipeline.progress.time.monotonic", lambda: next(seconds))
    assert list(show_progress(range(10), total=10, what="embed")) == [*range(10)]
    assert caplog.messages == [
        "embed: 2 of 10, 48 s left",
        "embed: 5 of 10, 24 s left",
        "embed: 8 of 10, 9 s left",
    ]


def test_of_several_processes_one_tells(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("pipeline.progress.SECONDS", 0.0)
    monkeypatch.setattr("pipeline.progress.is_first_process", lambda: False)
    assert list(show_progress([1, 2], total=2, what="epoch 1")) == [1, 2]
    assert caplog.messages == []
