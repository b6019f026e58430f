"""Packing again: only what is new is made, and the bits are those of packing all at once."""

import io
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.image_rows import SUFFIX
from pipeline.datasets.source_image import SourceImage
from pipeline.packing import storing
from pipeline.packing.kept_images import FILES, TABLE, KeptImages
from pipeline.packing.packing import Outputs, pack
from pipeline.packing.storing import Making, store_chunk
from pipeline.stopping import WorkerPool
from pipeline.workers import Workers

NAMES = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
BUCKETS = 8


def outputs(folder: Path) -> Outputs:
    return Outputs(*(folder / name for name in NAMES))


def encode(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(out, "PNG")
    return out.getvalue()


def image(number: int, *, shade: int | None = None, label: str = "a") -> SourceImage:
    read = partial(encode, number if shade is None else shade)
    return SourceImage(path=f"{number:03}.png", labels=(label,), read=read)


def images(*numbers: int) -> list[SourceImage]:
    return [image(number) for number in numbers]


def packed(
    found: Iterable[SourceImage], folder: Path, kept: Path | None, **options: object
) -> dict[str, bytes]:
    """Pack as DVC does, which removes the outputs first; return all bytes by name."""
    shutil.rmtree(folder, ignore_errors=True)
    given = {"buckets": BUCKETS, "max_rejected": 0.5} | options
    pack(found, outputs(folder), kept=kept, **given)  # type: ignore[arg-type]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The image_ids of the images that were made, in this process."""
    ids: list[str] = []

    plain = storing.ImageRow

    def row(image_id: str, *args: object) -> object:
        ids.append(image_id)
        return plain(image_id, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(storing, "ImageRow", row)
    return ids


def taken(made: list[str]) -> list[str]:
    """Return what was made since the last call."""
    now = sorted(made)
    made.clear()
    return now


STEPS: list[tuple[str, Sequence[SourceImage], list[str]]] = [
    ("the first", images(*range(60)), [f"{n:03}.png" for n in range(60)]),
    ("nothing new", images(*range(60)), []),
    ("two more", images(*range(62)), ["060.png", "061.png"]),
    ("one gone", images(*range(1, 62)), []),
    ("one changed", [image(1, shade=200), *images(*range(2, 62))], ["001.png"]),
    ("another label", [image(1, shade=200, label="b"), *images(*range(2, 62))], []),
    ("one back", images(*range(62)), ["000.png", "001.png"]),
]


def test_in_steps_the_bytes_are_those_of_all_at_once(tmp_path: Path, made: list[str]) -> None:
    for name, found, new in STEPS:
        in_steps = packed(found, tmp_path / "steps", tmp_path / "kept")
        assert taken(made) == new, name
        assert in_steps == packed(found, tmp_path / "once", None), name
        assert len(taken(made)) == len(found)


@pytest.mark.usefixtures("made")
def test_a_bucket_where_nothing_is_new_is_the_same_file(tmp_path: Path) -> None:
    """So that DVC need not read it again either."""

    def inodes(folder: Path) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in folder.glob(f"*{SUFFIX}")}

    packed(images(*range(60)), tmp_path / "out", tmp_path / "kept")
    before = inodes(tmp_path / "out/images")
    assert before == inodes(tmp_path / "kept" / FILES)
    packed(images(*range(61)), tmp_path / "out", tmp_path / "kept")
    after = inodes(tmp_path / "out/images")
    assert len(after) == BUCKETS
    assert sum(before[name] != after[name] for name in after) == 1


@pytest.mark.parametrize(
    "options",
    [{"making": Making(max_side=7)}, {"making": Making(code="new")}, {"buckets": 32}],
    ids=["max_side", "code", "buckets"],
)
def test_other_options_give_their_own_bytes(
    options: dict[str, object], tmp_path: Path, made: list[str]
) -> None:
    found = images(*range(30))
    packed(found, tmp_path / "steps", tmp_path / "kept")
    taken(made)
    again = packed(found, tmp_path / "steps", tmp_path / "kept", **options)
    # Another number of buckets moves images, which are the same.
    assert len(taken(made)) == (0 if "buckets" in options else 30)
    assert again == packed(found, tmp_path / "once", None, **options)


@pytest.mark.parametrize("damage", ["an image", "a bucket", "the manifest", "the table", "all"])
def test_what_is_damaged_among_the_kept_is_made_again(
    damage: str, tmp_path: Path, made: list[str]
) -> None:
    found = images(*range(60))
    packed(found, tmp_path / "steps", tmp_path / "kept")
    kept = tmp_path / "kept"
    bucket = next((kept / FILES).glob(f"*{SUFFIX}"))
    content = bucket.read_bytes()
    if damage == "an image":
        for path in (kept / FILES).glob(f"*{SUFFIX}"):
            changed = path.read_bytes().replace(encode(7), encode(7)[:-9] + b"123456789")
            path.unlink()
            path.write_bytes(changed)
    elif damage == "a bucket":
        bucket.unlink()
        bucket.write_bytes(content[: len(content) // 2])
    elif damage == "the manifest":
        (kept / FILES / "_manifest.parquet").unlink()
    elif damage == "the table":
        (kept / TABLE).write_text("text")
    else:
        shutil.rmtree(kept / FILES)
    taken(made)
    again = packed(found, tmp_path / "steps", kept)
    lost = [7] if damage == "an image" else range(60)
    assert taken(made) == [f"{number:03}.png" for number in lost]
    assert again == packed(found, tmp_path / "once", None)


@pytest.mark.usefixtures("made")
def test_what_is_rejected_is_read_again(tmp_path: Path) -> None:
    broken = replace(image(3), read=partial(bytes, 5))
    for found in ([broken, *images(4, 5)], images(3, 4, 5)):
        in_steps = packed(found, tmp_path / "steps", tmp_path / "kept")
        assert in_steps == packed(found, tmp_path / "once", None)


def test_a_failed_run_keeps_what_was_kept(tmp_path: Path, made: list[str]) -> None:
    packed(images(*range(9)), tmp_path / "steps", tmp_path / "kept")
    failing = replace(image(10), read=partial(int, "not a number"))
    with pytest.raises(ValueError, match="not a number"):
        packed([*images(*range(10)), failing], tmp_path / "steps", tmp_path / "kept")
    taken(made)
    packed(images(*range(10)), tmp_path / "steps", tmp_path / "kept")
    assert taken(made) == ["009.png"]


def test_a_file_that_is_gone_is_rejected(tmp_path: Path) -> None:
    gone = replace(image(1), read=partial(Path.read_bytes, tmp_path / "gone.png"))
    [read] = store_chunk((tmp_path / "rows", [gone]), making=Making(), kept=KeptImages(None))
    assert read.reason == "cannot be read (No such file or directory)"


@pytest.mark.slow
def test_processes_and_chunks_change_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = images(*range(50))
    one = packed(found, tmp_path / "one", tmp_path / "kept")
    monkeypatch.setattr(storing, "MAX_FILES", 3)
    with WorkerPool(2) as pool:
        workers = Workers(pool, tmp_path)
        assert packed(found, tmp_path / "two", None, workers=workers) == one
        assert packed(found, tmp_path / "two", tmp_path / "kept", workers=workers) == one
