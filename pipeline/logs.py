"""Messages to people: every module logs, and one handler of the process prints on stderr.

A line begins with the stage or command that says it: "split: no image is for validation".
"""

import logging
import sys
from contextlib import suppress

# A stage that runs as `python -m stages.split` logs as __main__.
ROOTS = ("pipeline", "stages", "app", "__main__")


class _Handler(logging.Handler):
    """Prints to whatever sys.stderr is at that moment, as `print` would."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(AttributeError, OSError, ValueError):  # closed, or nobody reads it any more
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()


def set_up_logging(name: str, *, verbose: bool = False, quiet: bool = False) -> None:
    """Print the log of this product on stderr, each line after `name`.

    verbose: details too (debug). quiet: warnings and errors alone. Messages of other libraries are
    left to them. Called again, the earlier call counts no more.
    """
    handler = _Handler()
    handler.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    for root in ROOTS:
        logger = logging.getLogger(root)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
