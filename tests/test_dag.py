"""dvc.yaml against the code: a stage depends on the code that it imports, and on no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import read_yaml
from pipeline.progress import show_progress
from tests.helpers.imports import (
    Import,
    find_imports,
    imported_packages,
    packages_of,
    parse,
    python_files,
)
from tests.helpers.paths import ROOT

STAGES: dict[str, Any] = read_yaml(ROOT / "dvc.yaml")["stages"]
PROGRAMS = {"variant": "train"}  # stages that run the program of another

SCHEMA = Path("pipeline/config/schema.py")
CONTRADICTIONS = Path("pipeline/config/contradictions.py")
LOAD = Path("pipeline/config/load.py")
VARIANTS = Path("pipeline/config/variants.py")
ERRORS = Path("pipeline/errors.py")
LOGS = Path("pipeline/logs.py")
PROGRESS = Path("pipeline/progress.py")
STOPPING = Path("pipeline/stopping.py")
TRACKING = Path("pipeline/tracking/tracker.py")
TRACKED_EXPERIMENTS = Path("pipeline/tracking/experiments.py")
STORE = Path("pipeline/tracking/store.py")
API, API_CHECKS = Path("pipeline/api.py"), Path("pipeline/api_checks.py")
ENTRY = Path("pipeline/entry.py")
CLUSTER, WORKER = Path("stages/cluster.py"), Path("stages/worker.py")
RUNNER = Path("stages/runner.py")
TORCHRUN = Path("stages/torchrun.py")
# Python runs them before any stage.
PACKAGE, LAUNCH = Path("stages/__init__.py"), Path("pipeline/launch.py")
MLFLOW_RUN = Path("stages/mlflow_run.py")
# Files that cannot change what a stage writes, and what each is used for: the tests below show
# that the code of the stages uses them for nothing else. As dependencies they would re-run all for
# a better message. (The values of params.yaml are dependencies of their own.)
WITHOUT_EFFECT = {
    SCHEMA: "types",
    CONTRADICTIONS: "errors and warnings",
    LOAD: "reading params.yaml",
    VARIANTS: "reading params.yaml",
    ERRORS: "errors",
    LOGS: "messages",
    PROGRESS: "progress bars",
    STOPPING: "the end by a signal",
    TRACKING: "MLflow",
    TRACKED_EXPERIMENTS: "MLflow",
    STORE: "MLflow",
    API: "other programs",
    API_CHECKS: "other programs",
    ENTRY: "the command line",
    CLUSTER: "who computes",
    WORKER: "who computes",
    RUNNER: "the command line, the log and the times",
    TORCHRUN: "the start of several processes",
    MLFLOW_RUN: "MLflow",
}


# --- what a stage depends on --------------------------------------------------------------------


def imported(stage: str) -> set[Path]:
    """Return the files with code that a stage imports, directly or through others."""
    first = Path(f"stages/{PROGRAMS.get(stage, stage)}.py")
    found, waiting = {first}, [first]
    while waiting:
        path = waiting.pop()
        imports = list(find_imports(path))
        files = {
            each.file for each in imports if each.file not in WITHOUT_EFFECT or reads(each, path)
        }
        for file in (path, *(each.file for each in imports)):
            files |= set(packages_of(file))
        waiting += files - found - WITHOUT_EFFECT.keys()
        found |= files
    # What these two do is spelled out by a test below.
    return {file for file in found - {first, PACKAGE, LAUNCH} if has_code(file)}


def reads(each: Import, path: Path) -> bool:
    """Whether `path` uses the schema as data: which sections there are, and in which order."""
    return each.file == SCHEMA and any(
        isinstance(node, ast.Attribute) and node.attr == "model_fields"
        for node in ast.walk(parse(path))
    )


def has_code(path: Path) -> bool:
    """Whether a file holds more than a docstring, as most __init__.py do not."""
    return len(parse(path).body) > 1


def covered(file: Path, deps: set[Path]) -> bool:
    return file in deps or any(parent in deps for parent in file.parents)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_just_the_folders_that_it_imports(stage: str) -> None:
    """A folder, or single files of it where it needs few; each listed once."""
    listed = [
        Path(dep)
        for dep in STAGES[stage]["deps"]
        if dep.startswith(("pipeline/", "stages/"))
        and dep != f"stages/{PROGRAMS.get(stage, stage)}.py"
    ]
    used = imported(stage)
    assert {file for file in used if not covered(file, set(listed))} == set()
    assert {dep for dep in listed if not any(covered(file, {dep}) for file in used)} == set()
    assert [dep for dep in listed if covered(dep, {*listed} - {dep})] == []


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in PROGRAMS])
def test_a_stage_has_one_name_everywhere(stage: str) -> None:
    assert f"-m stages.{stage} " in STAGES[stage]["cmd"]
    assert f"stages/{stage}.py" in STAGES[stage]["deps"]


def test_a_variant_is_trained_as_the_fine_tuned_model_is() -> None:
    train, variant = STAGES["train"], STAGES["variant"]
    assert variant["params"] == [*train["params"], "variants.${item.model}"]
    assert variant["deps"] == train["deps"]
    same = variant["cmd"].replace("--variant ${item.model} ", "")
    for own, of_train in (
        ("models/${item.model}", "models/finetuned"),
        ("train-${item.model}.json", "train.json"),
        ("checkpoints/${item.model}", "checkpoints"),
        ("plots/history/${item.model}.csv", "plots/train_history.csv"),
    ):
        same = same.replace(own, of_train)
    assert same.split() == train["cmd"].split()


def test_every_param_a_stage_names_is_in_params_yaml() -> None:
    values = read_yaml(ROOT / "params.yaml") | {"variants": {"${item": {"model}": {}}}}
    for stage in STAGES.values():
        for key in stage["params"]:
            section: Any = values
            for part in re.sub(r"\$\{([a-z]+)\.name\}", lambda m: values[m[1]]["name"], key).split(
                "."
            ):
                assert part in section, key
                section = section[part]


# --- files without effect -----------------------------------------------------------------------

# The code that decides outputs: all of the library and the stages but the files named above.
TRACKED = [path for path in python_files("pipeline", "stages") if path not in WITHOUT_EFFECT]


def uses(file: Path) -> Iterator[tuple[Path, Import]]:
    """Yield where tracked code imports from `file`."""
    for path in TRACKED:
        for each in find_imports(path):
            if each.file == file:
                yield path, each


def names(file: Path) -> set[str | None]:
    return {each.name for _, each in uses(file)}


def outside_annotations(path: Path, name: str) -> list[ast.AST]:
    """Return the uses of a name in a file, but for those in annotations, each with its line."""
    annotations: list[ast.AST] = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            annotations += ast.walk(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns:
            annotations += ast.walk(node.returns)
    known = {id(node) for node in annotations}
    return [
        node
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Name) and node.id == name and id(node) not in known
    ]


def parents(path: Path) -> dict[int, ast.AST]:
    """Return id of node -> its parent."""
    tree = parse(path)
    return {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def test_a_package_holds_its_description_alone() -> None:
    """Python runs it before each file in it; the others are the table of datasets, and below."""
    packages = [path for path in python_files("pipeline", "stages") if path.name == "__init__.py"]
    assert {path for path in packages if len(parse(path).body) != 1} == {
        *(Path("pipeline/datasets/__init__.py"), PACKAGE)
    }
    for path in packages:
        assert ast.get_docstring(parse(path)), path


@pytest.mark.parametrize("path", python_files("pipeline", "stages"), ids=str)
def test_every_import_is_seen_by_these_tests(path: Path) -> None:
    """None is made from a text: `find_imports` sees import statements alone."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Name):
            assert node.id not in {"__import__", "exec", "eval"}, path
        elif isinstance(node, ast.Import):
            assert not any(each.name.startswith(("importlib", "runpy")) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            # These two read files of installed packages.
            assert node.module in {"importlib.metadata", "importlib.resources"} or not (
                str(node.module).startswith(("importlib", "runpy"))
            ), path


def test_a_stage_fixes_its_bits_before_it_imports_anything_else() -> None:
    """Settings that numpy and torch read when they are imported would come too late."""
    for package, imports in ((PACKAGE, {"sys"}), (Path("app/__init__.py"), {"sys", "pathlib"})):
        described, *statements, last = parse(package).body
        assert isinstance(described, ast.Expr)
        assert isinstance(last, ast.Expr)
        assert ast.unparse(last).startswith("prepare(program=")
        assert ast.unparse(statements[-1]) == "from pipeline.launch import prepare"
        assert imported_packages(package) == imports | {"pipeline"}
        assert all(isinstance(each, ast.Import | ast.ImportFrom) for each in statements)
    [prepare] = [
        each
        for each in parse(LAUNCH).body
        if isinstance(each, ast.FunctionDef) and each.name == "prepare"
    ]
    assert ast.unparse(prepare.body[-1]) == "portable_bits.fix(Path('params.yaml'))"
    assert imported_packages(LAUNCH) == {
        *("contextlib", "pathlib", "pipeline", "resource", "signal", "sys"),
    }
    assert [each.file for each in find_imports(LAUNCH)] == [Path("pipeline/portable_bits.py")]
    assert imported_packages(Path("pipeline/portable_bits.py")) == {
        *("hashlib", "json", "logging", "os", "pathlib", "ruamel", "shutil", "sys"),
    }
    assert not has_code(Path("pipeline/__init__.py"))


def test_each_file_without_effect_is_there() -> None:
    assert {path for path in WITHOUT_EFFECT if not (ROOT / path).is_file()} == set()
    assert not any(path.name == "__init__.py" for path in WITHOUT_EFFECT)


def test_the_schema_is_imported_for_annotations_alone() -> None:
    assert names(SCHEMA) == {"AugmentParams", "Params", "TrainParams"}
    for path, each in uses(SCHEMA):
        assert outside_annotations(path, each.bound) == [], path


CHOICES = Path("pipeline/options.py")
CONSTRAINTS = {"Ge", "Gt", "Le", "Lt", "Len", "MinLen", "Tag"}


def test_the_schema_computes_nothing() -> None:
    """Its classes hold fields without values, and its functions return what they were given.

    That checking changes no value is shown by tests/pipeline/config/test_values_are_kept.py too.
    """
    checks = {node.name for node in parse(SCHEMA).body if isinstance(node, ast.FunctionDef)}
    for node in parse(SCHEMA).body:
        if isinstance(node, ast.ClassDef):
            assert all(
                isinstance(each, ast.Expr) or (isinstance(each, ast.AnnAssign) and not each.value)
                for each in node.body
            ), node.name
        elif isinstance(node, ast.FunctionDef) and node.name != "_choosing":
            returns_what_it_is_given(node)
    for call in annotating_calls(SCHEMA):
        if ast.unparse(call.func) == "AfterValidator":
            assert {ast.unparse(each) for each in call.args} <= checks
        else:
            assert ast.unparse(call.func) in CONSTRAINTS | {"_choosing"}, ast.unparse(call)


def test_the_types_of_values_constrain_and_do_not_convert() -> None:
    calls = annotating_calls(CHOICES)
    assert {ast.unparse(call.func) for call in calls} <= CONSTRAINTS | {"AfterValidator"}
    checks = {
        ast.unparse(each)
        for call in calls
        if ast.unparse(call.func) == "AfterValidator"
        for each in call.args
    }
    for node in parse(CHOICES).body:
        if isinstance(node, ast.FunctionDef) and node.name in checks:
            returns_what_it_is_given(node)
            checks.remove(node.name)
    assert not checks
    validators = [
        node
        for node in ast.walk(parse(CHOICES))
        if isinstance(node, ast.FunctionDef)
        and any("validator" in ast.unparse(each) for each in node.decorator_list)
    ]
    assert [node.name for node in validators] == ["_has_a_block"]
    returns_what_it_is_given(validators[0])
    assert all(
        "validator" not in (ROOT / path).read_text().lower() for path in TRACKED if path != CHOICES
    ), "options beside the code have types alone"


def annotating_calls(path: Path) -> list[ast.Call]:
    """Return the calls within Annotated[...]."""
    return [
        call
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated"
        for call in ast.walk(node.slice)
        if isinstance(call, ast.Call)
    ]


def returns_what_it_is_given(function: ast.FunctionDef) -> None:
    nodes = list(ast.walk(function))
    returned = [ast.unparse(each) for each in nodes if isinstance(each, ast.Return)]
    assert returned == [f"return {function.args.args[-1].arg}"], function.name
    for each in nodes:
        if isinstance(each, ast.Attribute | ast.Subscript):
            assert isinstance(each.ctx, ast.Load), function.name
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
            assert each.id != function.args.args[0].arg, function.name


def test_contradictions_are_raised_or_logged_and_nothing_else() -> None:
    assert names(CONTRADICTIONS) == {"refuse_label_sets"}
    for path, each in uses(CONTRADICTIONS):
        for use in outside_annotations(path, each.bound):
            call = parents(path)[id(use)]
            user = parents(path)[id(call)]
            if each.name == "refuse_label_sets":
                assert isinstance(user, ast.Expr), path
            else:
                assert isinstance(user, ast.For), path
                assert user.iter is call
                (only,) = user.body
                assert ast.unparse(only).startswith("logger."), path


def test_errors_are_raised_caught_or_worded_and_nothing_else() -> None:
    assert names(ERRORS) == {
        *(
            "UserError",
            "advise_making",
            "all_faults",
            "name_choices",
            "name_first",
            "one_line",
        )
    }
    for path, each in uses(ERRORS):
        of = parents(path)
        for use in outside_annotations(path, each.bound):
            above: list[ast.AST] = [use]
            while id(above[-1]) in of:
                above.append(of[id(above[-1])])
            if each.name == "UserError":
                assert isinstance(
                    next(
                        node
                        for node in above[1:]
                        if not isinstance(node, ast.Call | ast.Tuple | ast.IfExp)
                    ),
                    ast.Raise | ast.ExceptHandler | ast.ClassDef | ast.Return,
                ), path
            else:
                assert ends_in_raise(use, path), f"{path}: line {use.lineno}"


def ends_in_raise(use: ast.AST, path: Path, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a value is for the text of an exception alone, by way of variables too.

    seen: the variables on the way, so that one that is made of itself is followed once.
    """
    of, statement = parents(path), use
    while not isinstance(statement, ast.stmt):
        statement = of[id(statement)]
    function: ast.AST = statement
    while not isinstance(function, ast.FunctionDef):
        function = of[id(function)]
    if isinstance(statement, ast.Return):  # of a function that makes an error for its caller
        return function.returns is not None and ast.unparse(function.returns) == "UserError"
    if not isinstance(statement, ast.Assign):
        return isinstance(statement, ast.Raise)
    (target,) = statement.targets
    if ast.unparse(target) in seen:
        return True
    seen |= {ast.unparse(target)}
    reads = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Load)
        and node.id == ast.unparse(target)
    ]
    return reads != [] and all(ends_in_raise(node, path, seen) for node in reads)


def test_only_the_start_of_processes_is_kept_from_signals() -> None:
    assert names(STOPPING) == {"unreached", "ended_first", "WorkerPool"}
    for path, each in uses(STOPPING):
        of = parents(path)
        for use in outside_annotations(path, each.bound):
            item = of[id(of[id(use)])]
            assert isinstance(item, ast.withitem), path
            assert (item.optional_vars is None) == (each.name != "WorkerPool"), path


def test_a_progress_bar_yields_what_it_is_given() -> None:
    assert names(PROGRESS) == {"show_progress"}
    items = [object(), object()]
    assert list(show_progress(iter(items), total=None, what="")) == items


def test_params_are_read_and_the_log_is_set_up_by_the_runner_alone() -> None:
    assert names(LOAD) == names(LOGS) == names(ENTRY) == set()
    names_of_stages = {None, "load", "load_trained", "run", "is_first_process", "times"}
    assert names(RUNNER) <= names_of_stages
    for path, each in uses(RUNNER):
        if each.name is None:
            attributes = {
                node.attr
                for node in ast.walk(parse(path))
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == each.bound
            }
            assert attributes <= names_of_stages, path


def test_what_is_for_other_programs_is_used_by_them_alone() -> None:
    assert names(API) == names(API_CHECKS) == set()


def test_who_computes_is_opened_and_handed_on_and_nothing_else() -> None:
    assert names(CLUSTER) == {"open_workers"}
    assert names(WORKER) == set()
    for path, each in uses(CLUSTER):
        for use in outside_annotations(path, each.bound):
            item = parents(path)[id(parents(path)[id(use)])]
            assert isinstance(item, ast.withitem), path
            assert item.optional_vars is not None
            assert ast.unparse(item.optional_vars) == "workers", path


def test_nothing_is_read_back_from_mlflow() -> None:
    """A tracker is made, passed on and called; nothing uses what it returns."""
    assert names(TRACKING) == {"Tracker"}
    assert names(MLFLOW_RUN) == {"describe_run"}
    for path, each in uses(TRACKING):
        made = {
            ast.unparse(node.targets[0])
            for node in ast.walk(parse(path))
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith(each.bound + "(")
        }
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in made:
                call = parents(path)[id(node)]
                whole = parents(path)[id(call)]
                assert isinstance(whole, ast.Expr | ast.withitem), path
                assert getattr(whole, "optional_vars", None) is None, path


# --- who may import whom ------------------------------------------------------------------------

# A folder of the library imports from folders of the lines above its own; `config` is apart.
LEVELS = [
    {"data", "tracking"},
    {"health"},
    {"datasets", "splitting", "index", "models"},
    {"packing", "mining", "evaluation"},
    {"comparison", "training"},
    {"figures"},
    {"report"},
]
# What config imports of the code: the tables of options, and the classes in them.
OPTIONS = {
    Path("pipeline/options.py"),
    Path("pipeline/datasets/__init__.py"),
    Path("pipeline/index/postprocessing_options.py"),
    Path("pipeline/models/packaged_weights.py"),
    Path("pipeline/training/batches.py"),
    Path("pipeline/training/losses.py"),
    Path("pipeline/training/miners.py"),
    Path("pipeline/training/optimizers.py"),
    Path("pipeline/training/validation_metrics.py"),
}


def folder(path: Path) -> str:
    """Return the folder of the library that a file is in; of a file beside them, its name."""
    return path.parts[1]


def test_every_folder_of_the_library_has_a_level() -> None:
    known = {name for level in LEVELS for name in level} | {"config"}
    assert {folder(path) for path in python_files("pipeline") if len(path.parts) > 2} == known


@pytest.mark.parametrize("path", python_files("pipeline"), ids=str)
def test_a_folder_imports_from_those_below_it(path: Path) -> None:
    level = {name: number for number, level in enumerate(LEVELS) for name in level}
    for each in find_imports(path):
        here, there = folder(path), folder(each.file)
        if here in level and there in level and here != there:
            assert level[there] < level[here], f"{path} imports {each.file}"


def test_config_imports_the_options_beside_the_code_and_nothing_else() -> None:
    for path in python_files("pipeline/config"):
        beside = {each.file for each in find_imports(path) if folder(each.file) != "config"}
        assert beside <= OPTIONS | {ERRORS}, path


def test_schema_contradictions_and_load_import_in_this_direction() -> None:
    config = {
        path: {each.file for each in find_imports(path)} for path in python_files("pipeline/config")
    }
    assert SCHEMA in config[CONTRADICTIONS] & config[LOAD]
    assert CONTRADICTIONS in config[LOAD]
    assert {CONTRADICTIONS, LOAD} & config[SCHEMA] == set()
    assert LOAD not in config[CONTRADICTIONS]


def test_no_module_imports_itself_through_others() -> None:
    """Imports in functions and those for type checkers count too."""
    left = {
        path: {each.file for each in find_imports(path)} - {path}
        for path in python_files("pipeline", "stages", "app")
    }
    while free := {path for path, wanted in left.items() if not wanted & left.keys()}:
        left = {path: wanted for path, wanted in left.items() if path not in free}
    assert left == {}


@pytest.mark.parametrize("path", python_files("pipeline"), ids=str)
def test_the_library_knows_neither_stages_nor_dvc(path: Path) -> None:
    assert not imported_packages(path) & {"stages", "dvc", "typer", "app"}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in PROGRAMS])
def test_a_stage_imports_no_stage(stage: str) -> None:
    others = {each.file for each in find_imports(Path(f"stages/{stage}.py"))}
    assert not others & {Path(f"stages/{name}.py") for name in STAGES}
