"""A worker of a Dask cluster for this project: `dask worker`, with the settings of `bits`.

Run in the project's folder, with the options of `dask worker`:
python -m stages.worker tcp://10.0.0.1:8786 --nworkers 4
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import dask
from distributed.cli.dask_worker import main
from distributed.utils import get_ip

from stages.cluster import note_code

# One part at a time, as torch and numba have threads of their own; and no page for the network.
DEFAULTS = ("--nthreads", "1", "--dashboard-address", "127.0.0.1:0")
CONFIG = {
    # Processes that load images are its children, which a daemon must not have.
    "distributed.worker.daemon": False,
    # Not the numbers of threads that Dask sets, which would change bits.
    "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": 65536},
    # One with too little memory is ended, and the stage says so, instead of waiting for it.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}


def listen_towards(arguments: Sequence[str]) -> list[str]:
    """Return the option to listen in the network of the scheduler alone, unless one is given.

    Whoever reaches the port of a worker can run what they like.
    """
    given = main.make_context("dask worker", [*arguments], resilient_parsing=True).params
    if any(given[name] for name in ("host", "interface", "listen_address")):
        return []
    address = given["scheduler"] or dask.config.get("scheduler-address", None)
    if given["scheduler_file"]:
        address = json.loads(Path(given["scheduler_file"]).read_text("utf-8"))["address"]
    if address is None:
        return []  # Dask says that it needs one
    host = urlsplit(address if "://" in address else f"//{address}").hostname
    return ["--host", get_ip(host)]  # type: ignore[no-untyped-call]


# In the process that Dask starts for the worker too, and before the code of any part is imported.
note_code()

if __name__ == "__main__":
    dask.config.set(CONFIG)
    sys.argv[1:1] = [*DEFAULTS, *listen_towards(sys.argv[1:])]
    main()
