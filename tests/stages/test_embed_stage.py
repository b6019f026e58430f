"""The embed stage: only the buckets with something new are embedded, to the same bytes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.embeddings import read_embeddings, read_lineage
from pipeline.data.packed_images import PackedImages
from pipeline.data.tie_order import tie_order
from pipeline.datasets.source_image import SourceImage
from pipeline.models import embed_buckets
from pipeline.models.embedder import (
    HeadInput,
    attach_head,
    build_baseline,
    load_embedder,
    save_embedder,
)
from pipeline.packing.packing import Outputs, pack
from stages import embed
from tests.helpers.clone import change_params
from tests.helpers.encoded_images import encode
from tests.helpers.packer import Packer
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

IMAGES, ADDED, MODEL = Path("images"), Path("added"), Path("model")
KEPT, OUT = Path("kept"), Path("embeddings")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml and a model, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    change_params(Path(), {"embed.batch_size": 4, "embed.workers": 0})
    write_model(seed=1)
    Packer(ADDED).close()
    return tmp_path


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The image_ids that were embedded."""
    ids: list[str] = []
    plain = embed_buckets.embed_groups

    def noted(model, images, groups, **options):  # type: ignore[no-untyped-def]
        ids.extend(image_id for group in groups for image_id in group)
        return plain(model, images, groups, **options)

    monkeypatch.setattr(embed_buckets, "embed_groups", noted)
    return ids


def write_model(*, seed: int) -> None:
    model = build_baseline(
        "shufflenet_v2_x0_5", image_size=32, pooling="avg", weights=None, seed=seed
    )
    save_embedder(model, MODEL)


def write_images(numbers: Sequence[int], **changed: int) -> PackedImages:
    shutil.rmtree(IMAGES, ignore_errors=True)
    packer = Packer(IMAGES, buckets=4)
    for number in numbers:
        size = (32, 20 + changed.get(f"image_{number}", number))
        packer.add(f"{number}.png", encode("PNG", Image.radial_gradient("L").resize(size)))
    packer.close()
    return PackedImages(IMAGES)


def run(
    kept: Path = KEPT, out: Path = OUT, model: Path = MODEL, known: Path = Path("none")
) -> dict[str, bytes]:
    """Run the stage as DVC does, which removes the output first; return its bytes by name."""
    shutil.rmtree(out, ignore_errors=True)
    embed.main(
        "baseline",
        model_dir=model,
        images=IMAGES,
        added=ADDED,
        kept=kept,
        kept_baseline=known,
        out=out,
        added_out=Path(f"{out}-added"),
    )
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def run_once() -> dict[str, bytes]:
    """Run it where nothing is kept."""
    shutil.rmtree("other", ignore_errors=True)
    return run(Path("other/kept"), Path("other/out"))


def taken(embedded: list[str]) -> list[str]:
    now = sorted(embedded)
    embedded.clear()
    return now


def in_buckets(images: PackedImages, *numbers: int) -> list[str]:
    """Return the image_ids of the buckets in which these images are."""
    groups = [images.ids_of(bucket) for bucket in images.manifest.buckets]
    return sorted(
        image_id
        for group in groups
        if any(f"{number}.png" in group for number in numbers)
        for image_id in group
    )


