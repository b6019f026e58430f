"""`lookalike serve` from its command line: its address, its end, and each error."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from app.serving.searcher import Searcher
from pipeline.errors import UserError
from tests.helpers.encoded_images import header_of
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, run_lookalike
from tests.helpers.searchable import write_random_models
from tests.helpers.serving import open_client


def serve(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_lookalike(folder, "serve", "--no-open", *options)


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Yield the running command, and end it as Ctrl-C does."""
    command = [sys.executable, "-m", "app.cli", "serve", "--no-open", "--port", "0", *options]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        # Background jobs of a shell ignore Ctrl-C, and so do their child processes.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stderr is not None
    return [process.stderr.readline() for _ in range(count)]


@pytest.mark.slow
def test_it_serves_at_the_logged_address_until_ctrl_c(searchable: Path) -> None:
    with started(searchable) as process:
        logged = read_lines(process, 3)
        assert logged[0] == "serve: finetuned, baseline: loading …\n"
        assert logged[1] == "serve: the default model is finetuned (it is a test)\n"
        address = re.fullmatch(
            r"serve: (http://127\.0\.0\.1:\d+)  \(40 images, finetuned, baseline; "
            r"start-up [\d.]+ s; stop with Ctrl-C\)\n",
            logged[2],
        )
        assert address, logged
        with open_client(address[1]) as client:
            choices = client.get("/api/choices").json()
            assert (choices["image_count"], choices["overrides"]) == (40, True)
            # Of 120 million pixels, which a JPEG may have, and which Pillow warns of.
            large = header_of("JPEG", 12_000, 10_000)[:-50]
            refused = client.post("/api/search", content=large)
            assert refused.status_code == 400
        process.send_signal(signal.SIGINT)
        last = process.stderr.read() if process.stderr else ""
    damaged = (
        "photo: damaged (image file is truncated (15 bytes not processed)); give the whole image"
    )
    # Nothing else: Pillow does not warn of a photo that is within the limits.
    assert re.fullmatch(rf"serve: POST 400: {re.escape(damaged)}\nserve: stopped by Ctrl-C\n", last)
    assert process.returncode == 130


@pytest.mark.slow
def test_it_ends_in_one_line_where_uploads_are_pending(searchable: Path) -> None:
    with started(searchable, "--models", "finetuned") as process:
        lines = " ".join(read_lines(process, 3))
        address = lines[lines.index("http://") :].split()[0].removeprefix("http://")
        name, port = address.split(":")
        with ExitStack() as uploads:
            for _ in range(3):
                upload = uploads.enter_context(socket.create_connection((name, int(port))))
                upload.sendall(
                    f"POST /api/search HTTP/1.1\r\nHost: {address}\r\n"
                    "Content-Length: 100000\r\n\r\nthe first bytes".encode()
                )
            with open_client(f"http://{address}") as client:
                assert client.get("/api/choices").status_code == 200  # it has got the uploads
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            said = process.stderr.read() if process.stderr else ""
    assert said == "serve: stopped by SIGTERM\n"
    assert process.returncode == 143
    assert time.monotonic() - begun < 60  # in 2 s, on a machine that is not busy


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--host", "0.0.0.0"), ("--token", "a.token.of.people")])  # noqa: S104 - what it tests
def test_a_token_is_needed_where_others_can_connect_or_one_is_given(
    searchable: Path, options: tuple[str, str]
) -> None:
    """Others who have it can search, but not correct."""
    with started(searchable, *options, "--models", "finetuned") as process:
        logged = read_lines(process, 4 if options[0] == "--host" else 3)
        address = logged[2].split()[1]
        shown = re.fullmatch(
            r"http://127\.0\.0\.1:\d+/\?token=([\w-]{32}|a\.token\.of\.people)", address
        )
        assert shown, logged
        for line in logged[3:]:
            assert re.fullmatch(
                r"serve: --host 0\.0\.0\.0: whoever has the address http://\S+:\d+/\?token="
                rf"{shown[1]} can search and see all images\n",
                line,
            )
        with open_client(address.partition("/?")[0]) as client:
            assert client.get("/api/choices").status_code == 401
            assert client.get(address).status_code == 303
            choices = client.get("/api/choices").json()
            assert choices["overrides"] == (options[0] == "--token")


def test_a_token_of_other_characters_is_an_error(tmp_path: Path) -> None:
    failed = serve(tmp_path, "--token", "a b")
    assert failed.stderr == (
        "lookalike: --token: found 'a b'; allowed: 16 or more letters, digits and . _ ~ -; leave "
        "it out and one is made\n"
    )
    assert failed.returncode == 2


def test_a_taken_port_is_an_error_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        failed = serve(tmp_path, "--port", str(port))
    line = f"--port: found {port}, which is taken; allowed: a free one; "
    assert failed.stderr == f"lookalike: {line}run: lookalike serve --port 0\n"
    assert failed.returncode == 2


@pytest.mark.parametrize("host", ["no.such.host.invalid", "198.51.100.7"])
def test_an_address_of_another_machine_is_an_error(tmp_path: Path, host: str) -> None:
    failed = serve(tmp_path, "--host", host)
    assert failed.stderr == (
        f"lookalike: --host: found '{host}'; allowed: a name or address of this machine, "
        "such as 127.0.0.1, or 0.0.0.0 for all of its addresses\n"
    )
    assert failed.returncode == 2


def test_no_model_at_all_is_an_error(tmp_path: Path) -> None:
    failed = serve(tmp_path, "--models", " , ")
    assert failed.stderr == (
        "lookalike: --models: found ' , '; allowed: names of models, such as baseline,finetuned\n"
    )


@pytest.mark.slow
def test_a_missing_index_is_an_error(searchable: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable, project)
    (project / "index/baseline/index.faiss").unlink()
    failed = serve(project, "--port", "0")
    assert failed.returncode == 2
    assert failed.stderr.splitlines()[2:] == [
        "lookalike: index/baseline/index.faiss: no such file or folder; bring back what the "
        "last run made: dvc checkout, make it: dvc repro, or "
        "if the project has a remote, fetch it: dvc pull"
    ]


def test_an_index_of_another_model_is_an_error_before_the_first_search(
    searchable: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable, project)
    write_random_models(project, seed=99)
    with pytest.raises(UserError) as error:
        Searcher(project, ["finetuned"])
    assert str(error.value) == (
        f"{project}/index/finetuned: made by another model than {project}/models/finetuned; "
        "run: dvc repro index, or take both from one run: dvc checkout"
    )


def test_missing_embeddings_are_an_error_before_the_first_search(
    searchable: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(searchable, project)
    shutil.rmtree(project / "embeddings/finetuned")
    with pytest.raises(UserError) as error:
        Searcher(project, ["finetuned"])
    assert str(error.value) == (
        f"{project}/embeddings/finetuned: no such file or folder; bring back what the last run "
        "made: dvc checkout, make it: dvc repro, or "
        "if the project has a remote, fetch it: dvc pull"
    )
