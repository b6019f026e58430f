"""The exception for a user's mistake, and the wording of an error about a name."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can correct, described in one line.

    The text says where, what was found, what is allowed and what to do. `stages.runner` logs it
    without a traceback and exits with status 1.
    """


def name_choices(found: str, allowed: Iterable[str]) -> str:
    """Return "found 'x'; allowed: a, b; did you mean 'a'?", the tail of an error about a name."""
    allowed = sorted(allowed)
    close = get_close_matches(str(found), allowed, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"found '{found}'; allowed: {', '.join(allowed)}{hint}"
