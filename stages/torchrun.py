"""`torchrun`, but a process that fails is one line. Not a stage: it starts one.

In params.yaml: launch: python -m stages.torchrun --nproc-per-node 8
"""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM, Signals
from tempfile import TemporaryDirectory

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from pipeline.entry import MACHINES_FAULT
from pipeline.logs import set_up_logging
from pipeline.stopping import LAUNCHED, SIGNALS

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    """Start the processes; end with what the first that failed says, and its status."""
    set_up_logging("train")
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    logging.disable(logging.WARNING)  # of its loggers that have levels of their own
    with TemporaryDirectory() as told:
        os.environ[LAUNCHED] = told  # where each process writes what it would say
        try:
            run.main(arguments)
        except SignalException as error:
            logger.error("stopped by %s", SIGNALS.get(error.sigval, error.sigval.name))
            sys.exit(128 + error.sigval)
        except ChildFailedError as error:
            text, status = _describe(error.failures, Path(told))
            logger.error(text)
            sys.exit(status)


def _describe(failures: Mapping[int, ProcessFailure], told: Path) -> tuple[str, int]:
    """Return what to say of processes that failed, by their ranks, and with which status to end.

    The others fail too when one is gone, so who says why comes first, and then who was killed.
    """
    ranks = sorted(failures, key=lambda rank: failures[rank].timestamp)
    for rank in ranks:
        if (line := told / str(rank)).is_file():
            return line.read_text(encoding="utf-8"), max(MACHINES_FAULT, failures[rank].exitcode)
    killed = [r for r in ranks if failures[r].exitcode < 0 and failures[r].exitcode != -SIGTERM]
    rank = (killed or ranks)[0]
    status = failures[rank].exitcode
    if status >= 0:
        return f"process {rank} of the training ended with status {status}", status
    text = (
        f"process {rank} of the training was ended by {Signals(-status).name}, most often because "
        "memory ran out; free some, lower train.workers, train.chunk_size or the number of "
        "processes, and run it again"
    )
    return text, MACHINES_FAULT


if __name__ == "__main__":
    main(sys.argv[1:])
