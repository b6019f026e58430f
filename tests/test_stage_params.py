"""dvc.yaml lists, for each stage, exactly the params that its code reads.

All of params.yaml is one object, which the code calls `params` and hands on whole. So what a stage
reads are the attributes of `params` in the files that it imports.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.schema import CHOICES, Params
from pipeline.options import Section
from pipeline.report.shown_params import HIDDEN
from tests.helpers.imports import parse
from tests.test_dag import PROGRAMS, STAGES, TRACKED, imported, parents

SHOWN = Path("pipeline/report/shown_params.py")
BITS = Path("pipeline/portable_bits.py")
TRAIN = Path("stages/train.py")


def reads_of(path: Path) -> set[str]:
    """Return the dotted keys that a file reads; of a choice "loss.name", "loss.${loss.name}"."""
    of, found = parents(path), set()
    if path == BITS:  # its `params` is the path of the file
        return {"bits"}
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.Attribute) or isinstance(of[id(node)], ast.Attribute):
            continue
        text = re.fullmatch(r"(?:\w+\.)?params((?:\.\w+)+)", ast.unparse(node))
        if text and (keys := text[1][1:].removesuffix(".model_dump")) != "model_dump_json":
            section, _, rest = keys.partition(".")
            if section not in CHOICES:
                found.add(keys)
            else:
                found |= keys_of_choice(section, rest)
    if path == SHOWN:  # the report shows all but what no output depends on
        for section in Params.model_fields.keys() - {*HIDDEN}:
            found |= choice_of(section) if section in CHOICES else {section}
    return found


def keys_of_choice(section: str, attribute: str) -> set[str]:
    if attribute in CHOICES[section].model_fields and attribute not in blocks_of(section):
        return {f"{section}.{attribute}"}
    if is_constant(section, attribute.removeprefix("options.")):
        return {f"{section}.name"}
    return choice_of(section)


def blocks_of(section: str) -> dict[str, type[Section]]:
    """Return name -> type of each block of a choice."""
    fields = CHOICES[section].model_fields.items()
    kinds = {name: field.annotation for name, field in fields}
    return {
        name: kind
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Section)
    }


def is_constant(section: str, attribute: str) -> bool:
    """Whether the type of a block has this value, as `mined` of batches: the name decides it."""
    kinds = blocks_of(section).values()
    return all(isinstance(getattr(kind, attribute, None), bool) for kind in kinds)


def choice_of(section: str) -> set[str]:
    return {f"{section}.name", f"{section}.${{{section}.name}}"}


def keys_of(key: str) -> Iterator[str]:
    """Yield a listed key, or those of the section that it is."""
    kind: Any = Params
    for part in key.split("."):
        field = kind.model_fields.get(part) if kind else None
        kind = field.annotation if field else None
    if isinstance(kind, type) and issubclass(kind, Section):
        for name in kind.model_fields:
            yield from keys_of(f"{key}.{name}")
    else:
        yield key


def is_part(key: str, of: str) -> bool:
    return key == of or key.startswith(f"{of}.")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_exactly_the_params_that_it_reads(stage: str) -> None:
    listed = [key for key in STAGES[stage]["params"] if key != "variants.${item.model}"]
    program = Path(f"stages/{PROGRAMS.get(stage, stage)}.py")
    read = set().union(*map(reads_of, {program, *imported(stage)}))
    if stage == "track":  # its one output has none of it; MLflow gets all
        read.add("track")
    assert {key for key in read if not any(is_part(key, each) for each in listed)} == set()
    single = {key for each in listed for key in keys_of(each)}
    assert {key for key in single if not any(is_part(key, each) for each in read)} == set()


@pytest.mark.parametrize("path", TRACKED, ids=str)
def test_all_of_params_is_called_params_and_handed_on_whole(path: Path) -> None:
    """Or its attributes are read, by name."""
    of = parents(path)
    for node in ast.walk(parse(path)):
        if (
            isinstance(node, ast.arg)
            and node.annotation
            and "Params"
            in {each.id for each in ast.walk(node.annotation) if isinstance(each, ast.Name)}
        ):
            assert node.arg == "params"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"load", "runner.load"}:
            use = of[id(node)]
            named = isinstance(use, ast.Assign) and ast.unparse(use.targets[0]) == "params"
            assert named or ast.unparse(use).startswith("describe_run("), ast.unparse(use)
        is_params = (
            isinstance(node, ast.Name | ast.Attribute)
            and isinstance(node.ctx, ast.Load)
            and re.fullmatch(r"(\w+\.)?params", ast.unparse(node))
        )
        if is_params and path not in {SHOWN, BITS}:
            use = of[id(node)]
            if isinstance(use, ast.Tuple):  # self.model, self.params = model, params
                use = of[id(use)]
            if isinstance(use, ast.Call) and ast.unparse(use.func) in {"getattr", "vars", "type"}:
                raise AssertionError(f"{path}: {ast.unparse(use)}")
            handed_on = isinstance(use, ast.Call | ast.keyword | ast.Assign)
            assert handed_on or isinstance(use, ast.Attribute), f"{path}: {ast.unparse(use)}"


def test_only_the_key_of_a_checkpoint_is_made_of_whole_sections() -> None:
    """It decides whether epochs are computed again, not what they give."""
    uses = [
        (path, ast.unparse(node))
        for path in TRACKED
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute)
        and re.fullmatch(r"(\w+\.)?params\.(model_|copy|json|dict)\w*", ast.unparse(node))
    ]
    assert uses == [(TRAIN, "params.model_dump_json")]
