"""The exception for a user's mistake, and the wording of errors about names and files."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can correct, in one line; several of params.yaml have one line each.

    The text says where, what was found, what is allowed and what to do. `stages.runner` logs it
    without a traceback and exits with status 1.
    """


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
