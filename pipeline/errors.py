"""The exception for a user's mistake, and the wording of errors about names and files."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from unicodedata import category

# How many faults of one kind an error names.
SHOWN = 10
# Of a line of an error, the characters that are shown at its beginning and at its end: what it
# quotes may be of any length.
FIRST, LAST = 1200, 600


class UserError(Exception):
    """A mistake that the user can correct, in one line.

    Several mistakes in params.yaml or in a table have one line each. What it quotes may come from a
    file of any bytes: what cannot be printed is escaped, and of a very long line the middle left
    out.
    The text says where, what was found, what is allowed and what to do. `pipeline.entry` logs it
    without a traceback and exits with status 2.

    >>> str(UserError("a.csv: found 'b\\n\\x1b[2J'", "a.csv: 2 faults in all"))
    "a.csv: found 'b\\\\n\\\\x1b[2J'\\na.csv: 2 faults in all"
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*(_shorten(escape_unprintable(line)) for line in lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def escape_unprintable(text: str) -> str:
    """Return `text` in one line: line breaks and all that cannot be printed as escapes.

    Spaces of other widths stay, as names of files have them.

    A file name may be any bytes but a slash; Python keeps those that are not UTF-8 as lone
    surrogates, which can be neither printed nor written to a table.
    """
    return "".join(
        char if char.isprintable() or category(char) == "Zs" else _escape(char) for char in text
    )


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _shorten(line: str) -> str:
    return line if len(line) <= FIRST + LAST + 3 else f"{line[:FIRST]} … {line[-LAST:]}"


def one_line(error: Exception) -> str:
    """Return what an exception of another library says, or its class if it says nothing.

    >>> one_line(ValueError("in line 3:\\n  no number")), one_line(EOFError())
    ('in line 3: no number', 'EOFError')
    """
    return " ".join(str(error).split()) or type(error).__name__


def advise_making(*, fetch: str = "dvc pull") -> str:
    """Return how to get what a stage writes, the tail of an error about a missing file.

    fetch: the command that brings it from a remote, which not every project has.
    """
    return f"make it: dvc repro, or if the project has a remote, fetch it: {fetch}"


def name_choices(found: str, allowed: Iterable[str]) -> str:
    """Return "found 'x'; allowed: a, b; did you mean 'a'?", the tail of an error about a name."""
    allowed = sorted(allowed)
    close = closest(found, allowed)
    hint = "" if close is None else f"; did you mean '{close}'?"
    return f"found '{found}'; allowed: {', '.join(allowed)}{hint}"


def closest(found: str, allowed: Iterable[str]) -> str | None:
    """Return the name of `allowed` that was probably meant by `found`, or None."""
    return next(iter(get_close_matches(str(found), sorted(allowed), n=1)), None)


def name_first(names: Sequence[str]) -> str:
    """Return the first SHOWN of `names` in quotes, and how many more there are.

    >>> name_first(["cat", "dog"]), name_first([str(number) for number in range(25)])[-15:]
    ("'cat', 'dog'", "'9' and 15 more")
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more


def all_faults(faults: Sequence[str], *, where: str) -> UserError:
    """Return the error with a line for each of `faults` of the file `where`: the first SHOWN, and
    their number."""
    if len(faults) == 1:
        return UserError(faults[0])
    first = f", the first {SHOWN} of them above" if len(faults) > SHOWN else ""
    return UserError(*faults[:SHOWN], f"{where}: {len(faults)} faults in all{first}")
