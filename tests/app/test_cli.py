"""The command line: its version, its log options, and how little it imports."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import cli
from tests.helpers.paths import ROOT
from tests.helpers.processes import run_module


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    ran = run_module(tmp_path, "app.cli", "--version")
    assert (ran.returncode, ran.stdout) == (0, f"lookalike {version('lookalike')}\n")


def test_the_help_imports_nothing_that_takes_long(tmp_path: Path) -> None:
    (tmp_path / "show_help.py").write_text(
        "import sys\n"
        "from app.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print(*sorted({'numpy', 'pandas', 'pydantic', 'torch', 'dvc'} & sys.modules.keys()))\n"
    )
    ran = run_module(tmp_path, "show_help")
    assert ran.returncode == 0, ran.stderr
    assert "sweep" in ran.stdout
    assert ran.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    ("options", "verbose", "quiet"),
    [([], False, False), (["-v"], True, False), (["-q"], False, True)],
)
def test_the_log_has_the_name_of_the_command_and_the_level_of_the_options(
    options: list[str], verbose: bool, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    calls: list[tuple[str, Any]] = []
    monkeypatch.setattr(cli, "set_up_logging", lambda name, **level: calls.append((name, level)))
    assert CliRunner().invoke(cli.app, [*options, "recipe", "list"]).exit_code == 0
    assert calls == [("recipe", {"verbose": verbose, "quiet": quiet})]
