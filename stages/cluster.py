"""Who does the work of a stage: this machine, or the workers of a Dask cluster (`cluster`).

No output depends on it: each worker must have the code, libraries and settings of this process.
"""

import asyncio
import logging
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from pipeline.errors import UserError
from pipeline.machine import describe_machine
from pipeline.portable_bits import read_settings
from pipeline.stopping import WorkerPool
from pipeline.workers import Workers
from stages.stage_code import fingerprint_code

if TYPE_CHECKING:
    from distributed import Client

    # A worker is to import as little as it can before it notes its code.
    from pipeline.config.schema import Params

P = ParamSpec("P")
R = TypeVar("R")
Description = Mapping[str, str]

SECONDS = 30.0  # to wait for a scheduler, and then for its first worker
# With `bits: portable`, these change no bits.
OF_THE_PROCESSOR = {"processor", "extensions", "cores"}

logger = logging.getLogger(__name__)


@contextmanager
def open_workers(params: "Params", folder: Path, *, processes: int = 0) -> Iterator[Workers]:
    """Yield the workers of the cluster; without one, a pool of `processes`, or for 0 this process.

    folder: one that all of them can read and write. On a cluster, relative paths in work are those
    of this process.

    Raises:
        UserError: no scheduler or worker answers, a worker is not as this process, or the cluster
            loses workers.
    """
    if params.cluster is not None:
        with _open_cluster(params.cluster, params.bits) as executor:
            yield Workers(executor, folder)
    elif processes:
        with WorkerPool(processes) as pool:
            yield Workers(pool, folder)
    else:
        yield Workers()


@contextmanager
def _open_cluster(address: str, bits: str) -> Iterator[Executor]:
    from distributed import KilledWorker

    client = _connect(address)
    ended = threading.Event()
    try:
        executor = _ClusterExecutor(client, _check_workers(client, address, bits), address, bits)
        threading.Thread(target=_watch, args=(client, address, ended), daemon=True).start()
        try:
            yield executor
        except (KilledWorker, CancelledError) as error:
            raise UserError(_describe_loss(address, error)) from None
        except ImportError as error:
            text = f"cluster: a worker does not have the code of this project ({error})"
            raise UserError(f"{text}; {_start(address)}") from None
        finally:
            executor.shutdown(wait=False)
    finally:
        ended.set()
        client.close()  # type: ignore[no-untyped-call]


