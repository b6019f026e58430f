"""dvc.yaml against the code: each stage depends on the pipeline files it imports, and no others."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import read_yaml
from tests.helpers.paths import ROOT

STAGES: dict[str, Any] = read_yaml(ROOT / "dvc.yaml")["stages"]
# Files that cannot change what a stage writes: checks, messages, progress, tracking. Values of
# params.yaml are dependencies by themselves. To list these would re-run all for a better message.
WITHOUT_EFFECT = {
    "choices",
    "contradictions",
    "errors",
    "load",
    "progress",
    "schema",
    "tracking",
}


def imported(path: Path) -> set[Path]:
    """Return the pipeline files that `path` imports, directly or through others."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        for file in _pipeline_imports(waiting.pop()):
            if file.stem not in WITHOUT_EFFECT and file not in found:
                found.add(file)
                waiting.append(file)
    return {file for file in found if file.name != "__init__.py"}


def _pipeline_imports(path: Path) -> set[Path]:
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
            base = Path((node.module or "").replace(".", "/"))
            modules = [base, *(base / alias.name for alias in node.names)]
            found |= {file for module in modules for file in _files(module)}
    return {file for file in found if (ROOT / file).is_file()}


def _files(module: Path) -> list[Path]:
    return [module.with_suffix(".py"), module / "__init__.py"]


def covered(file: Path, deps: set[Path]) -> bool:
    return file in deps or any(parent in deps for parent in file.parents)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_just_the_pipeline_files_it_imports(stage: str) -> None:
    listed = {Path(dep) for dep in STAGES[stage]["deps"] if dep.startswith("pipeline/")}
    used = imported(Path(f"stages/{stage}.py"))
    assert {file for file in used if not covered(file, listed)} == set()
    assert {dep for dep in listed if not any(covered(file, {dep}) for file in used)} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_everywhere(stage: str) -> None:
    assert f"-m stages.{stage} " in STAGES[stage]["cmd"]
    assert f"stages/{stage}.py" in STAGES[stage]["deps"]


def test_every_param_a_stage_names_is_in_params_yaml() -> None:
    values = read_yaml(ROOT / "params.yaml")
    for stage in STAGES.values():
        for key in stage["params"]:
            section: Any = values
            for part in re.sub(r"\$\{([a-z]+)\.name\}", lambda m: values[m[1]]["name"], key).split(
                "."
            ):
                assert part in section, key
                section = section[part]


@pytest.mark.parametrize("path", sorted((ROOT / "pipeline").rglob("*.py")), ids=str)
def test_the_library_knows_neither_stages_nor_dvc(path: Path) -> None:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert not names & {"stages", "dvc", "typer", "app"}
