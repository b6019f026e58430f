"""Which modules of the project a file imports, read from its syntax tree."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.helpers.paths import ROOT


@dataclass(frozen=True)
class Import:
    """file: the imported module's, relative to the root. name: what is imported from it, None for
    the module itself. bound: the name that it has in the importing file."""

    file: Path
    name: str | None
    bound: str


@cache
def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file, given relative to the root."""
    return ast.parse((ROOT / path).read_text())


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of folders, relative to the root, sorted."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path.relative_to(ROOT) for path in found)


def find_imports(path: Path) -> Iterator[Import]:
    """Yield the imports of the project's own modules in a file: at its top, in functions, and
    those that only a type checker sees."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if file := _module_file(alias.name):
                    yield Import(file, None, alias.asname or alias.name)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import"
            for alias in node.names:
                bound = alias.asname or alias.name
                if file := _module_file(f"{node.module}.{alias.name}"):
                    yield Import(file, None, bound)
                elif file := _module_file(node.module):
                    yield Import(file, alias.name, bound)


def packages_of(path: Path) -> list[Path]:
    """Return the __init__.py of the folders that a file is in, which Python runs before it."""
    inits = [folder / "__init__.py" for folder in path.parents]
    return [init for init in inits if (ROOT / init).is_file() and init != path]


def _module_file(name: str) -> Path | None:
    base = Path(name.replace(".", "/"))
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in files if (ROOT / file).is_file()), None)


def imported_packages(path: Path) -> set[str]:
    """Return the first parts of the names of all that a file imports, as "dvc" of dvc.api."""
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found
