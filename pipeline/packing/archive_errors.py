"""What is wrong with a member of an archive, in one line."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError, one_line


def member_error(archive: Path, member: str, *, found: str) -> UserError:
    """Return the error of a member that cannot be unpacked. found: what it is or has."""
    return UserError(
        f"{archive}: member '{member}' {found}; allowed: files and folders inside the archive; "
        "make a new archive without it"
    )


def leads_out(name: str, target: str, *, archive: Path) -> UserError:
    """Return the error of a link that leads out of the archive."""
    return member_error(archive, name, found=f"is a link to a path outside, '{target}'")


@contextmanager
def name_as_user_error(name: str, *, archive: Path) -> Iterator[None]:
    """Raise what writing the member `name` gives, if it is the member's fault, as a UserError.

    An error of the disk stays what it is.
    """
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise member_error(archive, name, found="is both a file and a folder") from None
    except RuntimeError as error:  # an encrypted zip, or an unknown method of compression
        found = f"cannot be read ({one_line(error)})"
        raise member_error(archive, name, found=found) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise member_error(archive, name, found="has a name too long for this disk") from None
