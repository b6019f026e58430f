"""The whole DAG in this process: the commands of dvc.yaml without DVC, which costs no start-ups.

What DVC itself does, and the start of a stage, are tested in clones (tests/helpers/clone.py).
"""

import importlib
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import typer
from ruamel.yaml import YAML

from pipeline.config.load import read_yaml
from tests.helpers.mlflow_store import put_empty_store
from tests.helpers.overlay import overlaid
from tests.helpers.paths import ROOT
from tests.helpers.pools import pools_here

# Fewer images of a page, epochs and resamples, and no worker processes: none of it decides what is
# tested.
QUICK: dict[str, Any] = {
    "train.epochs": 2,
    "train.workers": 0,
    "embed.workers": 0,
    "evaluate.bootstrap": 100,
    "plot": {"points": 100, "rows": 3, "columns": 4},
}


def run_dag(folder: Path, params: Mapping[str, Any], *, until: str | None = None) -> Path:
    """Run all stages in `folder`, with params.yaml as it is but for `params`; return the folder.

    until: run only the stages that this output needs.

    Raises:
        UserError: as the stage that stops.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = overlaid(QUICK | dict(params))
    with (folder / "params.yaml").open("w") as out:
        YAML().dump(values, out)
    shutil.copy(ROOT / "overrides.csv", folder)
    (folder / "added").mkdir(exist_ok=True)
    put_empty_store(folder)
    run_stages(folder, until=until)
    return folder


def run_stages(folder: Path, *, until: str | None = None, threads: int = 1) -> None:
    """Run the stages of dvc.yaml in `folder`, which has params.yaml, in this process.

    until: as in `run_dag`. threads: of torch; with THREADS of portable_bits the bits are those of
    stages that run as processes.
    """
    import torch  # which takes seconds, and most who import this module do without

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with chdir(folder), pools_here():
            values = read_yaml(Path("params.yaml"))
            for command in list_commands(values, until=until):
                _, _, module, *arguments = shlex.split(command)
                main = importlib.import_module(module).main
                app = typer.Typer(add_completion=False)
                app.command()(main)
                app(arguments, standalone_mode=False)
    finally:
        torch.set_num_threads(before)


def list_commands(values: Mapping[str, Any], *, until: str | None = None) -> Iterator[str]:
    """Yield the command of each stage and each item of its matrix, in an order that runs.

    until: only what makes this output.
    """
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    todo = [(stage, item) for stage in stages.values() for item in _items(stage, values)]
    if until:
        todo = _list_makers(until, todo, stages, values)
    made: set[str] = set()
    while todo:
        stage, item = next(pair for pair in todo if _needs(*pair, stages, values) <= made)
        todo.remove((stage, item))
        made |= {_fill(out, item, values) for out in _outputs(stage)}
        yield _fill(stage["cmd"], item, values)


def _list_makers(
    output: str,
    todo: list[tuple[Any, str]],
    stages: Mapping[str, Any],
    values: Mapping[str, Any],
) -> list[tuple[Any, str]]:
    """Return those of `todo` that make `output`, or what is needed to make it."""
    [maker] = [
        (stage, item)
        for stage, item in todo
        if output in {_fill(out, item, {}) for out in _outputs(stage)}
    ]
    makers = [maker]
    for needed in sorted(_needs(*maker, stages, values)):
        makers += [
            pair for pair in _list_makers(needed, todo, stages, values) if pair not in makers
        ]
    return makers


def _items(stage: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    models = stage.get("matrix", {}).get("model", [""])
    return list(values[models[2:-1]] if isinstance(models, str) else models)  # "${models}"


def _outputs(stage: Mapping[str, Any]) -> list[str]:
    listed = [*stage["outs"], *stage.get("metrics", [])]
    return [next(iter(each)) if isinstance(each, Mapping) else each for each in listed]


def _needs(
    stage: Mapping[str, Any], item: str, stages: Mapping[str, Any], values: Mapping[str, Any]
) -> set[str]:
    """Return those of a stage's dependencies that other stages write; of a folder, all in it."""
    written = {
        _fill(out, model, {})
        for each in stages.values()
        for out in _outputs(each)
        for model in _items(each, values)
    }
    deps = {_fill(dep, item, {}) for dep in stage["deps"]}
    return {out for out in written if out in deps or any(out.startswith(f"{dep}/") for dep in deps)}


def _fill(text: str, item: str, values: Mapping[str, Any]) -> str:
    def value_of(match: re.Match[str]) -> str:
        key = match[1]
        if key == "item.model":
            return item
        found: Any = values
        for part in key.split("."):
            found = found.get(part, "") if found else ""
        return str(found)

    return re.sub(r"\$\{([a-z._]+)\}", value_of, text)