@pytest.mark.usefixtures("place")
def test_in_steps_the_bytes_are_those_of_all_at_once(
    embedded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    images = write_images(range(30))
    assert run() == run_once()
    ids, vectors = read_embeddings(OUT)
    assert ids == images.ids == [f"{number}.png" for number in tie_order_of(30)]
    assert vectors.shape == (30, 1024)
    taken(embedded)
    run()
    assert taken(embedded) == []
    assert "4 of 4 buckets are kept" in caplog.messages
    for numbers, changed, new in (
        (range(31), {}, 30),
        (range(31), {"image_3": 90}, 3),
        (range(1, 31), {"image_3": 90}, None),
    ):
        with_first = in_buckets(images, 0)
        images = write_images(numbers, **changed)
        in_steps = run()
        again = taken(embedded)
        if new is None:
            assert again == sorted({*with_first} - {"0.png"})
        else:
            assert again == in_buckets(images, new)
        assert 0 < len(again) < 20
        assert in_steps == run_once()
        taken(embedded)
    assert len(list(KEPT.iterdir())) == 4


def tie_order_of(count: int) -> list[int]:
    return list(tie_order([f"{number}.png" for number in range(count)]))


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("change", ["model", "hflip", "batch_size", "code"])
def test_with_another_model_option_or_code_all_are_embedded(
    change: str, embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(range(12))
    run()
    taken(embedded)
    if change == "model":
        write_model(seed=2)
    elif change == "code":
        monkeypatch.setattr(embed, "fingerprint_maker", lambda *_: "other")
    else:
        change_params(Path(), {f"embed.{change}": 5 if change == "batch_size" else True})
    again = run()
    assert len(taken(embedded)) == 12
    assert again == run_once()
    assert len(list(KEPT.iterdir())) == 4  # those of before are removed


@pytest.mark.usefixtures("place")
def test_a_run_that_was_killed_continues(
    embedded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(range(12))
    plain, done = embed_buckets.write_bucket, []

    def killed(path: Path, ids: list[str], vectors: object) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.extend([path])
        plain(path, ids, vectors)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(embed_buckets, "write_bucket", killed)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not OUT.exists()
    taken(embedded)
    again = run()
    assert 0 < len(taken(embedded)) < 12
    assert again == run_once()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("damage", ["cut", "a byte", "empty"])
def test_a_damaged_bucket_is_embedded_again(damage: str, embedded: list[str]) -> None:
    write_images(range(12))
    run()
    taken(embedded)
    path = next(KEPT.iterdir())
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.unlink()
    path.write_bytes({"cut": content[:100], "a byte": content, "empty": b""}[damage])
    assert run() == run_once()
    assert 12 < len(taken(embedded)) < 24  # run_once embeds all


@pytest.mark.usefixtures("place")
def test_the_embeddings_tell_their_model_and_how_they_were_made() -> None:
    write_images(range(3))
    run()
    lineage = read_lineage(OUT)
    assert lineage is not None
    assert (lineage.hflip, lineage.precision) == (False, "fp32")
    assert np.isfinite(read_embeddings(OUT)[1]).all()


@pytest.mark.usefixtures("place")
def test_a_catalog_without_images_gives_no_embeddings_and_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = ("images", "catalog.parquet", "classes.parquet", "rejected.csv", "health.parquet")
    to = Outputs(*map(Path, names))
    unread = [SourceImage(path=f"{n}.jpg", labels=("a",), read=None, size=(8, 6)) for n in range(3)]
    pack(unread, to, max_rejected=0.0)
    run()
    ids, vectors = read_embeddings(OUT)
    assert (ids, len(vectors)) == ([], 0)
    assert caplog.messages == ["no images were packed, only their labels: embeddings is empty"]


def write_head(baseline: Path, head_input: HeadInput = "embedding") -> Path:
    options = {"name": "mlp", "dim": 5, "hidden": 7, "normalize": True, "seed": 3}
    model = attach_head(load_embedder(baseline), head_input=head_input, **options)
    save_embedder(model, Path("head"))
    return Path("head")


@pytest.mark.usefixtures("place")
def test_a_head_on_the_baselines_embeddings_needs_no_images(embedded: list[str]) -> None:
    write_images(range(30))
    head = write_head(MODEL)
    by_images = run(Path("kept-1"), model=head)
    run()  # the baseline
    embedded.clear()
    assert run(Path("kept-2"), model=head, known=KEPT) == by_images
    assert embedded == []
    write_images(range(31))  # of a new bucket, the baseline has nothing
    run(Path("kept-2"), model=head, known=KEPT)
    assert 0 < len(embedded) < 31
    assert "30.png" in embedded


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("case", ["features", "another network", "hflip"])
def test_a_head_on_anything_else_needs_images(embedded: list[str], case: str) -> None:
    write_images(range(8))
    run()
    if case == "another network":
        write_model(seed=2)
    if case == "hflip":
        change_params(Path(), {"embed.hflip": True})
    head = write_head(MODEL, "features" if case == "features" else "embedding")
    by_images = run(Path("kept-1"), model=head)
    embedded.clear()
    assert run(Path("kept-2"), model=head, known=KEPT) == by_images
    assert len(embedded) == 8
