"""Where the project is, as seen from the temporary copy of it in which an experiment runs."""

import os
from pathlib import Path


def project_root() -> Path:
    """Return the project's root, from the temporary folder of a queued experiment too."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())
