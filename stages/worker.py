"""A worker of a Dask cluster for this project: `dask worker`, with the settings of `bits`.

Run in the project's folder, with the options of `dask worker`:
python -m stages.worker tcp://10.0.0.1:8786 --nworkers 4
"""

import os
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

import dask
from distributed.cli.dask_worker import main
from distributed.utils import get_ip

from stages.cluster import STARTED

# One part at a time, as torch and numba have threads of their own; and no page for the network.
DEFAULTS = ("--nthreads", "1", "--dashboard-address", "127.0.0.1:0")
CONFIG = {
    # Processes that load images are its children, which a daemon must not have.
    "distributed.worker.daemon": False,
    # Not the numbers of threads that Dask sets, which would change bits.
    "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": 65536},
}


def listen_towards(arguments: Sequence[str]) -> list[str]:
    """Return the option to listen in the network of the scheduler alone, where none is given."""
    if any(each.startswith(("--host", "--interface", "--listen-address")) for each in arguments):
        return []
    for each in arguments:
        if "://" in each and not each.startswith("-") and (host := urlsplit(each).hostname):
            return ["--host", get_ip(host)]  # type: ignore[no-untyped-call]
    return []


if __name__ == "__main__":
    os.environ[STARTED] = "1"
    dask.config.set(CONFIG)
    sys.argv[1:1] = [*DEFAULTS, *listen_towards(sys.argv[1:])]
    main()