def _connect(address: str) -> "Client":
    import dask
    from distributed import Client

    # What it would say in tracebacks is said here, in a line.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        parts = urlsplit(address)
        if parts.scheme == "tls" and dask.config.get("distributed.comm.tls.client.cert") is None:
            raise ValueError("without distributed.comm.tls.client.cert in Dask's configuration")
        # A client would try for as long as it takes, and leave threads where it gives up.
        socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS).close()
        asyncio.run(_greet(address))
        return Client(address, timeout=SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        text = " ".join(str(error).split()) or f"no answer for {SECONDS:g} s"
        raise UserError(
            f"cluster: no Dask scheduler answers at '{address}' ({text}); allowed: the address of "
            "one, such as tcp://10.0.0.1:8786, or null, which is this machine alone"
        ) from None


async def _greet(address: str) -> None:
    """Raise an OSError unless something there speaks as Dask does."""
    from distributed import Security
    from distributed.comm import connect  # type: ignore[attr-defined]

    security = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    greeting = connect(address, timeout=SECONDS, **security)  # type: ignore[no-untyped-call]
    comm = await asyncio.wait_for(greeting, SECONDS)
    comm.abort()


def _watch(client: "Client", address: str, ended: threading.Event) -> None:
    """Say it once if there is no worker for long: the stage waits for one."""
    missing_since = time.monotonic()
    while not ended.wait(SECONDS / 10):
        if client.status != "running" or client.nthreads():  # type: ignore[no-untyped-call]
            missing_since = time.monotonic()
        elif time.monotonic() - missing_since > SECONDS:
            logger.warning(
                "cluster: the scheduler at %s has no worker any more, so the stage waits; %s",
                *(address, _start(address)),
            )
            return


def _check_workers(client: "Client", address: str, bits: str) -> Description:
    """Return what every worker must say of itself, as those do that there are."""
    try:
        client.wait_for_workers(1, timeout=SECONDS)
    except TimeoutError:
        raise UserError(
            f"cluster: the scheduler at {address} has no worker; allowed: one or more; "
            f"{_start(address)}"
        ) from None
    found = client.run(describe_worker, bits, on_error="return")
    here = describe_process(bits, fingerprint_code())
    first = next((each for each in found.values() if not isinstance(each, Exception)), here)
    expected = expect(here, first, bits)
    faults = [
        fault
        for worker, said in found.items()
        if (fault := find_fault(worker, said, expected)) is not None
    ]
    threads = client.nthreads()  # type: ignore[no-untyped-call]
    faults += [_tell_threads(worker, count) for worker, count in threads.items() if count > 1]
    if faults:
        raise UserError(*(f"{fault}; {_start(address)}" for fault in faults))
    logger.info("cluster: %d workers of %s", len(found), address)
    return expected


def _tell_threads(worker: str, count: int) -> str:
    return f"cluster: worker {worker} works on {count} parts at a time; allowed: 1 (--nthreads 1)"


def _start(address: str) -> str:
    return f"in the folder of this project, start: python -m stages.worker {address}"


def describe_process(bits: str, code: str) -> dict[str, str]:
    """Return name -> text of all in this process that may change the bits of a part."""
    about = {"code": code, "distributed": version("distributed")}
    return about | describe_machine(bits) | read_settings()


class _Started:
    """The code of this process as a worker; None where it is none."""

    code: str | None = None


def note_code() -> None:
    """Note the code that this process has as a worker, before it imports more of it."""
    _Started.code = fingerprint_code()


@cache
def describe_worker(bits: str) -> dict[str, str]:
    """Return `describe_process` of a worker.

    Raises:
        UserError: it was not started by stages/worker.py.
    """
    if _Started.code is None:
        raise UserError("was not started by python -m stages.worker")
    return describe_process(bits, _Started.code)


def expect(here: Description, first: Description, bits: str) -> dict[str, str]:
    """Return what workers must say: what this process does, but for the kind of GPU, which need be
    the same only among themselves."""
    ignored = OF_THE_PROCESSOR if bits == "portable" else set()
    expected = {name: text for name, text in here.items() if name not in ignored}
    return expected | {"gpu": _kinds(first["gpu"])}


def _kinds(gpus: str) -> str:
    return ", ".join(sorted(set(gpus.split(", "))))


def find_fault(worker: str, found: Description | Exception, expected: Description) -> str | None:
    """Return the line about a worker that is not as `expected`, None if it is."""
    where = f"cluster: worker {worker}"
    if isinstance(found, UserError):
        return f"{where} {found}"
    if isinstance(found, Exception):
        return f"{where} does not have the code of this project ({type(found).__name__}: {found})"
    theirs = dict(found) | {"gpu": _kinds(found["gpu"])}
    for name in {**expected, **theirs}:
        if name in OF_THE_PROCESSOR and name not in expected:
            continue
        wanted, has = expected.get(name, "nothing"), theirs.get(name, "nothing")
        if wanted != has:
            return f"{where} has {name} {has}; allowed: {wanted}, as here"
    return None


class _ClusterExecutor(Executor):
    """The cluster of `client`; a part is done in the folder of this process, by its likes alone."""

    def __init__(self, client: "Client", expected: Description, address: str, bits: str) -> None:
        # Two calls with equal arguments are two calls: what they write is not kept.
        self._executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
        self._checked = (Path.cwd(), expected, bits, address)

    def submit(self, function: Callable[P, R], /, *args: P.args, **options: P.kwargs) -> Future[R]:
        """Return the future of a call by a worker."""
        call = partial(_call, self._checked, function, *args, **options)
        # As bytes, and by a function that travels whole, as a lambda does: the scheduler reads what
        # it passes on, and may not have this code.
        future: Future[R] = self._executor.submit(
            lambda pickled: pickle.loads(pickled)(),  # noqa: S301 (pickled here)
            pickle.dumps(call),
        )
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Give up what is not done; `wait` for all first."""
        self._executor.shutdown(wait=wait and not cancel_futures)


def _call(
    checked: tuple[Path, Description, str, str],
    function: Callable[..., R],
    *args: Any,
    **options: Any,
) -> R:
    """Call a function in the folder of the process that asks for it, which relative paths are of.

    A worker that came after the others were checked is checked here.
    """
    from distributed import get_worker

    folder, expected, bits, address = checked
    worker = get_worker()
    fault = find_fault(worker.address, _describe_or_fault(bits), expected)
    if fault is None and worker.state.nthreads > 1:
        fault = _tell_threads(worker.address, worker.state.nthreads)
    if fault is not None:
        raise UserError(f"{fault}; {_start(address)}")
    os.chdir(folder)  # a worker does one part at a time
    return function(*args, **options)


def _describe_or_fault(bits: str) -> Description | UserError:
    try:
        return describe_worker(bits)
    except UserError as error:
        return error


def _describe_loss(address: str, error: Exception) -> str:
    if isinstance(error, CancelledError):
        return f"cluster: the scheduler at {address} is gone; start it, and run this again"
    return (
        f"cluster: {address} lost several workers over the same part, most often because memory "
        "ran out; start fewer on a machine, or give them more memory (--memory-limit), and run "
        "this again"
    )
