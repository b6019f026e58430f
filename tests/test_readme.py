"""README and docs are true: settings are valid, commands and files exist, values are in git."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from app.cli import app
from pipeline.config.dotted_keys import flatten
from pipeline.config.load import check_params, check_values, read_yaml
from pipeline.datasets import DATASETS
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment

DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "images/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]
TEXTS = {name: (ROOT / name).read_text() for name in DOCUMENTS}
README, RESULTS = TEXTS["README.md"], TEXTS["docs/results.md"]
MOST_LINES = {"README.md": 150, "docs/glossary.md": 60}
PARAMS = flatten(read_yaml(ROOT / "params.yaml"))
FOLDERS = "app|benchmarks|docs|images|metrics|pipeline|recipes|stages|tests"

# The metrics in the columns of the tables.
NAMES = ("recall_at_1", "precision_at_5", "map")


def commands(text: str) -> list[str]:
    """Return the lines of the shell blocks of `text`, without comments."""
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.split(" #")[0].strip() for line in lines]


def code_spans(text: str) -> list[str]:
    """Return what stands between backticks in `text`, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def changes(text: str) -> dict[str, Any]:
    """Return the settings of `-S key=value`, as DVC reads them."""
    found = re.findall(r"-S '?([a-z_.]+)=([^\s`']+)", text)
    return {key: YAML(typ="safe").load(value) for key, value in found if "$" not in value}


def committed(name: str, root: Path = ROOT) -> str:
    """Return the file `name` as git has it, staged or committed; without git, as it lies there.

    `make repro` on another kind of processor changes metrics/ in the working tree.
    """
    shown = subprocess.run(
        ["git", "show", f":./{name}"],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return (root / name).read_text() if shown.returncode else shown.stdout


def row_of(text: str, start: str) -> list[str]:
    """Return the cells after `start` in the row of a table that begins with it."""
    row = re.search(rf"^\| {re.escape(start)} \|(.*)\|$", text, flags=re.MULTILINE)
    assert row, f"no row {start}"
    return [cell.strip() for cell in row[1].split("|")]


def first_column(text: str, heading: str) -> set[str]:
    """Return the names in the first column of the table below `heading`."""
    body = text.split(f"\n{heading}\n")[1].split("\n|---")[1].split("\n\n")[0]
    cells = [row.split("|")[1] for row in body.splitlines()[1:]]
    return {span for cell in cells for span in code_spans(cell)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_setting_shown_is_one_of_params_yaml(name: str) -> None:
    for key, value in changes(TEXTS[name]).items():
        assert key in PARAMS, key
        check_values(overlaid({key: value}), where=f"{name}: {key}")


@pytest.mark.parametrize(
    "command", [line for text in TEXTS.values() for line in commands(text) if "-S " in line]
)
def test_the_settings_of_a_command_go_together(command: str) -> None:
    check_params(overlaid(changes(command.replace("$WEIGHTS", "weights.pt"))), where=command)


def test_a_quoted_setting_is_read_as_the_shell_and_dvc_read_it() -> None:
    text = """dvc exp run -S 'index.factory="IVF64,Flat"' -S 'evaluate.k=[1,10]'"""
    assert changes(text) == {"index.factory": "IVF64,Flat", "evaluate.k": [1, 10]}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_param_named_exists(name: str) -> None:
    sections = {key.split(".")[0] for key in PARAMS}
    for span in code_spans(TEXTS[name]):
        key = re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)+)(?:[=:].*)?", span)
        if key and key[1].split(".")[0] in sections:
            assert any(f"{known}.".startswith(f"{key[1]}.") for known in PARAMS), span


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    lines = [*commands("\n".join(TEXTS.values())), *code_spans("\n".join(TEXTS.values()))]
    named = {line.split()[1] for line in lines if line.startswith("make ")}
    assert named >= {"repro", "test", "check"}
    assert {target for target in named if f"\n{target}:" not in makefile} == set()
    assert {line for line in commands(README) if line.startswith("make ")} == {
        "make repro",
        "make test",
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_of_ours_exists_with_its_options(name: str) -> None:
    lines = [*commands(TEXTS[name]), *code_spans(TEXTS[name])]
    for line in lines:
        if line.startswith("lookalike "):
            find_command(line.split()[1:])
        if module := re.match(r"python -m ((?:benchmarks|stages)\.\w+)", line):
            assert (ROOT / f"{module[1].replace('.', '/')}.py").is_file(), line


def find_command(words: list[str]) -> None:
    """Find the command that `words` begin with, and the options among the rest of them."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    known = {option for param in command.params for option in [*param.opts, *param.secondary_opts]}
    assert {word for word in words if word.startswith("-")} <= known | {"--help"}, words


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in re.findall(r"(?:\]\(|src=\"|srcset=\")([^)\"]+)", TEXTS[name]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(file: Path) -> set[str]:
    """Return the anchors of the headings of a Markdown file, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_named_exists(name: str) -> None:
    for span in code_spans(TEXTS[name]):
        if re.fullmatch(rf"(?:{FOLDERS})/[\w./-]*", span) and not span.startswith("images/"):
            assert (ROOT / span).exists(), span


@pytest.mark.parametrize(("name", "most"), MOST_LINES.items())
def test_a_short_document_stays_short(name: str, most: int) -> None:
    assert len(TEXTS[name].splitlines()) <= most


def test_the_tables_name_all_stages_datasets_and_recipes() -> None:
    assert first_column(README, "## The DAG") == set(read_yaml(ROOT / "dvc.yaml")["stages"])
    assert first_column(README, "## Datasets") == set(DATASETS) - {"products", "folder"}
    recipes = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    assert first_column(TEXTS["docs/recipes.md"], "## Recipes") == recipes


@pytest.mark.parametrize("text", [README, RESULTS], ids=["README", "results"])
@pytest.mark.parametrize("model", ["baseline", "finetuned"])
def test_the_default_values_are_those_of_the_committed_metrics(model: str, text: str) -> None:
    metrics = json.loads(committed(f"metrics/details/{model}.json"))
    shown = [
        f"{metrics[name]:.3f} ({metrics[f'{name}_low']:.3f}–{metrics[f'{name}_high']:.3f})"
        for name in NAMES
    ]
    assert row_of(text, f"default, {model}") == shown


def test_the_default_row_of_the_sweep_is_the_default() -> None:
    head, *shown = row_of(RESULTS, "`multi_similarity` (the default)")
    metrics, trained = (
        json.loads(committed(f"metrics/details/{name}.json")) for name in ("finetuned", "train")
    )
    values = [trained["val_map_at_r"], *(metrics[name] for name in NAMES)]
    assert head == f"`{PARAMS['head.name']}`"
    assert shown == [f"{value:.3f}" for value in values]


def test_values_are_read_as_git_has_them(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("committed")
    assert committed("train.json", tmp_path) == "committed"  # where there is no git
    for command in (["init", "--quiet"], ["add", "train.json"]):
        subprocess.run(["git", *command], cwd=tmp_path, env=environment(), check=True)
    (tmp_path / "train.json").write_text("of another processor")
    assert committed("train.json", tmp_path) == "committed"
