"""Where others find the repository of a project."""

from pathlib import Path

from app.experiments.git import list_remotes
from app.publishing.shared_params import is_public_address
from pipeline.errors import UserError


def find_public_remote(root: Path) -> str | None:
    """Return the address of git's remote `origin`, or of the only one; None unless it may be shown.

    Of several others it is not known which has the project.
    """
    try:
        remotes = list_remotes(root)
    except UserError:  # git is not installed
        return None
    only = next(iter(remotes.values())) if len(remotes) == 1 else None
    address = remotes.get("origin", only)
    return address if address is not None and is_public_address(address) else None
