"""docs/library.md, of the docstrings of pipeline/api.py: python -m tests.helpers.library_page."""

import ast
import inspect
import re
from collections.abc import Iterator

from pipeline import api
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs/library.md"
BEGIN = "## The functions\n"
LONG = 100


def render() -> str:
    """Return the page: what was written by hand, and then each function as its docstring says."""
    by_hand = PAGE.read_text(encoding="utf-8").partition(BEGIN)[0]
    return by_hand + "\n".join([BEGIN, *(_describe(name) for name in api.__all__)])


def _describe(name: str) -> str:
    function = getattr(api, name)
    text = "\n".join(_with_fences(inspect.getdoc(function) or ""))
    text = re.sub(r"Raises:\n +(\w+): ", r"Raises a \1: ", text)
    return f"### {name}\n\n```python\n{_signature(function)}\n```\n\n{text}\n"


def _signature(function: object) -> str:
    """Return the signature as the source has it, with an argument a line if it is long."""
    [node] = ast.parse(inspect.getsource(function)).body  # type: ignore[arg-type]
    if not isinstance(node, ast.FunctionDef) or node.returns is None:
        raise TypeError(f"{function} is no function with types")
    returned = f" -> {ast.unparse(node.returns)}"
    whole = f"{node.name}({ast.unparse(node.args)}){returned}"
    if len(whole) <= LONG:
        return whole
    args = node.args
    missing = len(args.args) - len(args.defaults)
    defaults = [None] * missing + [*args.defaults]
    lines = [_argument(*each) for each in zip(args.args, defaults, strict=True)]
    named = [_argument(*each) for each in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    lines += ["*", *named] if named else []
    return f"{node.name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){returned}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + ("" if default is None else f" = {ast.unparse(default)}")


def _with_fences(text: str) -> Iterator[str]:
    """Yield the lines, examples between fences."""
    inside = False
    for line in text.splitlines():
        is_example = line.startswith((">>> ", "... ")) or (inside and line != "")
        if is_example != inside:
            yield "```python" if is_example else "```"
            inside = is_example
        yield line
    if inside:
        yield "```"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
