"""`torchrun`, but a process that fails is one line. Not a stage: it starts one.

In params.yaml: launch: python -m stages.torchrun --nproc-per-node 8
"""

import logging
import os
import sys
from signal import Signals
from typing import NoReturn

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from pipeline.entry import MACHINES_FAULT
from pipeline.logs import set_up_logging
from pipeline.stopping import LAUNCHED, SIGNALS

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    """Start the processes; end with the status of the first that failed, which has said why."""
    set_up_logging("train")
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    logging.disable(logging.WARNING)  # of its loggers that have levels of their own
    os.environ[LAUNCHED] = "1"
    try:
        run.main(arguments)
    except SignalException as error:
        logger.error("stopped by %s", SIGNALS.get(error.sigval, error.sigval.name))
        sys.exit(128 + error.sigval)
    except ChildFailedError as error:
        _leave(*error.get_first_failure())


def _leave(rank: int, failure: object) -> NoReturn:
    status = int(getattr(failure, "exitcode", MACHINES_FAULT))
    if status >= 0:
        sys.exit(status)
    logger.error(
        "process %d of the training was ended by %s, most often because memory ran out; free "
        "some, lower train.workers, train.chunk_size or the number of processes, and run it again",
        rank,
        Signals(-status).name,
    )
    sys.exit(MACHINES_FAULT)


if __name__ == "__main__":
    main(sys.argv[1:])
