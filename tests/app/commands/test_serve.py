"""`lookalike serve` as a person runs it: its address, its end, and each line of failure."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.serving.searcher import Searcher
from pipeline.errors import UserError
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, run_module
from tests.helpers.searchable import begin_large, write_models
from tests.helpers.serving import open_client


def serve(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_module(folder, "app.cli", "serve", "--no-open", *options)


def test_it_serves_from_the_address_it_tells_until_ctrl_c(searchable: Path) -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--no-open", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=searchable,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(2)]
        try:
            assert said[0] == "serve: baseline, finetuned: loading …\n"
            told = re.fullmatch(
                r"serve: (http://127\.0\.0\.1:\d+)  \(20 images, baseline, finetuned; "
                r"start-up [\d.]+ s; Ctrl-C ends it\)\n",
                said[1],
            )
            assert told, said
            with open_client(told[1]) as client:
                assert client.get("/api/choices").json()["images"] == 20
                refused = client.post("/api/search", content=begin_large())
                assert refused.status_code == 400
        finally:
            process.send_signal(signal.SIGINT)
        last = process.stderr.read()
    damaged = "photo: damaged (image file is truncated); give the whole image"
    # Nothing else: Pillow does not warn of a photo that is not too large for us.
    assert re.fullmatch(
        rf"serve: POST 400: {re.escape(damaged)}\nserve: stopped after \d+ s\n", last
    )
    assert process.returncode == 0


def test_a_taken_port_is_told_before_anything_loads(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        failed = serve(tmp_path, "--port", str(port))
    line = f"--port: found {port}, which is taken; allowed: a free one; "
    assert failed.stderr == f"lookalike: {line}run: lookalike serve --port 0\n"
    assert failed.returncode == 1


@pytest.mark.parametrize("host", ["no.such.host.invalid", "198.51.100.7"])
def test_an_address_of_another_machine_is_told(tmp_path: Path, host: str) -> None:
    failed = serve(tmp_path, "--host", host)
    assert failed.stderr == (
        f"lookalike: --host: found '{host}'; allowed: a name or address of this machine, "
        "such as 127.0.0.1, or 0.0.0.0 for all of its addresses\n"
    )
    assert failed.returncode == 1


def test_no_models_at_all_are_told(tmp_path: Path) -> None:
    failed = serve(tmp_path, "--models", " , ")
    assert failed.stderr == (
        "lookalike: --models: found ' , '; allowed: names of models, such as baseline,finetuned\n"
    )


def test_a_missing_index_is_told(searchable: Path, tmp_path: Path) -> None:
    place = tmp_path / "project"
    shutil.copytree(searchable, place)
    (place / "index/baseline/index.faiss").unlink()
    failed = serve(place, "--port", "0")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[1:] == [
        "lookalike: index/baseline/index.faiss: no such file or folder; fetch it: dvc pull, "
        "or make it: dvc repro"
    ]


def test_an_index_of_another_model_is_told_before_anyone_asks(
    searchable: Path, tmp_path: Path
) -> None:
    place = tmp_path / "project"
    shutil.copytree(searchable, place)
    write_models(place, seed=99)
    with pytest.raises(UserError) as told:
        Searcher(place, ["finetuned"])
    assert str(told.value) == (
        f"{place}/index/finetuned: made by another model than {place}/models/finetuned; "
        "run: dvc repro index, or take both from one run: dvc checkout"
    )


def test_embeddings_that_are_missing_are_told_before_anyone_asks(
    searchable: Path, tmp_path: Path
) -> None:
    place = tmp_path / "project"
    shutil.copytree(searchable, place)
    (place / "embeddings/finetuned.parquet").unlink()
    with pytest.raises(UserError) as told:
        Searcher(place, ["finetuned"])
    assert str(told.value) == (
        f"{place}/embeddings/finetuned.parquet: no such file or folder; fetch it: dvc pull, "
        "or make it: dvc repro"
    )
